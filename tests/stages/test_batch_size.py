"""Several searches make one record."""

from types import SimpleNamespace

import pytest
import torch
from report import made_up
from workloads import workload

from vramlab.config.measure import MeasureConfig
from vramlab.config.technique import Technique
from vramlab.memory.budget import Budget
from vramlab.results.batch_size import BatchSizeRecord, Trial
from vramlab.stages import batch_size as stage
from vramlab.stages.job import Job


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
    return stage._record(job, 1, None)


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


def test_the_search_leaves_the_headroom_that_is_asked_for():
    device = torch.device("cpu")

    def search(share):
        measure = MeasureConfig(device="cpu", confirm_steps=2, headroom={"share": share})
        fields = {
            "provenance": made_up.provenance(),
            "technique": "it",
            "axes": Technique(),
            "sequence_length": 8,
        }
        job = Job(workload(), measure, Budget(device, 2**20), 1, 1, fields)
        return stage.search_largest(job, [], 1)

    whole, less = search(0.0), search(0.25)
    assert (whole.headroom, less.headroom) == (0, 2**18)
    assert less.memory_limit == whole.memory_limit == 2**20
    peaks = [trial.peak_allocated for trial in less.trials if trial.fits]
    assert max(peaks) <= 3 * 2**18 < max(t.peak_allocated for t in whole.trials if t.fits)
