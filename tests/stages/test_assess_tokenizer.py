"""The stage that measures how well the tokenizer fits: its numbers, and when it warns."""

import orjson
import pytest
from backports import zstd
from tokenizers_for_tests import TEXTS, trained

from vramlab.results.base import read
from vramlab.results.tokenizer import TokenizerRecord
from vramlab.stages import assess_tokenizer, sequences

GREEK = "Ἄνδρα μοι ἔννεπε, Μοῦσα, πολύτροπον, ὃς μάλα πολλὰ"


def assess(folder, train, validation):
    """The record of a tokenizer of `TEXTS` for these two corpora."""
    trained(folder)
    model, splits = str(folder / "tokenizer.model"), {}
    for split, texts in (("train", train), ("validation", validation)):
        names = [str(folder / f"{split}{ending}") for ending in (".jsonl.zst", ".npy", ".json")]
        lines = (orjson.dumps({"text": text}) + b"\n" for text in texts)
        (folder / f"{split}.jsonl.zst").write_bytes(zstd.compress(b"".join(lines)))
        files = sequences.Files(names[0], model, *names[1:])
        sequences.run(split, {"lengths": [16]}, 1, files)
        splits[split] = names
    params = {"tokenizer": {"model_type": "unigram"}}
    assess_tokenizer.run(params, model, splits, str(folder / "record.json"))
    return read(TokenizerRecord, folder / "record.json")


def test_a_corpus_in_its_own_script_gives_no_warning(tmp_path, caplog):
    record = assess(tmp_path, TEXTS, TEXTS[:3])
    assert record.coverage == {"train": 1, "validation": 1}
    assert record.unknown == {"train": 0, "validation": 0}
    assert record.cut_lines == 0
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_a_validation_corpus_in_another_script_is_warned_of(tmp_path, caplog):
    record = assess(tmp_path, TEXTS, [GREEK])
    letters = sum(not character.isspace() and character != "," for character in GREEK)
    assert record.coverage["validation"] == pytest.approx(1 - letters / len(GREEK))
    assert record.unknown["validation"] > 0
    assert "of the characters of the validation corpus are unknown to the tokenizer" in caplog.text
    assert "of the train corpus" not in caplog.text


def test_lines_that_the_training_cuts_are_warned_of(tmp_path, caplog):
    record = assess(tmp_path, [*TEXTS, "a" * 25_000], TEXTS[:3])
    assert record.cut_lines == 1
    assert "1 lines of the training corpus are longer than 10000 bytes" in caplog.text
