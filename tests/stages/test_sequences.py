"""The stage that packs a corpus: what it says of one that is too short."""

from pathlib import Path

import orjson
import pytest
from backports import zstd
from tokenizers_for_tests import of_any_kind

from vramlab.base.errors import CorpusError
from vramlab.results.base import read
from vramlab.results.sequences import SequencesRecord
from vramlab.stages import sequences


@pytest.fixture
def packed(tmp_path):
    """A function that packs a text of so many words of one token, and returns the record."""
    of_any_kind(tmp_path, "WordPiece")

    def run(split, words, *lengths):
        corpus = tmp_path / f"{split}.jsonl.zst"
        corpus.write_bytes(zstd.compress(orjson.dumps({"text": "w " * words}) + b"\n"))
        names = [tmp_path / "tokenizer.model", tmp_path / "t.npy", tmp_path / f"{split}.json"]
        files = sequences.Files(str(corpus), *map(str, names))
        sequences.run(split, {"lengths": list(lengths)}, 1, files)
        return read(SequencesRecord, files.record)

    return run


def test_a_training_corpus_of_less_than_a_sequence_is_refused(packed, tmp_path):
    with pytest.raises(CorpusError, match="has 15 tokens, fewer than the 16 of one sequence"):
        packed("train", 14, 16)
    assert not list(Path(tmp_path).glob("t.npy"))
    assert not (tmp_path / "train.json").exists()


def test_one_whole_sequence_is_enough(packed, caplog):
    assert packed("train", 15, 16).sequences == {16: 1}
    assert not [record for record in caplog.records if record.levelname != "INFO"]


@pytest.mark.parametrize(("split", "lengths"), [("validation", (16, 8)), ("train", (8, 16))])
def test_others_that_are_too_short_are_said(packed, caplog, split, lengths):
    packed(split, 14, *lengths)
    assert f"the {split} corpus has 15 tokens, fewer than one sequence of 16:" in caplog.text
