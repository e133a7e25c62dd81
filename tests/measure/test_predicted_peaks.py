"""Peaks between and beyond the predicted ones, computed as a person would with pen and paper."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramlab.measure.predicted_peaks import PredictedPeaks

PEAKS = PredictedPeaks({10: 1000, 20: 2000, 40: 6000})


@pytest.mark.parametrize(
    ("batch_size", "peak"),
    [(10, 1000), (15, 1500), (20, 2000), (30, 4000), (50, 8000), (5, 500)],
)
def test_between_known_batches_peaks_are_on_lines(batch_size, peak):
    assert PEAKS.at(batch_size) == peak


@pytest.mark.parametrize(
    ("limit", "largest"), [(2000, 20), (2199, 20), (2200, 21), (6000, 40), (12_100, 70), (99, 0)]
)
def test_the_largest_batch_under_a_limit(limit, largest):
    assert PEAKS.largest(limit) == largest


def test_the_line_of_the_largest_batches():
    assert (PEAKS.slope, PEAKS.fixed) == (200, -2000)


@given(
    peaks=st.dictionaries(st.integers(1, 1000), st.integers(0, 10**12), min_size=1, max_size=5),
    limit=st.integers(0, 10**12),
)
def test_the_largest_batch_is_the_last_one_below_the_limit(peaks, limit):
    sizes = sorted(peaks)
    growing = dict(zip(sizes, sorted(peaks.values()), strict=True))
    predicted = PredictedPeaks(growing)
    found = predicted.largest(limit)
    assert found == 0 or predicted.at(found) <= limit
    grows = len(growing) > 1 and growing[sizes[-1]] > growing[sizes[-2]]
    if grows:
        assert predicted.at(found + 1) >= limit
