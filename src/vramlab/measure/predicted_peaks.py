"""Peak memory by size, of a batch or of a sequence, from the few sizes whose peak was predicted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class PredictedPeaks:
    """The peaks between the predicted ones, and beyond them, are on the lines through two."""

    peaks: Mapping[int, int]
    """Bytes, by the size that a search varies: sequences of a batch, or units of a length; at least
    one."""
    complete: bool = True
    """Whether all that takes memory was modelled."""
    begin: int | None = None
    """The size to try first, where the gaps between tensors were predicted too."""

    def at(self, batch_size: int) -> int:
        """The peak of a size, in bytes."""
        if batch_size in self.peaks:
            return self.peaks[batch_size]
        batch, peak, slope = self._line(bisect_right(self._known, (batch_size, 0)))
        return round(peak + slope * (batch_size - batch))

    def largest(self, limit: int) -> int:
        """The largest batch whose peak is at most `limit` bytes; 0 if not even one sequence fits.

        That of the largest predicted batch where peaks do not grow.
        """
        above = next((i for i, (_, peak) in enumerate(self._known) if peak > limit), None)
        batch, peak, slope = self._line(len(self._known) if above is None else above)
        if slope <= 0:
            return 0 if above == 0 else self._known[-1][0]
        found = max(batch + int((limit - peak) // slope), 0)
        return found - 1 if found and self.at(found) > limit else found

    @property
    def slope(self) -> float:
        """Bytes of one more sequence, for the largest predicted batches; at least 1."""
        return max(self._line(len(self._known))[2], 1.0)

    @property
    def fixed(self) -> float:
        """Bytes that the largest predicted batches take whatever their size."""
        batch, peak, _ = self._line(len(self._known))
        return peak - self.slope * batch

    @cached_property
    def _known(self) -> list[tuple[int, int]]:
        return sorted(self.peaks.items())

    def _line(self, above: int) -> tuple[int, int, float]:
        """A predicted batch, its peak and the slope there.

        Args:
            above: index of the first predicted batch above the one in question.
        """
        known = self._known
        if len(known) == 1:
            return (*known[0], 0.0)
        (b, m), (c, n) = known[max(0, min(above - 1, len(known) - 2)) :][:2]
        return b, m, (n - m) / (c - b)
