"""The largest batch of each technique on each card, and its peak memory, predicted.

The peaks come from fake_run; the search of measured trials follows them to the limits of the cards.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from vramlab.config.axes import ATTENTION_VALUES, OPTIMIZER_VALUES
from vramlab.config.measure import MeasureConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.measure.kernel_limit import most_sequences
from vramlab.measure.search import Limit, Seen, search
from vramlab.memory.headroom import fragmentation, headroom
from vramlab.memory.meter import KERNEL_BYTES
from vramlab.predict.fake_run import FakeRun
from vramlab.results.estimate import Estimate
from vramlab.training.machine import Machine, obstacle

log = logging.getLogger(__name__)

SEEN = 0.985
"""Share of the memory in a card's name that torch sees: 0.98 on an RTX 4090, 0.985 on an A100 of
40 GB, 0.989 on one of 80 GB, 0.991 on an H200."""
CONTEXT_BYTES = 528 * 2**20
"""What CUDA takes before the first tensor; 527 MiB on an H200 (driver 580)."""
_MACHINES = {
    torch.device("cpu"): Machine("cpu"),
    torch.device("cuda"): Machine.with_gpus(capability=(9, 0)),
}
"""What is predicted for: a CPU, and a Hopper card."""
_START = (32, 512)
"""The first batch sizes that a curve is drawn through."""
_SLACK = 2**17
"""Bytes by which a curve is off its line, since each tensor takes whole granules."""
_CPU, _CUDA = _MACHINES


@dataclass(frozen=True)
class Limits:
    """How much memory there is."""

    measure: MeasureConfig
    """The device, its memory limit, and the largest batch size to consider."""
    cards: Sequence[float] = ()
    """Memory of GPUs in GiB, as their names give it."""


def estimates(
    workloads: Sequence[tuple[str, Workload]],
    baseline: str,
    limits: Limits,
    micro_batches: int = 1,
) -> Iterator[Estimate]:
    """Predict what each workload takes: on CUDA, and on a CPU where the configuration names it.

    Args:
        workloads: with the names of their techniques.
        baseline: the technique at whose largest batch all are compared.
        limits: the memory that there is.
        micro_batches: in a step; from the second on, gradients are there when it begins.
    """
    found: dict[tuple[Workload, torch.device], dict[str, Any]] = {}
    of_baseline = {w.length: _in_sizes(w) for name, w in workloads if name == baseline}
    for name, workload in sorted(workloads, key=lambda pair: pair[0] != baseline):
        for device in (_CPU, _CUDA) if limits.measure.device == "cpu" else (_CUDA,):
            head: dict[str, Any] = {
                "technique": name,
                "axes": workload.technique,
                "sequence_length": workload.length,
                "device": device.type,
            }
            reason = unmodelled(workload.technique) or obstacle(workload, _MACHINES[device])
            if reason:
                yield Estimate(**head, status="skipped", reason=reason)
                continue
            key = _in_sizes(workload), device
            if key not in found:
                run = FakeRun(workload, device == _CUDA, micro_batches)
                first = found.get((of_baseline[workload.length], device), {})
                most = most_sequences(workload.technique) if device == _CUDA else None
                limit = _within(limits, most)
                found[key] = _largest_batches(run.peak, device, limit, first.get("batch_size"))
                run.close()
            estimate = Estimate(
                **head,
                status="ok",
                **found[key],
                fragmentation=fragmentation(device),
                caveats=caveats(workload.technique) if device == _CUDA else [],
            )
            _say(estimate)
            yield estimate


def unmodelled(technique: Technique) -> str | None:
    """Why no step on fake tensors can stand for the technique; None where one can."""
    if technique.parallel != "none":
        return (
            f"parallel {technique.parallel} cannot be predicted: a step without values has no "
            "other processes to exchange weights and gradients with; the search for the largest "
            "batch measures it"
        )
    package = OPTIMIZER_VALUES[technique.optimizer].package
    if package is not None and importlib.util.find_spec(package) is None:
        return (
            f"optimizer {technique.optimizer} is predicted by the package {package}, which is not "
            "installed; see envs/README.md"
        )
    return None


def _in_sizes(workload: Workload) -> Workload:
    """A workload whose tensors have the same sizes: TF32 products and windows inside a kernel
    change none."""
    changes: dict[str, Any] = {}
    if workload.technique.precision == "tf32":
        changes["precision"] = "fp32"
    if ATTENTION_VALUES[workload.technique.attention].predicted_as_flash:
        changes["window"] = None
    technique = workload.technique.model_copy(update=changes)
    return workload.model_copy(update={"technique": technique})


def _within(limits: Limits, most: int | None) -> Limits:
    """The same limits, with at most so many sequences in a batch."""
    if most is None or most >= limits.measure.max_batch_size:
        return limits
    measure = limits.measure.model_copy(update={"max_batch_size": most})
    return replace(limits, measure=measure)


def _largest_batches(
    peak: Callable[[int], int], device: torch.device, limits: Limits, batch_size: int | None
) -> dict[str, Any]:
    """The largest batches of a run, and its peak at `batch_size`; None stands for its largest."""
    curve, upper = Curve(peak), limits.measure.max_batch_size
    limit = limit_of(limits.measure, device)
    own = None if limit is None else curve.largest(limit, upper)
    on_cards = [curve.largest(usable(c), upper) for c in limits.cards if device == _CUDA]
    if batch_size is None:
        batch_size = (max(on_cards, default=0) if own is None else own) or None
    if batch_size is not None:
        curve(batch_size)
    return {
        "peaks": dict(sorted(curve.peaks.items())),
        "batch_size": batch_size,
        "max_batch_size": own,
        "cards": on_cards,
    }


def _say(estimate: Estimate) -> None:
    batches = [b for b in (estimate.max_batch_size, *estimate.cards) if b is not None]
    log.info(
        "%s at %d tokens on %s: %s",
        *(estimate.technique, estimate.sequence_length, estimate.device),
        ", ".join(f"{batch:,}" for batch in batches) or "no limit to look for",
    )


def limit_of(measure: MeasureConfig, device: torch.device) -> int | None:
    """Bytes that live tensors may take under the configured limit; None where it sets none."""
    if measure.memory_limit_gib is None or (measure.device == "cpu") != (device == _CPU):
        return None
    limit = int(measure.memory_limit_gib * 2**30)
    return limit - headroom(device, limit) - fragmentation(device)


def usable(card: float) -> int:
    """Bytes that live tensors may take on a card of so many GiB, going by its name."""
    limit = int(card * SEEN * 2**30) - CONTEXT_BYTES - KERNEL_BYTES
    return limit - headroom(_CUDA, limit) - fragmentation(_CUDA)


def caveats(technique: Technique) -> list[str]:
    """What of a technique on CUDA the model leaves out, in sentences without a full stop."""
    left_out = {
        "compiled code is counted as if it were not; the compiler chooses what to keep": (
            technique.compile != "none"
        ),
        "the pools of CUDA graphs, which keep what they ever used, are not counted": (
            technique.cuda_graphs
        ),
        "flex_attention is counted as a flash kernel": technique.attention == "flex",
        "the scaling of 8-bit products is counted as its operations one by one": (
            technique.precision == "fp8"
        ),
    }
    return [reason for reason, stands in left_out.items() if stands]


class Curve:
    """Peak memory by batch size, looked up once each; it never falls as the batch grows."""

    def __init__(self, peak: Callable[[int], int]) -> None:
        self.peaks: dict[int, int] = {}
        """All that was looked up."""
        self._peak = peak

    def __call__(self, batch_size: int) -> int:
        """The peak in bytes."""
        if batch_size not in self.peaks:
            self.peaks[batch_size] = self._peak(batch_size)
        return self.peaks[batch_size]

    def largest(self, limit: int, upper: int) -> int:
        """The largest batch whose peak is at most `limit`: 0 where none is, and at most `upper`.

        The answer was looked up, and so was the next larger batch, unless the curve below it alone
        says that it is too large.
        """
        for start in _START:
            self(min(start, upper))
        known = [Seen(batch_size, peak, limit) for batch_size, peak in self.peaks.items()]
        return search(lambda b: self._look(b, limit), Limit(limit, upper), known)[0]

    def _look(self, batch_size: int, limit: int) -> Seen:
        """The peak of a batch; what it is at least, where that crosses the limit by far enough."""
        least = self._least(batch_size)
        if least is not None and least > limit + _SLACK:
            return Seen(batch_size, least, limit)
        return Seen(batch_size, self(batch_size), limit)

    def _least(self, batch_size: int) -> int | None:
        """The peak on the line through the two batches below, since a curve never gets flatter."""
        below = sorted(b for b in self.peaks if b < batch_size)[-2:]
        if len(below) < 2 or batch_size in self.peaks:
            return None
        (b1, m1), (b2, m2) = ((b, self.peaks[b]) for b in below)
        return m2 + (m2 - m1) * (batch_size - b2) // (b2 - b1)
