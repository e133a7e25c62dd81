"""Speed of packing, beside SentencePiece's own batch encoding with the same threads."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import sentencepiece

from vramlab.config.corpus import SyntheticSource
from vramlab.config.tokenizer import SentencePieceConfig
from vramlab.data.corpus.synthetic import documents
from vramlab.data.packing import pack
from vramlab.data.sentencepiece_tokenizer import SentencePieceTokenizer, train


def main() -> None:
    """Print both speeds; packing also counts and writes the tokens."""
    source = SyntheticSource(source="synthetic", documents=8000, words=1000)
    texts = [document["text"] for document in documents("train", source)]
    size = sum(len(text.encode()) for text in texts) / 1e6
    threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "tokenizer.model")
        train(iter(texts[:200]), SentencePieceConfig(vocab_size=1000), model)
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        bare = packed = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            processor.encode(texts, num_threads=threads)
            bare = min(bare, time.perf_counter() - start)
            start = time.perf_counter()
            pack(iter(texts), SentencePieceTokenizer(model), Path(folder, "tokens.npy"), threads)
            packed = min(packed, time.perf_counter() - start)
    print(f"tokenizer, {size:.1f} MB of text, {threads} threads, best of 5")
    print(f"  sentencepiece batch encode        {size / bare:6.1f} MB/s")
    print(
        f"  vramlab pack (encode and write)   {size / packed:6.1f} MB/s ({bare / packed:.2f} of it)"
    )


if __name__ == "__main__":
    main()
