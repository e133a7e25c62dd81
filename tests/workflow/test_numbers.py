"""The records of a finished run, against counts made here from the files."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from backports import zstd
from pipeline import TINY
from sentencepiece import SentencePieceProcessor

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(finished) -> Path:
    return finished.root / "results/tiny"


def record(folder, name):
    return json.loads((folder / name).read_text())


def texts(folder, split):
    with zstd.open(folder / f"corpus/{split}.jsonl.zst", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_tokenizer_fits_as_recorded(folder, split):
    pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer/tokenizer.model"))
    found, documents = record(folder, "tokenizer/tokenizer.json"), texts(folder, split)
    tokens = sum(len(pieces.encode(text)) for text in documents)
    assert found["fertility"][split] == pytest.approx(
        tokens / sum(len(t.split()) for t in documents)
    )
    size = sum(len(text.encode()) for text in documents)
    assert found["bytes_per_token"][split] == pytest.approx(size / tokens)
    assert 0.9 < found["coverage"][split] <= 1
    stream = np.load(folder / f"sequences/{split}.npy")
    assert len(stream) == tokens + len(documents) + 1


def test_validation_is_on_the_validation_corpus(folder):
    size = sum(len(text.encode()) for text in texts(folder, "validation"))
    tokens = record(folder, "sequences/validation.json")["tokens"]
    for path in folder.glob("epoch/*/*/*/*.json"):
        epoch = json.loads(path.read_text())
        if epoch["status"] != "ok":
            continue
        validation = epoch["validation"]
        assert validation["tokens"] == tokens - 1
        assert validation["utf8_bytes"] == size
        mean = validation["nats"] / validation["tokens"]
        assert validation["perplexity"] == pytest.approx(math.exp(mean))
        bits = validation["nats"] / math.log(2) / size
        assert validation["bits_per_byte"] == pytest.approx(bits)


def test_an_epoch_trains_on_every_token_in_the_steps_recorded(folder):
    sequences = record(folder, "sequences/train.json")
    epochs = [json.loads(path.read_text()) for path in folder.glob("epoch/*/*/*/*.json")]
    for epoch in (epoch for epoch in epochs if epoch["status"] == "ok"):
        assert epoch["tokens"] == sequences["tokens"] - 1
        count = sequences["sequences"]["16"]
        assert epoch["steps"] == math.ceil(count / epoch["sequences_per_step"])
        assert epoch["accumulation"] * epoch["batch_size"] >= epoch["sequences_per_step"]
        assert epoch["learning_rate"] == 0.001


def test_the_limit_is_in_binary_gib_and_the_searches_respect_it(folder):
    limit = int(TINY["measure"]["memory_limit_gib"] * 2**30)
    for path in folder.glob("batch_size/*/*.json"):
        search = json.loads(path.read_text())
        assert search["memory_limit"] == limit
        for trial in search["trials"]:
            assert trial["fits"] == (trial["batch_size"] <= search["max_batch_size"])
            assert not trial["fits"] or trial["peak_allocated"] <= limit


def test_accumulation_and_the_scaled_rate_are_recorded(checkout):
    training = {"effective_batch_size": 8, "lr_scaling": "linear"}
    checkout.configure({**TINY, "training": training})
    name = "results/tiny/epoch/16/fp32/own/seed9.json"
    checkout.run(name)
    epoch = json.loads((checkout.root / name).read_text())
    assert epoch["sequences_per_step"] == 8
    assert epoch["batch_size"] * epoch["accumulation"] == 8
    assert epoch["learning_rate"] == 0.001  # the baseline's steps are as large as its own


def test_the_rate_follows_the_batch(checkout):
    checkout.configure({**TINY, "training": {"lr_scaling": "sqrt"}})
    name = "results/tiny/epoch/16/checkpointing/own/seed9.json"
    checkout.run(name)
    epoch = json.loads((checkout.root / name).read_text())
    baseline = record(checkout.root / "results/tiny", "batch_size/16/fp32.json")["max_batch_size"]
    count = record(checkout.root / "results/tiny", "sequences/train.json")["sequences"]["16"]
    ratio = epoch["sequences_per_step"] / min(baseline, count)
    assert ratio > 1
    assert epoch["learning_rate"] == pytest.approx(0.001 * math.sqrt(ratio))
