"""Several searches make one record."""

from types import SimpleNamespace

import pytest
from report import made_up

from vramlab.config.measure import MeasureConfig
from vramlab.config.technique import Technique
from vramlab.results.batch_size import BatchSizeRecord, Trial
from vramlab.stages import batch_size as stage


def record(largest):
    tried = [(largest, True), (largest + 1, False)] if largest else [(1, False)]
    return BatchSizeRecord(
        provenance=made_up.provenance(),
        technique="fp32",
        axes=Technique(),
        sequence_length=256,
        status="ok" if largest else "out_of_memory",
        max_batch_size=largest or None,
        memory_limit=2**30,
        trials=[
            Trial(batch_size=b, fits=fits, peak_allocated=None, peak_reserved=None, seconds=1.0)
            for b, fits in tried
        ],
    )


def run(*largest):
    """The record of a job whose searches find these batches."""
    found = map(record, largest)
    job = SimpleNamespace(
        obstacle=lambda: None,
        measure=MeasureConfig(searches=len(largest)),
        in_all_processes=lambda *_: next(found),
    )
    return stage._record(job, 1)


def test_one_search_is_its_own_record():
    assert run(7) == record(7)


def test_of_several_searches_the_smallest_result_counts_and_all_are_kept():
    found = run(9, 7, 8)
    assert (found.max_batch_size, found.results) == (7, [9, 7, 8])
    assert [trial.batch_size for trial in found.trials] == [9, 10, 7, 8, 8, 9]


@pytest.mark.parametrize("largest", [(0, 5), (5, 0)])
def test_a_search_that_finds_nothing_counts_as_the_smallest(largest):
    found = run(*largest)
    assert (found.status, found.max_batch_size) == ("out_of_memory", None)
    assert found.results == list(largest)
