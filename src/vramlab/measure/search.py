"""The largest batch within a memory limit: predicted from other batches, confirmed by looking.

Peak memory is nearly a line over the batch size: what the model takes, and the bytes of each
sequence. Two batches that fit give the line, the line says where it crosses the limit, and what is
seen there corrects it. The same search serves trials on a device, predicted peaks, and cards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

FIRST_PROBE, GROWTH = 4, 8
"""The first batch size tried; a prediction this many times larger is approached first."""

PATIENCE = 8
"""Number of looks after which the search bisects instead of extrapolating."""

STEP_BACK = 64 * 2**20
"""Bytes less to try after a failure that does not say what it was short of; doubled each time."""


class Look(Protocol):
    """What was seen at one batch size; a trial of a measured search is one."""

    @property
    def batch_size(self) -> int:
        """Sequences."""

    @property
    def fits(self) -> bool:
        """Whether its peak is within the limit."""

    @property
    def peak_allocated(self) -> int | None:
        """Peak of the bytes in live tensors; None where memory ran out."""

    @property
    def peak_reserved(self) -> int | None:
        """The same, with what the allocator holds beside them."""

    @property
    def missing(self) -> int | None:
        """Bytes beyond the limit, at least; None where that is not known."""

    @property
    def kernel_limit(self) -> int | None:
        """Sequences that a kernel takes at most, where that ended the look and not memory."""


@dataclass(frozen=True)
class Limit:
    """What a search must stay within."""

    memory: int
    """Bytes."""
    batch_size: int
    """The largest batch to look at."""
    fragmentation: int = 0
    """Bytes beyond the live ones that the allocator takes at most near the limit."""


@dataclass(frozen=True)
class Seen:
    """A look at a peak that is known, such as a predicted one."""

    batch_size: int
    peak: int
    limit: int

    @property
    def fits(self) -> bool:
        """Whether the peak is within the limit."""
        return self.peak <= self.limit

    @property
    def peak_allocated(self) -> int | None:
        """The peak; None where it crosses the limit, as after a trial."""
        return self.peak if self.fits else None

    @property
    def peak_reserved(self) -> int | None:
        """The same: a prediction knows of no allocator."""
        return self.peak_allocated

    @property
    def missing(self) -> int | None:
        """Bytes beyond the limit; None where it fits."""
        return None if self.fits else self.peak - self.limit

    @property
    def kernel_limit(self) -> None:
        """None: a prediction knows it before it looks."""


L = TypeVar("L", bound=Look)


def search(look: Callable[[int], L], limit: Limit, known: Sequence[L] = ()) -> tuple[int, list[L]]:
    """Find the largest batch that fits; batches that are larger than it do not.

    The first batch's bytes a sequence, which hold the model's as well, lead to a second, larger one
    that fits. A line through the peaks of the two largest batches that fitted predicts where memory
    runs out; a prediction from far away is approached first, to be made again from nearby. A batch
    that does not fit says by how much, and the line says how many sequences that is; two of them
    say it themselves, since what is missing falls with the batch as well.
    The answer never rests on the prediction: the search ends only when B was seen to fit and B + 1
    was seen not to. Where failures say nothing, the step back doubles until something fits. From
    there, where more fits than a failure told, and after PATIENCE looks, the search bisects, so
    that the looks stay logarithmic.

    Args:
        look: runs or predicts one batch size.
        limit: what there is.
        known: looks from before, under the same limit.

    Returns:
        The largest batch size (0 where not even 1 fits; the limit's where that fits), and the new
        looks in their order.
    """
    fits = max((seen.batch_size for seen in known if seen.fits), default=0)
    fails = min((s.batch_size for s in known if not s.fits), default=limit.batch_size + 1)
    seen = sorted(known, key=lambda s: (not s.fits, s.batch_size if s.fits else -s.batch_size))
    candidate = _next(seen, 0, limit, fits, fails) if seen else min(FIRST_PROBE, limit.batch_size)
    while fails - fits > 1:
        seen.append(look(candidate))
        if seen[-1].fits:
            fits = candidate
        else:
            fails = candidate
        candidate = _next(seen, len(seen) - len(known), limit, fits, fails)
    return fits, seen[len(known) :]


def _next(seen: Sequence[Look], new: int, limit: Limit, fits: int, fails: int) -> int:
    """The next batch size to look at, between the largest that fits and the smallest that fails.

    Args:
        seen: all looks; those that failed each smaller than the one before.
        new: how many of them this search made.
        limit: of the search.
        fits: the largest batch size that fits.
        fails: the smallest that does not.
    """
    guess = _guess(seen, new, limit)
    return (fits + fails) // 2 if guess is None else min(max(guess, fits + 1), fails - 1)


def _guess(seen: Sequence[Look], new: int, limit: Limit) -> int | None:
    """The next batch size, going by the looks so far; None where they are no guide."""
    failed = [look for look in seen if not look.fits]
    if not failed:  # if predictions advance slowly, double the step
        least = seen[-1].batch_size + (1 << max(new - PATIENCE, 0))
        return max(_predict(seen, limit), least)
    if failed[-1].kernel_limit is not None:
        return failed[-1].kernel_limit
    line = _line(seen)
    if line is None or new > PATIENCE:
        return None
    estimate = failed[-1].batch_size - _excess(failed, line[2])
    if not seen[-1].fits:
        return estimate
    if not failed[-1].missing or line[0] > estimate:
        return None
    return min(estimate, _predict(seen, limit))


def _predict(seen: Sequence[Look], limit: Limit) -> int:
    """The largest batch size if memory is linear in it."""
    last = max((look for look in seen if look.fits), key=lambda look: look.batch_size)
    if (line := _line(seen)) is None:
        if len(seen) > 1:  # memory does not grow between them
            return GROWTH * last.batch_size
        return last.batch_size * limit.memory // max(last.peak_allocated or 0, 1) * 9 // 10
    batch, peak, slope = line
    largest = batch + int((limit.memory - peak) / slope)
    if largest > GROWTH * batch and all(look.fits for look in seen):
        return batch + (largest - batch) * 9 // 10
    fragmented = min(limit.fragmentation, (last.peak_reserved or peak) - peak)
    expected = largest - int(fragmented / slope)
    return expected if expected > batch else largest


def _excess(failed: Sequence[Look], slope: float) -> int:
    """How many sequences too many the last look that failed had, at so many bytes each."""
    last = failed[-1]
    if not last.missing:
        return math.ceil((STEP_BACK << (len(failed) - 1)) / slope)
    if len(failed) > 1 and (earlier := failed[-2].missing):
        falls = (earlier - last.missing) / (failed[-2].batch_size - last.batch_size)
        slope = falls if falls > 0 else slope
    return math.ceil(last.missing / slope)


def _line(seen: Sequence[Look]) -> tuple[int, int, float] | None:
    """The largest batch that fitted, its peak, and the bytes of one more sequence."""
    points = sorted((look.batch_size, look.peak_allocated or 0) for look in seen if look.fits)
    if len(points) < 2:
        return None
    (b1, m1), (b2, m2) = points[-2:]
    return (b2, m2, (m2 - m1) / (b2 - b1)) if m2 > m1 else None


def doubling_and_bisection(largest: int) -> int:
    """Number of looks of the usual search for `largest`: double until it fails, then bisect."""
    fits, fails, looks = 0, 1, 0
    while True:
        looks += 1
        if fails > largest:
            break
        fits, fails = fails, 2 * fails
    while fails - fits > 1:
        looks += 1
        middle = (fits + fails) // 2
        fits, fails = (middle, fails) if middle <= largest else (fits, middle)
    return looks
