"""The largest size below a limit, whatever the curve, and few predictions where it is simple."""

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


def test_on_a_line_a_limit_takes_one_or_two_predictions():
    curve = Curve(CURVES["line"], (32, 512))
    for limit in (8, 24, 80):
        curve.largest(limit * GIB, 2**20)
    assert len(curve.peaks) < 3 + 3


def test_on_a_parabola_each_limit_takes_three_predictions_at_most():
    curve = Curve(CURVES["scores"], (128, 2048))
    for limit in (141, 80, 40, 24, 16, 8):
        curve.largest(limit * GIB, 2**20)
    assert len(curve.peaks) <= 3 + 3 * 6


@given(a=st.integers(-9, 9), b=st.integers(-9, 9), c=st.integers(-9, 9), at=st.integers(0, 10**6))
def test_three_points_give_the_parabola(a, b, c, at):
    curve = lambda x: a * x * x + b * x + c  # noqa: E731
    assert through({x: curve(x) for x in (3, 10, 11)}, at) == curve(at)
