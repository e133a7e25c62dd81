"""Packing: a corpus as one stream of tokens on disk.

The stream is EOS, document, EOS, document, ..., EOS: each token but the first is predicted once.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from vramlab.base.files import atomic_path
from vramlab.base.progress import progress
from vramlab.data.sequences import trailer
from vramlab.data.tokenizer import Tokenizer

_BATCH_CHARACTERS = 2**16
"""Characters tokenised by a thread at a time: so few that the conversion stays in the cache."""


@dataclass
class PackCounts:
    """What a stream holds."""

    documents: int = 0
    tokens: int = 0
    utf8_bytes: int = 0
    dtype: str = ""


def pack(
    texts: Iterable[str], tokenizer: Tokenizer, target: Path, threads: int | None = None
) -> PackCounts:
    """Tokenise the texts into one stream, written to `target` as a one-dimensional `.npy` file.

    The integers are of the smallest unsigned type that holds the vocabulary. Memory does not grow
    with the corpus.

    Args:
        texts: the documents, one string each.
        tokenizer: gives the tokens, and that which ends a document.
        target: the file to write.
        threads: how many documents are tokenised at a time; None takes all cores. A tokenizer that
            has threads of its own takes as many as it was told when it was loaded.
    """
    workers = 1 if tokenizer.parallel else threads or os.cpu_count() or 1
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    counts = PackCounts(tokens=1, dtype=str(dtype))

    def encode(batch: list[str]) -> npt.NDArray[Any]:
        ids = tokenizer.encode_documents(batch)
        return np.fromiter(chain.from_iterable(ids), dtype, sum(map(len, ids)))

    with (
        atomic_path(target) as temporary,
        temporary.open("wb") as stream,
        progress("tokenise", None, "documents") as advance,
    ):
        _write_header(stream, dtype, 0)
        first = np.array([tokenizer.eos], dtype).tobytes()
        stream.write(first)
        checksum = zlib.crc32(first)
        for batch, ids in _in_order(encode, _batches(texts), workers):
            stream.write(ids.data)
            checksum = zlib.crc32(ids.data, checksum)
            counts.documents += len(batch)
            counts.tokens += len(ids)
            counts.utf8_bytes += sum(len(text.encode()) for text in batch)
            advance(len(batch))
        stream.write(trailer(checksum, tokenizer.pad))
        # numpy leaves room in the header for the length, which is known only now.
        stream.seek(0)
        _write_header(stream, dtype, counts.tokens)
    return counts


def _write_header(stream: BinaryIO, dtype: np.dtype[Any], tokens: int) -> None:
    description = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(
        stream, {"descr": description, "fortran_order": False, "shape": (tokens,)}
    )


def _in_order(
    work: Callable[[list[str]], npt.NDArray[Any]], batches: Iterable[list[str]], threads: int
) -> Iterator[tuple[list[str], npt.NDArray[Any]]]:
    """Each batch with its result; the tokenizers work outside of Python's lock."""
    waiting: deque[tuple[list[str], Future[npt.NDArray[Any]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            waiting.append((batch, pool.submit(work, batch)))
            if len(waiting) > 16 * threads:
                oldest, result = waiting.popleft()
                yield oldest, result.result()
        for oldest, result in waiting:
            yield oldest, result.result()


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
