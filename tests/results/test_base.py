"""Result files: what is written is read again, what is damaged is refused in one sentence."""

import orjson
import pytest

from vramlab.base.errors import ResultError
from vramlab.base.provenance import digest, provenance
from vramlab.results import base
from vramlab.results.base import read, write
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.corpus import CorpusRecord
from vramlab.results.epoch import EpochRecord
from vramlab.results.profile import ProfileRecord
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


def changed(path, sealed=True, **fields):
    """Change fields of a record, with the right checksum or the old one."""
    content = orjson.loads(path.read_bytes()) | fields
    if sealed:
        content["checksum"] = base._checksum({k: v for k, v in content.items() if k != "checksum"})
    path.write_bytes(orjson.dumps(content))


def refused(path, kind=SequencesRecord):
    with pytest.raises(ResultError) as caught:
        read(kind, path)
    sentence = str(caught.value)
    assert sentence.startswith(str(path))
    assert sentence.endswith("delete it and run snakemake again")
    return sentence


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_a_number_that_is_none_is_refused(tmp_path, record, number):
    path = tmp_path / "x.json"
    write(record, path)
    path.write_text(path.read_text().replace('"tokens": 10', f'"tokens": {number}'))
    assert "is damaged" in refused(path)


@pytest.mark.parametrize(("name", "value"), [("tokens", 10**17), ("tokens", -1), ("documents", -7)])
def test_a_number_that_nothing_can_have_is_refused(tmp_path, record, name, value):
    path = tmp_path / "x.json"
    write(record, path)
    changed(path, **{name: value})
    assert f"is damaged ({name} is " in refused(path)


def test_a_token_count_of_a_thousand_trillion_millions_is_refused(tmp_path, record):
    path = tmp_path / "x.json"
    write(record, path)
    path.write_text(path.read_text().replace('"tokens": 10', f'"tokens": {10**21}'))
    assert "tokens is 1e+21" in refused(path)


@pytest.mark.parametrize("value", [10, 11])
def test_a_record_without_its_checksum_is_refused(tmp_path, record, value):
    path = tmp_path / "x.json"
    write(record, path)
    content = orjson.loads(path.read_bytes()) | {"tokens": value}
    del content["checksum"]
    path.write_bytes(orjson.dumps(content))
    assert "has no checksum" in refused(path)


def run_record(kind, **fields):
    plain = {"technique": "fp32", "axes": {}, "sequence_length": 16, "status": "ok"}
    return kind(provenance=provenance({}), **(plain | fields))


@pytest.mark.parametrize(
    ("kind", "fields", "place", "others"),
    [
        (
            BatchSizeRecord,
            {"memory_limit": 1},
            "batch_size/16/fp32.json",
            ["batch_size/16/bf16.json", "batch_size/32/fp32.json"],
        ),
        (
            ProfileRecord,
            {"setting": "own"},
            "profile/16/fp32/own.json",
            ["profile/16/fp32/equal.json", "profile/16/bf16/own.json", "profile/8/fp32/own.json"],
        ),
        (
            EpochRecord,
            {"setting": "own", "seed": 9},
            "epoch/16/fp32/own/seed9.json",
            [
                "epoch/16/fp32/own/seed8.json",
                "epoch/16/fp32/equal/seed9.json",
                "epoch/16/bf16/own/seed9.json",
                "epoch/32/fp32/own/seed9.json",
            ],
        ),
    ],
)
def test_the_record_of_another_run_is_refused(tmp_path, kind, fields, place, others):
    written = run_record(kind, **fields)
    write(written, tmp_path / "results" / "tiny" / place)
    assert read(kind, tmp_path / "results" / "tiny" / place) == written
    for other in others:
        path = tmp_path / "results" / "tiny" / other
        write(written, path)
        assert f"is the record of another run, {place}" in refused(path, kind)


def test_the_record_of_the_other_corpus_is_refused(tmp_path, record):
    write(record, tmp_path / "sequences" / "train.json")
    write(record, tmp_path / "sequences" / "validation.json")
    assert read(SequencesRecord, tmp_path / "sequences" / "train.json") == record
    assert "sequences/train.json" in refused(tmp_path / "sequences" / "validation.json")


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


def test_a_record_of_another_schema_is_named_so(tmp_path):
    """Not by the first of the fields that were renamed."""
    path = tmp_path / "a.json"
    path.write_text('{"schema_version": 1, "spare": 0}')
    with pytest.raises(
        ResultError, match=r"another version of vramlab \(schema 1, this one reads 2\)"
    ):
        read(BatchSizeRecord, path)
