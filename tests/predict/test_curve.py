"""The largest size below a limit, whatever the curve, and few predictions where it is simple."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramlab.predict.curve import Curve, through

GIB = 2**30
CURVES = {
    "line": lambda b: 10**8 + 5 * 10**7 * b,
    "bend": lambda b: max(10**9 + 10**6 * b, 2 * 10**7 * b),
    "granules": lambda b: 10**6 + -(-3000 * b // 512) * 512,
    "scores": lambda b: 10**8 + 10**5 * b + 7 * b * b,
    "scores, then more": lambda b: max(10**8 + 10**6 * b, 7 * b * b),
    # Of a chunked loss head on an H100: chunks grow up to a batch of 520.
    "growing chunks": lambda b: 10**8 + 9_600_000 * min(b, 520) + 8_595_456 * max(b - 520, 0),
    "flat, then steep": lambda b: 10**6 if b <= 5000 else 10**6 * (b - 4999),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("limit", [10**6, 2 * 10**8, 3 * 10**9, 8 * 10**10])
def test_the_answer_fits_and_one_more_does_not(name, limit):
    peak = CURVES[name]
    curve = Curve(peak, (32, 512))
    largest = curve.largest(limit, 2**20)
    assert largest == 0 or peak(largest) <= limit
    assert largest == 2**20 or peak(largest + 1) > limit
    assert all(bytes_ == peak(b) for b, bytes_ in curve.peaks.items())


def test_on_a_line_the_largest_limit_takes_three_predictions_and_others_none():
    curve = Curve(CURVES["line"], (32, 512))
    for limit in (80, 8, 24):
        curve.largest(limit * GIB, 2**20)
    assert len(curve.peaks) <= 3 + 3


def test_one_is_predicted_only_where_the_first_size_does_not_fit():
    curve = Curve(CURVES["line"], (32, 512))
    assert curve.largest(80 * GIB, 2**20) > 1
    assert 1 not in curve.peaks
    assert curve.largest(GIB, 2**20) == 19
    assert 1 in curve.peaks


GRANULE = 2**17
bytes_each = st.integers(10**3, 10**7) | st.integers(GRANULE, 4 * GRANULE)
sums = st.tuples(st.integers(0, 10**9), bytes_each, st.sampled_from([0, 0, 7, 300]))


@st.composite
def curves(draw):
    """The highest of some sums, rounded up."""
    parts = draw(st.lists(sums, min_size=1, max_size=3))
    granule = draw(st.sampled_from([1, 512, GRANULE]))

    def peak(size):
        exact = max(a + b * size + c * size * size for a, b, c in parts)
        return -(-exact // granule) * granule

    return peak


@given(
    peak=curves(),
    limits=st.lists(st.integers(10**6, 9 * 10**10), min_size=1, max_size=4),
    close=st.lists(st.integers(1, 20_000), max_size=3),
    order=st.randoms(),
)
def test_the_order_of_limits_changes_no_answer(peak, limits, close, order):
    """The limits that leave nothing to spare at some size are among them."""
    upper = 2**16
    limits = [*limits, *(peak(size) for size in close), *(peak(size) - 1 for size in close)]
    order.shuffle(limits)
    curve = Curve(peak, (32, 512))
    for limit in limits:
        sizes = range(upper + 1)
        exact = bisect_left(sizes, True, lo=1, key=lambda size: peak(size) > limit) - 1
        assert curve.largest(limit, upper) == exact


def test_on_a_parabola_each_limit_takes_three_predictions_at_most():
    curve = Curve(CURVES["scores"], (128, 2048))
    for limit in (141, 80, 40, 24, 16, 8):
        curve.largest(limit * GIB, 2**20)
    assert len(curve.peaks) <= 3 + 3 * 6


@given(a=st.integers(-9, 9), b=st.integers(-9, 9), c=st.integers(-9, 9), at=st.integers(0, 10**6))
def test_three_points_give_the_parabola(a, b, c, at):
    curve = lambda x: a * x * x + b * x + c  # noqa: E731
    assert through({x: curve(x) for x in (3, 10, 11)}, at) == curve(at)


class Planned:
    """Peaks on a line, and others at sizes that were looked at closer."""

    def __init__(self, itself):
        self.itself, self.closer = itself, []
        self.curve = Curve(self.peak, [1, 128], self.look_closer)

    def peak(self, size):
        return size * (self.itself if size in self.closer else 10) * 2**20

    def look_closer(self, size):
        if size in self.closer:
            return False
        self.closer.append(size)
        return True


def test_a_size_is_looked_at_closer():
    planned = Planned(9)
    assert planned.curve(100) == 1000 * 2**20
    assert planned.curve.closely(100) == planned.curve(100) == 900 * 2**20
    assert planned.curve(128) == 1280 * 2**20


@pytest.mark.parametrize("itself", [9, 10, 11])
def test_the_largest_size_was_looked_at_closer(itself):
    planned = Planned(itself)
    curve, limit = planned.curve, 1000 * 2**20
    found = curve.largest_closely(limit, 10**4)
    assert planned.closer[0] == 100
    assert len(planned.closer) <= 2
    assert curve.peaks[found] <= limit < curve.peaks[found + 1]
    assert (found > 99) is (itself < 11)
