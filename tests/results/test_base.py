"""Result files: what is written is read again, what is damaged is refused in one sentence."""

import orjson
import pytest

from vramlab.base.errors import ResultError
from vramlab.base.provenance import digest, provenance
from vramlab.results import base
from vramlab.results.base import read, write
from vramlab.results.corpus import CorpusRecord
from vramlab.results.sequences import SequencesRecord


@pytest.fixture
def record():
    return SequencesRecord(
        provenance=provenance({"a": 1}),
        split="train",
        documents=2,
        tokens=10,
        utf8_bytes=40,
        dtype="uint16",
        sequences={4: 3},
    )


def test_round_trip(tmp_path, record):
    write(record, tmp_path / "x.json")
    assert read(SequencesRecord, tmp_path / "x.json") == record


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 2}', "[]"])
def test_a_damaged_file_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ResultError, match=r"x\.json: is damaged .*delete it"):
        read(SequencesRecord, path)


def test_another_kind_of_record_is_refused(tmp_path, record):
    write(record, tmp_path / "x.json")
    with pytest.raises(ResultError):
        read(CorpusRecord, tmp_path / "x.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ResultError, match="cannot be read"):
        read(SequencesRecord, tmp_path / "x.json")


def test_provenance_names_commit_and_versions(record):
    assert record.provenance.packages["numpy"]
    assert record.provenance.config_digest == digest({"a": 1})
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


def test_a_field_that_came_later_spoils_no_older_record(tmp_path, record):
    path = tmp_path / "x.json"
    write(record, path)
    content = orjson.loads(path.read_bytes())
    del content["documents"], content["checksum"]
    older = type(
        "Older", (SequencesRecord,), {"__annotations__": {"documents": int}, "documents": 7}
    )
    content["checksum"] = base._checksum(content)
    path.write_bytes(orjson.dumps(content))
    assert read(older, path).documents == 7
    path.write_bytes(orjson.dumps(content | {"tokens": 11}))
    with pytest.raises(ResultError, match="was changed after it was written"):
        read(older, path)
