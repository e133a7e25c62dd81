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
_CLOSER_LOOKS = 2
"""Those of `largest_closely`, each of which may compile."""


class Curve:
    """Peak memory by size (of a batch, or of a sequence), predicted once for each size.

    Memory is a sum of tensors, each constant, proportional to the size, or to its square as the
    scores of attention are to the length; a peak is the highest of such sums. So the curve never
    falls, and as a rule never gets flatter: between two known sizes it is on the line through them
    or below, beyond them on it or above. Where the known sizes keep to that rule, what is clear by
    it is not predicted. Where to look is told by the parabola through three known sizes, which is
    no proof, since each part of the curve may be another sum.

    What is known depends on what was asked before, and the answer must not. So beyond the known
    sizes what is clear only guides the search: an answer there is predicted, with the size after.
    """

    def __init__(
        self,
        peak: Callable[[int], int],
        first: Sequence[int],
        look_closer: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """Nothing is predicted yet.

        Args:
            peak: predicts, in bytes.
            first: two sizes that are predicted first.
            look_closer: makes the prediction of a size exact, which may change that of others too;
                returns whether it did anything.
        """
        self.peaks: dict[int, int] = {}
        """The peaks predicted so far."""
        self._peak, self._first, self._look_closer = peak, first, look_closer

    def __call__(self, size: int) -> int:
        """The peak in bytes."""
        if size not in self.peaks:
            self.peaks[size] = self._peak(size)
        return self.peaks[size]

    def closely(self, size: int) -> int:
        """The peak in bytes, looked at closer."""
        self._changed_by_look_at(size)
        return self(size)

    def largest_closely(self, limit: int, upper: int) -> int:
        """As `largest`, after closer looks at what that was before."""
        found = self.largest(limit, upper)
        for _ in range(_CLOSER_LOOKS):
            if not found or not self._changed_by_look_at(found):
                break
            found = self.largest(limit, upper)
        return found

    def _changed_by_look_at(self, size: int) -> bool:
        """Look closer; whether the known peaks were predicted anew."""
        changed = self._look_closer(size)
        if changed:
            self.peaks = {known: self._peak(known) for known in self.peaks}
        return changed

    def largest(self, limit: int, upper: int) -> int:
        """The largest size, up to `upper`, whose peak is at most `limit`; 0 if there is none."""
        # Where the first size fits, 1 does too: of compiled code each size takes up to a minute.
        fits = 1 not in self.peaks and self(min(self._first[0], upper)) <= limit
        if not fits and self(1) > limit:
            return 0
        for start in self._first:
            self(min(start, upper))
        for _ in range(_LOOKS):
            beyond = min(self._likely(limit, upper) + 1, upper)
            if beyond in self.peaks:
                break
            self(beyond)
        while True:
            known = [KnownPeak(size, peak, limit) for size, peak in self.peaks.items()]
            found = search(lambda size: self._probe(size, limit), Limit(limit, upper), known)[0]
            beyond = min(found + 1, upper)
            if beyond <= max(self.peaks):
                return found
            self(found), self(beyond)

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
        """Whether neither known size beside this one is above a line over it.

        Chunks of a loss head grow with the batch up to some size, and the curve is flatter then.
        """
        sizes = sorted(self.peaks)
        above = bisect_left(sizes, size)
        smaller, larger = sizes[:above], sizes[above:]
        return self._below_lines(smaller[-1:], smaller[-3:-1], larger[:1]) and self._below_lines(
            larger[:1], smaller[-1:], larger[1:3]
        )

    def _below_lines(self, at: Sequence[int], left: Sequence[int], right: Sequence[int]) -> bool:
        """Whether a known size is on or below each line from one on its left to its right."""
        return all(
            self.peaks[b] <= through({a: self.peaks[a], c: self.peaks[c]}, b) + _ROUNDING
            for a in left
            for b in at
            for c in right
        )

    def _upper_bound(self, size: int) -> int | None:
        """What the peak of a size is at most: the line through the known sizes around it."""
        below = max((known for known in self.peaks if known <= size), default=None)
        above = min((known for known in self.peaks if known >= size), default=None)
        if below is None or above is None:
            return None
        return through({known: self.peaks[known] for known in {below, above}}, size)

    def _lower_bound(self, size: int) -> int | None:
        """What the peak of a size is at least: the line through two smaller sizes.

        Less what the line is off if either peak was rounded, which grows with the distance: the
        lines through the next smaller size and each other one, whichever is the highest.
        """
        *others, near = sorted(known for known in self.peaks if known < size) or [0]
        if size in self.peaks or not others:
            return None
        return max(
            through({known: self.peaks[known] for known in (other, near)}, size)
            - math.ceil(_ROUNDING * Fraction(size - near, near - other))
            for other in others
        )


def through(known: Mapping[int, int], at: int) -> int:
    """The value at `at` of the polynomial through known points, by Lagrange's formula."""
    total = Fraction(0)
    for a, value in known.items():
        others = (Fraction(at - b, a - b) for b in known if b != a)
        total += math.prod(others, start=Fraction(value))
    return math.floor(total)
