"""The CSVs hold every number of the records: change one, and some table is another."""

from __future__ import annotations

import types
import typing

import pytest
from pydantic import BaseModel

from vramlab.report import estimate, tables
from vramlab.report.load import KINDS, Results
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.estimate import EstimateRecord

LEFT_OUT = {
    "BatchSizeRecord.sequence_length": "a key: records are put together by it",
    "ProfileRecord.sequence_length": "a key, as that of the search",
    "EpochRecord.sequence_length": "a key, as that of the search",
    "EstimateRecord.sequence_length": "a key, as that of the search",
    "EstimateRecord.estimates.[].sequence_length": "a key, as that of the search",
    "ProfileRecord.axes": "those of the search, which are shown",
    "BatchSpeedRecord.axes": "those of the search, which are shown",
    "LongestSequenceRecord.axes": "those of the search, which are shown",
    "EpochRecord.axes": "those of the search, which are shown",
    "EstimateRecord.estimates.[].axes": "those of the search, which are shown",
    "EstimateRecord.memory_limit_gib": "set in the configuration",
    "EstimateRecord.headroom": "set in the configuration",
    "EstimateRecord.estimates.[].trained_range": "a sentence says it where sequences are longer",
    "OverlapRecord.threshold": "set in the configuration",
    "CorpusRecord.utf8_bytes": "the characters are shown, and the bytes that were tokenised",
    "ProfileRecord.memory.before.reserved": "torch keeps what it reserved: see the peak's",
    "ProfileRecord.memory.after_forward.reserved": "as before the step",
    "ProfileRecord.memory.after_backward.reserved": "as before the step",
    "ProfileRecord.memory.after_optimizer.reserved": "as before the step",
    "ProfileRecord.memory.timeline": "a curve of hundreds of points: the figure shows it",
    "ProfileRecord.host_load.cores": "a sentence says it where the machine was busy",
    "EpochRecord.host_load.cores": "as for the profile",
    "ProfileRecord.host_load.run_seconds": "a sentence says it where the machine was busy",
    "EpochRecord.host_load.run_seconds": "as for the profile",
    "EpochRecord.loss_curve.[].step": "a curve of hundreds of points: the figure shows it",
    "EpochRecord.loss_curve.[].tokens": "as the steps of the curve",
    "EpochRecord.validation.nats": "perplexity and bits per byte are made from it",
    "EpochRecord.validation.tokens": "perplexity is made from it",
    "EpochRecord.validation.utf8_bytes": "bits per byte are made from it",
}
"""Numbers that no table shows, each with the reason; all below them as well."""
VALUES = {"EstimateRecord.estimates.[].batch_size": 4, "OverlapRecord.sampled": 0.5}
"""Where not every number is a valid one."""


def numbers(annotation, path=()):
    """The paths of all numbers of a type: [] is each item of a list, {} each value of a dict."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in {int, float}:
        yield path
    elif origin is typing.Annotated:
        yield from numbers(arguments[0], path)
    elif origin in {types.UnionType, typing.Union}:
        for argument in arguments:
            yield from numbers(argument, path)
    elif origin is list:
        yield from numbers(arguments[0], (*path, "[]"))
    elif origin is dict:
        yield from numbers(arguments[1], (*path, "{}"))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from numbers(field.annotation, (*path, name))


def names():
    for kind in KINDS.values():
        for path in dict.fromkeys(numbers(kind)):
            # All records have the same provenance.
            if path[0] != "provenance" or kind is BatchSizeRecord:
                yield ".".join((kind.__name__, *path))


def changed(value, path, new):
    """A copy with another number at a path, wherever it leads to."""
    if not path:
        return new if new is not None else 7 if value is None else value * 2 + 1
    head, *rest = path
    if head == "[]":
        return [changed(item, rest, new) for item in value]
    if head == "{}":
        return {key: changed(item, rest, new) for key, item in value.items()}
    if value is None:
        return None
    return value.model_copy(update={head: changed(getattr(value, head), rest, new)})


def every_table(results):
    frames = [build(results) for build in tables.TABLES.values()]
    frames += [estimate.predictions(results.records(EstimateRecord))]
    return [frame.to_csv() for frame in frames]


def below(name, start):
    return f"{name}.".startswith(f"{start}.")


def reason(name):
    return next((why for start, why in LEFT_OUT.items() if below(name, start)), None)


@pytest.fixture(scope="module")
def shown(results):
    return every_table(results)


@pytest.mark.parametrize("name", list(names()))
def test_a_number_is_in_a_table_or_left_out_for_a_reason(results, shown, name):
    why = reason(name)
    if why is not None and why.startswith("a key"):
        return
    kind, *path = name.split(".")
    files = {
        where: changed(record, path, VALUES.get(name)) if type(record).__name__ == kind else record
        for where, record in results.files.items()
    }
    other = Results(results.baseline, results.length, results.techniques, files)
    differs = every_table(other) != shown
    if why is None:
        assert differs, "show it in a table, or say in LEFT_OUT why not"
    else:
        assert not differs, "a table shows it: take it out of LEFT_OUT"


def test_the_list_of_what_is_left_out_names_numbers_only():
    every = list(names())
    for start in LEFT_OUT:
        assert any(below(name, start) for name in every), start
