"""The search is exact whatever memory does, and short where memory is nearly linear."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.measure.search import KnownPeak, Limit, doubling_and_bisection, search
from vramlab.results.batch_size import Trial

MIB = 2**20


def oracle(cost, limit, fragmentation=0, cached=0, tells=lambda short: None):
    """A device: peaks are of live tensors; `fragmentation` more is taken, `cached` where it can.

    What does not fit says that it lacks `tells(bytes)`.
    """

    def try_batch(batch_size):
        peak = cost(batch_size)
        short = peak + fragmentation - limit
        fits = short <= 0
        return Trial(
            batch_size=batch_size,
            fits=fits,
            peak_allocated=peak if fits else None,
            peak_reserved=min(peak + fragmentation + cached, limit) if fits else None,
            missing=None if fits else tells(short),
            seconds=0,
        )

    return try_batch


def largest(cost, limit, upper):
    return max((b for b in range(1, upper + 1) if cost(b) <= limit), default=0)


@settings(deadline=None)
@given(
    fixed=st.integers(0, 100 * MIB),
    slope=st.integers(MIB // 16, 64 * MIB),
    block=st.sampled_from([1, 512, 2 * MIB]),
    limit=st.integers(1, 40_000 * MIB),
)
def test_near_linear_memory_takes_few_trials(fixed, slope, block, limit):
    def cost(batch_size):
        return -(-(fixed + slope * batch_size) // block) * block

    found, trials = search(oracle(cost, limit), Limit(limit, 2**20))
    assert found == 0 or cost(found) <= limit
    assert found == 2**20 or cost(found + 1) > limit
    assert len(trials) <= 32
    if found >= 64 and slope >= 2 * block:
        assert len(trials) <= 6


@settings(deadline=None)
@given(
    jumps=st.lists(st.integers(0, 1000), min_size=400, max_size=400),
    limit=st.integers(0, 200_000),
)
def test_any_growing_memory_is_searched_exactly(jumps, limit):
    costs = [0]
    for jump in jumps:
        costs.append(costs[-1] + jump)
    found, trials = search(oracle(costs.__getitem__, limit), Limit(limit, 400))
    assert found == largest(costs.__getitem__, limit, 400)
    assert len({t.batch_size for t in trials}) == len(trials)
    assert len(trials) <= 30


@settings(deadline=None)
@given(
    fixed=st.integers(0, 100 * MIB),
    slope=st.integers(2 * MIB, 64 * MIB),
    fragmentation=st.integers(0, 120 * MIB),
    limit=st.integers(4_000 * MIB, 40_000 * MIB),
)
def test_fragmentation_costs_no_more_trials(fixed, slope, fragmentation, limit):
    device = oracle(lambda b: fixed + slope * b, limit, fragmentation, tells=int)
    found, trials = search(device, Limit(limit, 2**20))
    assert found == (limit - fragmentation - fixed) // slope
    assert len(trials) <= 6


@settings(deadline=None)
@given(
    fixed=st.integers(40 * MIB, 200 * MIB),
    slope=st.integers(35 * MIB, 64 * MIB),
    fragmentation=st.integers(0, 140 * MIB),
    cached=st.sampled_from([0, 3_000 * MIB]),
    told=st.floats(0.3, 1),
    limit=st.integers(4_000 * MIB, 140_000 * MIB),
)
def test_the_fragmentation_of_an_h200_is_expected(fixed, slope, fragmentation, cached, told, limit):
    """What is missing is known in part only: the allocations after the failed one are not."""
    tells = lambda short: int(told * short)  # noqa: E731
    device = oracle(lambda b: fixed + slope * b, limit, fragmentation, cached, tells)
    found, trials = search(device, Limit(limit, 2**20, 96 * MIB))
    assert found == (limit - fragmentation - fixed) // slope
    assert len(trials) <= 6


@pytest.mark.parametrize("excess", [1, 3, 10, 1000, 4000])
def test_a_failure_that_overstates_what_is_missing_costs_a_bisection(excess):
    """Observed on an H200 and an H100: the error implied 7 sequences too many, and it was 4."""
    slope, largest_batch, bound = 8 * MIB, 4685, 4689 * 8 * MIB
    tells = lambda short: short + (excess - 1) * slope  # noqa: E731
    device = oracle(lambda b: slope * b, bound, 4 * slope, tells=tells)
    found, trials = search(device, Limit(bound, 2**20))
    assert found == largest_batch
    assert len(trials) <= 6 + excess.bit_length()


def test_with_sequences_of_gigabytes_the_second_probe_is_small():
    """As on an H100 at 16,384 tokens: 12.7 GiB at 4, 39.4 GiB allowed."""
    found, trials = search(
        oracle(lambda b: 300 * MIB + 3_174 * MIB * b, 40_120 * MIB), Limit(40_120 * MIB, 999)
    )
    assert found == 12
    assert [t.batch_size for t in trials] == [4, 10, 12, 13]


@pytest.mark.parametrize("error", [0.4, 0.7, 1.0])
def test_two_failures_predict_better_than_one(error):
    """What is missing at a failed allocation is a part of what the whole step lacks."""
    slope, largest_batch, bound = 3 * MIB, 13_000, 13_090 * 3 * MIB
    tells = lambda short: int(error * short)  # noqa: E731
    device = oracle(lambda b: slope * b, bound, 90 * slope, tells=tells)
    found, trials = search(device, Limit(bound, 2**20))
    assert found == largest_batch
    assert len(trials) <= 7


def test_after_failures_without_sizes_the_search_steps_back_in_bytes():
    slope, largest_batch, bound = 2 * MIB, 16_000, 16_150 * 2 * MIB
    device = oracle(lambda b: slope * b, bound, 150 * slope)
    found, trials = search(device, Limit(bound, 2**20))
    assert found == largest_batch
    assert len(trials) <= 14 < doubling_and_bisection(found)


@pytest.mark.parametrize("largest_batch", [1, 2, 3, 4, 5, 31, 32, 33, 728, 12_544])
def test_the_search_is_shorter_than_doubling_and_bisection(largest_batch):
    found, trials = search(oracle(lambda b: b, largest_batch), Limit(largest_batch, 2**20))
    assert found == largest_batch
    tried = {t.batch_size: t.fits for t in trials}
    assert tried[largest_batch]
    assert not tried[largest_batch + 1]
    if largest_batch > 100:
        assert len(trials) <= 6 < doubling_and_bisection(largest_batch)


def test_the_usual_search_is_counted_right():
    assert doubling_and_bisection(1) == 2  # 1 fits, 2 does not
    assert doubling_and_bisection(5) == 6  # 1, 2, 4, 8, then 6, 5


def test_not_even_one_fits():
    found, trials = search(oracle(lambda b: b + 10, 5), Limit(5, 100))
    assert found == 0
    assert trials[-1].batch_size == 1


def test_the_upper_bound_ends_the_search():
    found, trials = search(oracle(lambda b: b, 10**9), Limit(10**9, 100))
    assert found == 100
    assert all(t.fits for t in trials)


@settings(deadline=None)
@given(
    jumps=st.lists(st.integers(0, 1000), min_size=400, max_size=400),
    limit=st.integers(0, 200_000),
    known=st.sets(st.integers(1, 400), max_size=8),
)
def test_known_probes_lead_to_the_same_answer(jumps, limit, known):
    costs = [0]
    for jump in jumps:
        costs.append(costs[-1] + jump)
    before = [KnownPeak(batch_size, costs[batch_size], limit) for batch_size in known]
    found, probes = search(lambda b: KnownPeak(b, costs[b], limit), Limit(limit, 400), before)
    assert found == largest(costs.__getitem__, limit, 400)
    assert not known & {look.batch_size for look in probes}
    assert len(probes) <= 30


def test_a_correct_prediction_is_confirmed_by_two_probes():
    """B fits and B + 1 does not, where two batches below are known on the same line."""
    cost = lambda b: 10**8 + 5 * 10**7 * b  # noqa: E731
    limit = cost(900) + 1
    before = [KnownPeak(batch_size, cost(batch_size), limit) for batch_size in (200, 512)]
    found, probes = search(lambda b: KnownPeak(b, cost(b), limit), Limit(limit, 2**20), before)
    assert found == 900
    assert [look.batch_size for look in probes] == [900, 901]


def test_a_kernel_that_takes_no_more_ends_the_search_in_a_few_trials():
    """As on an H100: 65,535 sequences fit and 65,536 are refused, though memory is left."""
    cost = lambda b: 10**8 + 2 * 10**5 * b  # noqa: E731
    limit = cost(90_000)

    def try_batch(batch_size):
        refused = batch_size > 65_535
        peak = None if refused else cost(batch_size)
        return Trial(
            batch_size=batch_size,
            fits=not refused,
            peak_allocated=peak,
            peak_reserved=peak,
            kernel_limit=65_535 if refused else None,
            seconds=0,
        )

    found, trials = search(try_batch, Limit(limit, 2**20))
    assert found == 65_535
    assert len(trials) <= 7


SIZES = (32, 512)
"""Batches whose peaks are predicted."""


def predicted(cost, complete=True):
    return PredictedPeaks({b: int(cost(b)) for b in SIZES}, complete)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 40, 777, 12_544])
def test_a_right_prediction_is_confirmed_by_two_trials(batch_size):
    cost = lambda b: 70 * MIB + 3 * MIB * b  # noqa: E731
    limit = cost(batch_size) + MIB
    guess = predicted(cost)
    found, trials = search(oracle(cost, limit, tells=int), Limit(limit, 2**20), predicted=guess)
    assert found == batch_size
    assert [t.batch_size for t in trials] == [batch_size, batch_size + 1]


@settings(deadline=None)
@given(
    fixed=st.integers(40 * MIB, 10_000 * MIB),
    slope=st.integers(2 * MIB, 640 * MIB),
    off=st.floats(0.995, 1.005),
    fragmentation=st.integers(60 * MIB, 130 * MIB),
    told=st.floats(0.5, 1),
)
def test_a_prediction_off_by_what_a_gpu_adds_saves_trials(fixed, slope, off, fragmentation, told):
    cost = lambda b: fixed + slope * b  # noqa: E731
    tells = lambda short: int(told * short)  # noqa: E731
    limit = Limit(79_000 * MIB, 2**20, 96 * MIB)
    device = oracle(cost, limit.memory, fragmentation, tells=tells)
    usual = search(device, limit)
    found, trials = search(device, limit, predicted=predicted(lambda b: off * cost(b)))
    assert found == usual[0]
    assert len(trials) <= max(len(usual[1]), 4)


@pytest.mark.parametrize("off", [0.3, 0.58, 0.9, 1.1, 1.7, 3])
@pytest.mark.parametrize("complete", [True, False])
def test_a_wrong_prediction_costs_one_trial_at_most(off, complete):
    """Compiled code was predicted at 0.58 of its batch, on an H100 with 10 GiB."""
    cost = lambda b: 300 * MIB + 68 * MIB * b  # noqa: E731
    limit = Limit(10_000 * MIB, 2**20)
    device = oracle(cost, limit.memory, tells=int)
    usual = search(device, limit)
    guess = predicted(lambda b: 300 * MIB + 68 * MIB * b / off, complete)
    found, trials = search(device, limit, predicted=guess)
    assert found == usual[0] == 142
    assert len(trials) <= len(usual[1]) + (off > 1)


@settings(deadline=None)
@given(
    jumps=st.lists(st.integers(0, 1000), min_size=400, max_size=400),
    limit=st.integers(0, 200_000),
    guessed=st.dictionaries(st.integers(1, 400), st.integers(0, 300_000), min_size=1, max_size=4),
    complete=st.booleans(),
    told=st.sampled_from([0, 0.5, 1]),
)
def test_whatever_is_predicted_the_answer_is_the_same(jumps, limit, guessed, complete, told):
    costs = [0]
    for jump in jumps:
        costs.append(costs[-1] + jump)
    device = oracle(costs.__getitem__, limit, tells=lambda short: int(told * short))
    guess = PredictedPeaks(guessed, complete)
    found, trials = search(device, Limit(limit, 400), predicted=guess)
    assert found == largest(costs.__getitem__, limit, 400)
    assert len({t.batch_size for t in trials}) == len(trials)
    assert len(trials) <= 30
