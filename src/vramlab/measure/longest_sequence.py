"""The longest sequence within a memory limit: trials of lengths in place of batch sizes.

It is the search for the largest batch, which only asks that memory grows with the size: in lengths
it grows in proportion for attention that stores no scores, and faster for attention that does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vramlab.config.workload import Workload
from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.measure.search import Limit, search
from vramlab.measure.trial import DoesNotFit, Trials
from vramlab.memory.budget import Budget
from vramlab.memory.headroom import fragmentation
from vramlab.model.positions import most_positions
from vramlab.results.longest_sequence import UNIT, LengthTrial, units_within

log = logging.getLogger(__name__)


class TooLong(Exception):
    """A length did not fit in one rank, and the others wait forever; see `DoesNotFit`.

    Attributes:
        trials: all trials so far, including this one.
    """

    def __init__(self, trials: Sequence[LengthTrial]) -> None:
        super().__init__(trials)
        self.trials = list(trials)


@dataclass(frozen=True)
class LengthPlan:
    """What a trial of a length does."""

    batch_size: int
    """Sequences per process."""
    steps: int
    micro_batches: int = 1
    """Per step."""


@dataclass(frozen=True)
class _Probe:
    """A trial, whose size the search counts in units of the length."""

    trial: LengthTrial

    @property
    def batch_size(self) -> int:
        """Units."""
        return self.trial.length // UNIT

    @property
    def fits(self) -> bool:
        """Whether its peak is within the limit."""
        return self.trial.fits

    @property
    def peak_allocated(self) -> int | None:
        """Peak bytes of live tensors."""
        return self.trial.peak_allocated

    @property
    def peak_reserved(self) -> int | None:
        """Peak bytes reserved by the allocator."""
        return self.trial.peak_reserved

    @property
    def missing(self) -> int | None:
        """A lower bound on the bytes beyond the limit."""
        return self.trial.missing

    @property
    def kernel_limit(self) -> None:
        """None: a kernel's maximum is one of sequences, not of their length."""


def most_units(workload: Workload) -> int:
    """The longest sequence that the model takes, in units; it may be bounded by its positions."""
    return units_within(most_positions(workload))


def longest_sequence(
    workload: Workload,
    budget: Budget,
    plan: LengthPlan,
    known: Sequence[LengthTrial] = (),
    predicted: PredictedPeaks | None = None,
) -> tuple[int, list[LengthTrial]]:
    """Search for the longest sequence at a batch size.

    Args:
        workload: its own length does not matter.
        budget: the device, and the memory that the search may fill.
        plan: of a trial.
        known: trials of earlier processes.
        predicted: peaks by the length in units, which only tell where to begin.

    Returns:
        Tokens (0 if not even one unit fits), and the trials in order, known ones included.

    Raises:
        TooLong: with several processes, a trial did not fit; go on in new processes.
    """
    found = {trial.length: trial for trial in known}
    order: list[LengthTrial] = []

    def probe(units: int) -> _Probe:
        length = UNIT * units
        if length not in found:
            longer = workload.model_copy(update={"length": length})
            log.info("sequences of %d tokens:", length)
            try:
                tried = Trials(longer, budget, plan.steps, plan.micro_batches)(plan.batch_size)
            except DoesNotFit as error:
                failed = LengthTrial(**error.trials[-1].model_dump(), length=length)
                raise TooLong([*found.values(), failed]) from None
            found[length] = LengthTrial(**tried.model_dump(), length=length)
        order.append(found[length])
        return _Probe(found[length])

    assert budget.limit is not None
    limit = Limit(budget.limit, most_units(workload), fragmentation(budget.device))
    if budget.device.type == "cpu":
        largest, _ = search(probe, limit, list(_doubled(probe, limit, predicted)))
    else:
        largest, _ = search(probe, limit, predicted=predicted)
    return UNIT * largest, order


def _doubled(
    probe: Callable[[int], _Probe], limit: Limit, predicted: PredictedPeaks | None
) -> Iterator[_Probe]:
    """Double the length until one does not fit.

    A CPU has no allocator that refuses: an operation that takes far more than the limit takes it
    from the machine. Attention that stores its scores takes four times as much for twice the
    length.

    The first length is the longest that is predicted to fit, the second one unit more; where both
    fit, the powers of two above them follow, so that a wrong prediction skips more than it adds.
    """
    longest = 1 if predicted is None else predicted.largest(limit.memory)
    first = units = max(min(longest, limit.batch_size), 1)
    while units <= limit.batch_size:
        yield (probed := probe(units))
        if not probed.fits:
            return
        units = first + 1 if units == first else 1 << units.bit_length()
