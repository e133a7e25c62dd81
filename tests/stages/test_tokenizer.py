"""The stage that trains a tokenizer, or takes over one that is there already."""

import hashlib
import json

import orjson
import pytest
from backports import zstd
from tokenizers_for_tests import TEXTS, tokenizer_json

from vramlab.base.errors import ConfigError
from vramlab.data.load_tokenizer import load
from vramlab.stages import tokenizer

FILE = {"source": "file", "path": "not read: the rule names the file"}


def run(folder, section, path=None, corpus=None):
    """The tokenizer's file and the record."""
    params = {"tokenizer": section, "file": {"path": str(path)} if path else {}}
    target, record = folder / "out.model", folder / "record.json"
    tokenizer.run(params, corpus and str(corpus), str(target), str(record))
    return target, json.loads(record.read_text())


def checked(target, record):
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert record["sha256"] == digest == target.with_suffix(".sha256").read_text().strip()
    assert record["provenance"]["config_digest"]
    return load(target)


def test_one_is_trained(tmp_path):
    lines = (orjson.dumps({"text": text}) + b"\n" for text in TEXTS)
    corpus = tmp_path / "train.jsonl.zst"
    corpus.write_bytes(zstd.compress(b"".join(lines)))
    section = {"vocab_size": 400, "character_coverage": 1.0}
    assert checked(*run(tmp_path, section, corpus=corpus)).vocab_size == 400


@pytest.mark.parametrize("section", [FILE, {"source": "model"}])
def test_one_is_taken_over_without_a_corpus(tmp_path, section):
    path = tokenizer_json(tmp_path)
    found = checked(*run(tmp_path, section, path))
    assert (found.vocab_size, found.eos, found.pad) == (400, 0, 0)
    assert found.decode(found.encode(TEXTS[0])) == TEXTS[0]


def test_its_special_tokens_are_those_of_the_configuration(tmp_path):
    path = tokenizer_json(tmp_path, "Unigram")
    assert checked(*run(tmp_path, FILE, path)).pad == 3
    found = checked(*run(tmp_path, FILE | {"eos": "<s>", "pad": "</s>"}, path))
    assert (found.eos, found.pad) == (1, 2)
    with pytest.raises(ConfigError, match=r"tokenizer\.eos is '</x>'"):
        run(tmp_path, FILE | {"eos": "</x>"}, path)


def test_equal_files_give_equal_bytes(tmp_path):
    path = tokenizer_json(tmp_path)
    first = run(tmp_path, FILE, path)[0].read_bytes()
    assert run(tmp_path, FILE, path)[0].read_bytes() == first
