"""Two real Polish corpora, fetched over HTTP by the shipped configuration."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from backports import zstd
from pipeline import ROOT
from sentencepiece import SentencePieceProcessor
from servers import FaultyServer

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

NAMES = {"train": "eltec_pol_wolnelektury", "validation": "eltec_pol_other"}
CORPORA = ROOT.parent / "shared" / "speakleash"


def high_texts(split: str) -> Iterator[str]:
    """The texts that ought to come through, read without the pipeline's code."""
    with zstd.open(CORPORA / f"{NAMES[split]}.jsonl.zst", "rt", encoding="utf-8") as lines:
        for document in map(json.loads, lines):
            if document["meta"]["quality"] == "HIGH":
                yield document["text"]


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the real corpora are not beside the checkout")
def test_the_shipped_configuration_on_real_corpora(fresh):
    config = yaml.safe_load((fresh.root / "config/config.yaml").read_text())
    experiment = config["experiment"]
    with FaultyServer(CORPORA) as server:
        for split, name in NAMES.items():
            config["corpus"][split] |= {"name": name, "base": server.base}
        fresh.configure(config)
        results = Path("results", experiment)
        fresh.run(str(results / "tokenizer/tokenizer.json"))
    folder = fresh.root / results

    def record(name):
        return json.loads((folder / name).read_text())

    assert record("corpus/train.json")["kept"] == 37
    assert record("corpus/validation.json")["kept"] == 43
    tokenizer = record("tokenizer/tokenizer.json")
    assert tokenizer["vocab_size"] == 12_000
    assert min(tokenizer["coverage"].values()) > 0.998
    pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer/tokenizer.model"))
    assert (pieces.get_piece_size(), pieces.pad_id()) == (12_000, 3)
    for split in ("train", "validation"):
        sequences = record(f"sequences/{split}.json")
        tokens = 1 + sum(len(pieces.encode(text)) + 1 for text in high_texts(split))
        assert sequences["tokens"] == tokens
        assert sequences["sequences"]["256"] == math.ceil((tokens - 1) / 256)
        assert 20_000 < sequences["sequences"]["256"] < 30_000
        stream = np.load(folder / f"sequences/{split}.npy", mmap_mode="r")
        assert len(stream) == sequences["tokens"]
        assert stream.dtype == np.uint16
        assert (stream == 2).sum() == sequences["documents"] + 1  # the separators and no more
        assert not (stream == 3).any()
        assert stream.max() < 12_000
