"""The measures of a technique on several processes: what fits, what it takes, how long."""

import in_ranks
import pytest

from vramlab.config.technique import Technique
from vramlab.measure.batch_speed import ROUNDS
from vramlab.measure.profile import _combine
from vramlab.measure.trial import DoesNotFit
from vramlab.predict.estimate import unmodelled
from vramlab.results.memory import Memory, MemoryPoint
from vramlab.stages.launch import launch

LIMIT = 1_000_000


def in_two(function, **arguments):
    return launch(in_ranks.on_one_core, function, arguments, processes=2, cuda=False)


def axes(kind):
    return {"parallel": kind, "processes": 2}


def searched(**arguments):
    """As the script does it: on after each failure in fresh processes."""
    known, launches = [], 0
    while True:
        launches += 1
        try:
            return *in_two(in_ranks.searched, known=known, **arguments), launches
        except DoesNotFit as error:
            assert [trial.fits for trial in error.trials].count(False) == launches
            known = error.trials


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def measured(request):
    return request.param, in_two(in_ranks.profiled, axes=axes(request.param))


def test_the_weights_and_the_state_of_adam_are_whole_or_shared(measured):
    kind, profile = measured
    parameters = sum(p.nbytes for p in in_ranks.made({}).model.parameters())
    share = 1 if kind == "ddp" else 1 / 2
    slack = 2048  # the batch, the positions, step counters
    memory = profile.memory
    # DDP keeps its buckets, which are the gradients, from step to step.
    state = (4 if kind == "ddp" else 3) * parameters * share
    assert memory.before.allocated == pytest.approx(state, abs=slack)
    end = 4 * parameters * share
    assert memory.after_optimizer.allocated == pytest.approx(end, abs=slack)
    logits = 5 * in_ranks.LENGTH * in_ranks.VOCABULARY * 4
    assert memory.peak.allocated > memory.after_forward.allocated > state + logits
    assert memory.by_kind == {}


def test_after_the_forward_pass_only_the_root_is_still_gathered(measured):
    """FSDP has freed the blocks' weights, most of the model, by then."""
    kind, profile = measured
    alone = in_ranks.profiled({}, batch_size=5).memory
    taken = profile.memory.after_forward.allocated - profile.memory.before.allocated
    activations = alone.after_forward.allocated - alone.before.allocated
    model = in_ranks.made({}).model
    root = sum(p.nbytes for part in (model.embedding, model.norm) for p in part.parameters())
    expected = activations + (root if kind == "fsdp" else 0)
    # The last block's may be still there: FSDP lets go of them when the next gathering begins, or
    # when Python collects cycles.
    last = sum(p.nbytes for p in model.decoder_blocks()[-1].parameters())
    late = kind == "fsdp" and abs(taken - expected - last) <= 256
    assert late or taken == pytest.approx(expected, abs=256)


def test_the_steps_are_timed_and_repeatable(measured):
    _, profile = measured
    assert len(profile.step_seconds) == 3
    assert all(0 < seconds < 5 for seconds in profile.step_seconds)
    assert profile.repeatable


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_the_largest_batch_fits_into_each_process_and_no_larger_one_does(kind):
    largest, trials, launches = searched(axes=axes(kind), limit=LIMIT)
    tried = {trial.batch_size: trial for trial in trials}
    assert tried[largest].fits
    assert tried[largest].peak_allocated <= LIMIT
    assert not tried[largest + 1].fits
    assert tried[largest + 1].missing > 0
    assert launches == 1 + sum(not trial.fits for trial in trials)


def test_memory_that_runs_out_in_one_process_alone_hangs_nobody():
    arguments = {"axes": axes("ddp"), "limit": LIMIT, "fails_in": 1, "fails_at": 20}
    largest, trials, _ = searched(**arguments)
    assert largest == 20
    assert len(trials) < 12


def test_each_process_takes_its_share_of_each_batch():
    speeds = in_two(in_ranks.speeds, axes=axes("ddp"), sizes=[4, 2])
    assert [(s.batch_size, s.tokens) for s in speeds] == [
        (4, 2 * 4 * in_ranks.LENGTH),
        (2, 2 * 2 * in_ranks.LENGTH),
    ]
    assert all(len(s.step_seconds) == ROUNDS for s in speeds)


def test_the_operations_of_a_process_are_those_of_its_own_tokens(measured):
    _, profile = measured
    alone = in_ranks.profiled({}, batch_size=5)
    assert profile.flops == alone.flops
    assert profile.flops.hardware >= profile.flops.model > 0


def test_the_rank_with_the_most_memory_counts():
    def memory(allocated, reserved):
        point = MemoryPoint(allocated=allocated, reserved=reserved)
        names = ("before", "after_forward", "after_backward", "after_optimizer", "peak")
        return Memory(**dict.fromkeys(names, point))

    class Both:
        count = 2

        def gather(self, mine):
            other = type(mine)(
                *(memory(3, 9), [0.2, 0.1], 5.0, 6, 0, 50, 40),
                *(mine.flops, mine.repeatable, mine.host_load),
            )
            return [mine, other]

    profile = in_ranks.profiled({})
    load = profile.host_load
    mine = type(profile)(
        *(memory(4, 8), [0.1, 0.3], 7.0, 4, 1, 50, 40),
        *(profile.flops, True, load),
    )
    found = _combine(mine, Both())
    assert found.memory == memory(4, 9)
    assert found.step_seconds == [0.2, 0.3]
    assert found.energy_joules == 12.0
    assert found.allocator_retries == 6
    assert found.retried_steps == 1


def test_no_estimate_says_why():
    assert unmodelled(Technique()) is None
    assert "cannot be predicted" in unmodelled(Technique(parallel="fsdp", processes=4))
