"""The largest batch within a memory limit: predicted from other batches, confirmed by probes.

A probe runs one batch size, or predicts its peak. Peak memory is nearly linear in the batch size: a
constant for the model, plus some bytes for each sequence. Two batches that fit determine the line;
the next probe is where the line crosses the limit, and its result corrects the line. The same
search is used for trials on a device, for predicted peaks and for GPUs of a given size.

With peaks that were predicted without the device, the first probe is where they cross the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import Protocol, TypeVar

from vramlab.measure.predicted_peaks import PredictedPeaks

FIRST_PROBE, GROWTH = 4, 8
"""The first batch size probed. A prediction beyond GROWTH times the largest batch that fits is
uncertain, so the search goes nine tenths of the way first."""

PATIENCE = 8
"""Number of probes after which the search bisects instead of extrapolating."""

TRUSTED_FOR = 3
"""Number of probes, from the first that fits, after which predicted peaks play no part."""

CLOSE_BY = 8
"""Batches are close by if they differ by less than this part of the larger one."""

NEARLY_RIGHT, NEARLY_RIGHT_FOR = 32, 4
"""A prediction is nearly right if so large a part of it did not fit, for so many probes."""

STEP_BACK = 64 * 2**20
"""Bytes to go back by if a failure does not say how much was missing; doubled each time."""


class Probe(Protocol):
    """The result for one batch size, such as a trial on a device."""

    @property
    def batch_size(self) -> int:
        """Number of sequences."""

    @property
    def fits(self) -> bool:
        """Whether its peak is within the limit."""

    @property
    def peak_allocated(self) -> int | None:
        """Peak bytes of live tensors; None if memory ran out."""

    @property
    def peak_reserved(self) -> int | None:
        """Peak bytes reserved by the allocator; None if memory ran out."""

    @property
    def missing(self) -> int | None:
        """A lower bound on the bytes beyond the limit; None if unknown."""

    @property
    def kernel_limit(self) -> int | None:
        """Maximum number of sequences for a kernel, if that and not memory made the probe fail."""


@dataclass(frozen=True)
class Limit:
    """The limits of a search."""

    memory: int
    """Bytes."""
    batch_size: int
    """The largest batch to probe."""
    fragmentation: int = 0
    """Maximum bytes that the allocator loses to fragmentation near the limit."""


@dataclass(frozen=True)
class KnownPeak:
    """A probe with a peak that is known without running it, such as a predicted one."""

    batch_size: int
    peak: int
    limit: int

    @property
    def fits(self) -> bool:
        """Whether the peak is within the limit."""
        return self.peak <= self.limit

    @property
    def peak_allocated(self) -> int | None:
        """The peak; None if it exceeds the limit, as in a trial."""
        return self.peak if self.fits else None

    @property
    def peak_reserved(self) -> int | None:
        """The same: a prediction has no allocator, and so no fragmentation."""
        return self.peak_allocated

    @property
    def missing(self) -> int | None:
        """Bytes beyond the limit; None if it fits."""
        return None if self.fits else self.peak - self.limit

    @property
    def kernel_limit(self) -> None:
        """None: callers of a predicted search put the kernel's maximum into the limit."""


P = TypeVar("P", bound=Probe)


def search(
    probe: Callable[[int], P],
    limit: Limit,
    known: Sequence[P] = (),
    predicted: PredictedPeaks | None = None,
) -> tuple[int, list[P]]:
    """Find the largest batch that fits; it is assumed that no larger one fits.

    1. The first probe is small. Its bytes per sequence include the model's, so dividing the limit
       by them underestimates: the second batch is larger and still fits.
    2. The line through the two largest batches that fit predicts where memory runs out. If that is
       far away, the next probe goes only part of the way, and the line is drawn again from there.
    3. A failure says how many bytes were missing. The line's slope turns them into sequences; after
       two failures, the slope is that of the missing bytes between them.
    4. If failures do not say what was missing, the step back doubles until something fits.
    5. After that, or if more fits than a failure suggested, or after PATIENCE probes, the search
       bisects, so the number of probes stays logarithmic.

    With predicted peaks, the first probe is the largest batch that fits by them, and the second is
    one more. Where they are incomplete, the first is half of that: it fits, and shows how far off
    they are. Until two batches far apart have fitted, their fixed bytes are one point of the line.

    Predictions only choose what to probe: the search ends only when B was seen to fit and B + 1 was
    seen to fail.

    Args:
        probe: runs or predicts one batch size.
        limit: memory, and the largest batch size to consider.
        known: earlier probes under the same limit.
        predicted: of the peaks that probes would find.

    Returns:
        The largest batch size (0 if not even 1 fits; `limit.batch_size` if that fits), and the new
        probes in order.
    """
    fits = max((p.batch_size for p in known if p.fits), default=0)
    fails = min((p.batch_size for p in known if not p.fits), default=limit.batch_size + 1)
    probes = sorted(known, key=lambda p: (not p.fits, p.batch_size if p.fits else -p.batch_size))
    while fails - fits > 1:
        new = len(probes) - len(known)
        guess = _Guess(probes, limit, new, _trusted(predicted, probes)).batch_size()
        candidate = (fits + fails) // 2 if guess is None else min(max(guess, fits + 1), fails - 1)
        probes.append(probe(candidate))
        if probes[-1].fits:
            fits = candidate
        else:
            fails = candidate
    return fits, probes[len(known) :]


def _trusted(predicted: PredictedPeaks | None, probes: Sequence[Probe]) -> PredictedPeaks | None:
    """The predicted peaks, until enough probes have fitted to do without."""
    since_fit = [*dropwhile(lambda probe: not probe.fits, probes)]
    return predicted if len(since_fit) <= TRUSTED_FOR else None


@dataclass(frozen=True)
class _Guess:
    """What to probe next."""

    probes: Sequence[Probe]
    """All so far; each failed one is smaller than the failed one before it."""
    limit: Limit
    new: int
    """How many of the probes this search has made."""
    predicted: PredictedPeaks | None

    def batch_size(self) -> int | None:
        """A batch size, which may be outside of what is still open; None means bisect."""
        if not self.probes:
            return self._first()
        failed = self._failed
        if not failed:  # if predictions advance slowly, double the step
            least = self.probes[-1].batch_size + (1 << max(self.new - PATIENCE, 0))
            return max(self._on_line(), least)
        if failed[-1].kernel_limit is not None:
            return failed[-1].kernel_limit
        if self.new > PATIENCE:
            return None
        if self.predicted is not None and len(failed) == len(self.probes):
            return self._back(self.predicted)
        line = self._line()
        return None if line is None else self._after_failure(line)

    @property
    def _failed(self) -> list[Probe]:
        return [probe for probe in self.probes if not probe.fits]

    def _first(self) -> int:
        if self.predicted is None:
            return FIRST_PROBE
        if self.predicted.begin is not None:
            return self.predicted.begin
        largest = self.predicted.largest(self.limit.memory - self.limit.fragmentation)
        return largest if self.predicted.complete else max(largest // 2, FIRST_PROBE)

    def _back(self, predicted: PredictedPeaks) -> int:
        """Where all failed: what is missing less, or a quarter of the last one.

        A quarter, if the predicted peaks were not nearly right: a failure tells only a part of what
        a whole step lacks, and a batch that fits tells what the line is.
        """
        first, last = self._failed[0].batch_size, self._failed[-1].batch_size
        estimate = last - self._excess(predicted.slope)
        told = any(probe.missing for probe in self._failed)
        nearly = predicted.complete and len(self._failed) <= (NEARLY_RIGHT_FOR if told else 1)
        return estimate if nearly and first - estimate < first / NEARLY_RIGHT else last // 4

    def _after_failure(self, line: tuple[int, int, float]) -> int | None:
        """Where some fitted and some failed."""
        last = self._failed[-1]
        estimate = last.batch_size - self._excess(line[2])
        plausible = not self.probes[-1].fits or (last.missing and line[0] <= estimate)
        if self.predicted is not None:
            on_line = self._on_line()
            if plausible:
                return min(estimate, on_line)
            beyond = on_line - last.batch_size
            return on_line if beyond < (last.batch_size - line[0]) / CLOSE_BY else None
        if not plausible:
            return None
        return min(estimate, self._on_line()) if self.probes[-1].fits else estimate

    def _on_line(self) -> int:
        """The largest batch size if memory is linear in it."""
        last = max((p for p in self.probes if p.fits), key=lambda probe: probe.batch_size)
        memory = self.limit.memory
        if (line := self._line()) is None:
            if len(self.probes) > 1:  # memory did not grow between the batches
                return GROWTH * last.batch_size
            return last.batch_size * memory // max(last.peak_allocated or 0, 1) * 9 // 10
        batch, peak, slope = line
        largest = batch + int((memory - peak) / slope)
        if largest > GROWTH * batch and not self._failed:
            return batch + (largest - batch) * 9 // 10
        fragmented = min(self.limit.fragmentation, (last.peak_reserved or peak) - peak)
        expected = largest - int(fragmented / slope)
        if self.new == 1 and self.predicted is not None and self.predicted.complete:
            return max(expected, batch + 1)
        return expected if expected > batch else largest

    def _excess(self, slope: float) -> int:
        """How many sequences too many the last failed probe had.

        Args:
            slope: bytes of one more sequence.
        """
        failed, last = self._failed, self._failed[-1]
        if not last.missing:
            return math.ceil((STEP_BACK << (len(failed) - 1)) / slope)
        if len(failed) > 1 and (earlier := failed[-2].missing):
            bytes_per_sequence = (earlier - last.missing) / (
                failed[-2].batch_size - last.batch_size
            )
            slope = bytes_per_sequence if bytes_per_sequence > 0 else slope
        return math.ceil(last.missing / slope)

    def _line(self) -> tuple[int, int, float] | None:
        """The largest batch that fits, its peak, and the bytes of one more sequence.

        None if fewer than two batches fit, or if memory does not grow between the two largest.
        Where fixed bytes are predicted, they replace a second batch that is missing or close by.
        """
        points = sorted((p.batch_size, p.peak_allocated or 0) for p in self.probes if p.fits)
        if self.predicted is not None and points:
            batch, peak = points[-1]
            if len(points) < 2 or batch - points[-2][0] < batch // CLOSE_BY:
                slope = (peak - self.predicted.fixed) / batch
                return batch, peak, slope if slope > 0 else self.predicted.slope
        if len(points) < 2:
            return None
        (b1, m1), (b2, m2) = points[-2:]
        return (b2, m2, (m2 - m1) / (b2 - b1)) if m2 > m1 else None


def doubling_and_bisection(largest: int) -> int:
    """Number of probes that the usual search takes: double until one fails, then bisect."""
    fits, fails, probes = 0, 1, 0
    while True:
        probes += 1
        if fails > largest:
            break
        fits, fails = fails, 2 * fails
    while fails - fits > 1:
        probes += 1
        middle = (fits + fails) // 2
        fits, fails = (middle, fails) if middle <= largest else (fits, middle)
    return probes
