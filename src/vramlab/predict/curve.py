"""Peak memory as a function of a size, from as few predictions as are needed."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from vramlab.measure.search import KnownPeak, Limit, search

_ROUNDING = 2**17
"""Bytes by which a peak can deviate from a curve, since tensors are rounded up to granules."""
_LOOKS = 3
"""Predictions that a largest size takes where the peaks are on a parabola, or nearly so."""


class Curve:
    """Peak memory by size (of a batch, or of a sequence), predicted once for each size.

    Memory is a sum of tensors, each constant, proportional to the size, or to its square as the
    scores of attention are to the length; a peak is the highest of such sums. So the curve never
    falls, and as a rule never gets flatter: between two known sizes it is on the line through them
    or below, beyond them on it or above. Where the known sizes keep to that rule, what is clear by
    it is not predicted. Where to look is told by the parabola through three known sizes, which is
    no proof, since each part of the curve may be another sum.
    """

    def __init__(self, peak: Callable[[int], int], first: Sequence[int]) -> None:
        """`first`: two sizes that are predicted first."""
        self.peaks: dict[int, int] = {}
        """The peaks predicted so far."""
        self._peak, self._first = peak, first

    def __call__(self, size: int) -> int:
        """The peak in bytes."""
        if size not in self.peaks:
            self.peaks[size] = self._peak(size)
        return self.peaks[size]

    def largest(self, limit: int, upper: int) -> int:
        """The largest size, up to `upper`, whose peak is at most `limit`; 0 if there is none."""
        if self(1) > limit:
            return 0
        for start in self._first:
            self(min(start, upper))
        for _ in range(_LOOKS):
            likely = self._likely(limit, upper)
            if likely in self.peaks or self._is_largest(likely, limit):
                break
            self(likely)
        known = [KnownPeak(size, peak, limit) for size, peak in self.peaks.items()]
        return search(lambda size: self._probe(size, limit), Limit(limit, upper), known)[0]

    def _likely(self, limit: int, upper: int) -> int:
        """The largest size within a limit on the parabola through three known ones.

        Those above it, if there are three: the smallest sizes have other peaks.
        """
        sizes = sorted(self.peaks)
        above = bisect_left(sizes, True, key=lambda size: self.peaks[size] > limit)
        start = max(0, min(above, len(sizes) - 3))
        near = {size: self.peaks[size] for size in sizes[start : start + 3]}
        low = sizes[above - 1]
        high = sizes[above] if above < len(sizes) else upper
        return low + bisect_left(
            range(low + 1, high), True, key=lambda size: through(near, size) > limit
        )

    def _is_largest(self, size: int, limit: int) -> bool:
        """Whether it is clear that a size fits, and one more does not."""
        return self._side(size, limit) is not None and self._side(size + 1, limit) is not None

    def _probe(self, size: int, limit: int) -> KnownPeak:
        """The peak of a size, or what bounds it if that is clearly on one side of the limit."""
        bound = self._side(size, limit)
        return KnownPeak(size, self(size) if bound is None else bound, limit)

    def _side(self, size: int, limit: int) -> int | None:
        """What bounds the peak of a size on one side of the limit; None if nothing does clearly."""
        if not self._gets_steeper(size):
            return None
        upper_bound = self._upper_bound(size)
        if upper_bound is not None and upper_bound < limit - _ROUNDING:
            return upper_bound
        lower_bound = self._lower_bound(size)
        if lower_bound is not None and lower_bound > limit + _ROUNDING:
            return lower_bound
        return None

    def _gets_steeper(self, size: int) -> bool:
        """Whether no known size near this one is above the line through the two next to it.

        Chunks of a loss head grow with the batch up to some size, and the curve is flatter then.
        """
        sizes = sorted(self.peaks)
        above = bisect_left(sizes, size)
        near = sizes[max(0, above - 2) : above + 2]
        return all(
            self.peaks[b] <= through({a: self.peaks[a], c: self.peaks[c]}, b) + _ROUNDING
            for a, b, c in zip(near, near[1:], near[2:], strict=False)
        )

    def _upper_bound(self, size: int) -> int | None:
        """What the peak of a size is at most: the line through the known sizes around it."""
        below = max((known for known in self.peaks if known <= size), default=None)
        above = min((known for known in self.peaks if known >= size), default=None)
        if below is None or above is None:
            return None
        return through({known: self.peaks[known] for known in {below, above}}, size)

    def _lower_bound(self, size: int) -> int | None:
        """What the peak of a size is at least: the line through the two next smaller sizes."""
        below = sorted(known for known in self.peaks if known < size)[-2:]
        if len(below) < 2 or size in self.peaks:
            return None
        return through({known: self.peaks[known] for known in below}, size)


def through(known: Mapping[int, int], at: int) -> int:
    """The value at `at` of the polynomial through known points, by Lagrange's formula."""
    total = Fraction(0)
    for a, value in known.items():
        others = (Fraction(at - b, a - b) for b in known if b != a)
        total += math.prod(others, start=Fraction(value))
    return math.floor(total)
