"""Packing: a corpus as one stream of tokens on disk.

The stream is EOS, document, EOS, document, ..., EOS: each token but the first is predicted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vramlab.config.tokenizer import EOS_ID
from vramlab.files import atomic_path
from vramlab.progress import progress
from vramlab.tokenizer import Tokenizer

_BATCH_CHARACTERS = 4 * 2**20
"""Characters tokenised at a time: enough work for all cores, little memory."""


@dataclass
class PackCounts:
    """What a stream holds."""

    documents: int = 0
    tokens: int = 0
    utf8_bytes: int = 0
    dtype: str = ""


def pack(texts: Iterable[str], tokenizer: Tokenizer, target: Path) -> PackCounts:
    """Tokenise the texts into one stream, written to `target` as a one-dimensional `.npy` file.

    The integers are of the smallest unsigned type that holds the vocabulary. Memory does not grow
    with the corpus.
    """
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    separator = np.array([EOS_ID], dtype)
    counts = PackCounts(tokens=1, dtype=str(dtype))
    with atomic_path(target) as temporary, atomic_path(target.with_suffix(".raw")) as raw:
        with raw.open("wb") as stream, progress("tokenise", None, "documents") as advance:
            stream.write(separator.tobytes())
            for batch in _batches(texts):
                for text, ids in zip(batch, tokenizer.encode(batch), strict=True):
                    stream.write(np.array(ids, dtype).tobytes())
                    stream.write(separator.tobytes())
                    counts.documents += 1
                    counts.tokens += len(ids) + 1
                    counts.utf8_bytes += len(text.encode())
                advance(len(batch))
        # The header of a .npy file holds the length, which is known only now.
        body = np.memmap(raw, dtype, mode="r", shape=(counts.tokens,))
        np.lib.format.write_array(temporary.open("wb"), body)
    target.with_suffix(".raw").unlink()
    return counts


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    texts = iter(texts)
    while True:
        batch, size = [], 0
        for text in texts:
            batch.append(text)
            size += len(text)
            if size >= _BATCH_CHARACTERS:
                break
        if not batch:
            return
        yield batch
