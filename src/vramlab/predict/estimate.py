"""Predict the largest batch of each technique on each card, and its peak memory.

fake_run predicts the peak of a batch; the search that measured trials use as well then finds the
largest batch below the limit of each card.
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
from vramlab.measure.search import KnownPeak, Limit, search
from vramlab.memory.headroom import fragmentation, headroom
from vramlab.memory.meter import KERNEL_BYTES
from vramlab.predict.fake_run import FakeRun
from vramlab.results.estimate import Estimate
from vramlab.training.machine import Machine, obstacle

log = logging.getLogger(__name__)

VISIBLE_SHARE = 0.985
"""Share of the memory in a card's name that torch can see: 0.98 on an RTX 4090, 0.985 on an A100 of
40 GB, 0.989 on one of 80 GB, 0.991 on an H200."""
CONTEXT_BYTES = 528 * 2**20
"""Size of the CUDA context, before the first tensor: 527 MiB on an H200 (driver 580)."""
_MACHINES = {
    torch.device("cpu"): Machine("cpu"),
    torch.device("cuda"): Machine.with_gpus(capability=(9, 0)),
}
"""The machines that predictions are made for: a CPU, and one with Hopper cards."""
_FIRST_BATCH_SIZES = (32, 512)
"""The batch sizes whose peaks give the first line."""
_ROUNDING = 2**17
"""Bytes by which a peak can deviate from the line, since tensors are rounded up to granules."""
_CPU, _CUDA = _MACHINES


@dataclass(frozen=True)
class Limits:
    """The memory limits that a largest batch is predicted for."""

    measure: MeasureConfig
    """The device, its memory limit, and the largest batch size to consider."""
    cards: Sequence[float] = ()
    """Nominal memory of GPUs in GiB: the number in the card's name."""


def estimates(
    workloads: Sequence[tuple[str, Workload]],
    baseline: str,
    limits: Limits,
    micro_batches: int = 1,
) -> Iterator[Estimate]:
    """Predict the memory of each workload: on CUDA, and on a CPU if the configuration names it.

    Args:
        workloads: pairs of a technique's name and a workload.
        baseline: the technique at whose largest batch the peaks of all others are predicted too.
        limits: the configured limit and the cards.
        micro_batches: per step; from the second one on, gradients exist when it begins.
    """
    results: dict[tuple[Workload, torch.device], dict[str, Any]] = {}
    baseline_workloads = {w.length: _same_sizes(w) for name, w in workloads if name == baseline}
    for name, workload in sorted(workloads, key=lambda pair: pair[0] != baseline):
        for device in (_CPU, _CUDA) if limits.measure.device == "cpu" else (_CUDA,):
            identity: dict[str, Any] = {
                "technique": name,
                "axes": workload.technique,
                "sequence_length": workload.length,
                "device": device.type,
            }
            reason = unmodelled(workload.technique) or obstacle(workload, _MACHINES[device])
            if reason:
                yield Estimate(**identity, status="skipped", reason=reason)
                continue
            key = _same_sizes(workload), device
            if key not in results:
                run = FakeRun(workload, device == _CUDA, micro_batches)
                of_baseline = results.get((baseline_workloads[workload.length], device), {})
                most = most_sequences(workload.technique) if device == _CUDA else None
                limit = _cap_batch_size(limits, most)
                results[key] = _largest_batches(
                    run.peak, device, limit, of_baseline.get("batch_size")
                )
                run.close()
            estimate = Estimate(
                **identity,
                status="ok",
                **results[key],
                fragmentation=fragmentation(device),
                caveats=caveats(workload.technique) if device == _CUDA else [],
            )
            _log(estimate)
            yield estimate


def unmodelled(technique: Technique) -> str | None:
    """Why a technique cannot be predicted by a step on fake tensors; None if it can."""
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


def _same_sizes(workload: Workload) -> Workload:
    """A simpler workload with the same predicted peak, so that each is run only once.

    TF32 changes no tensor's size, nor does a window that the attention kernel applies itself.
    """
    changes: dict[str, Any] = {}
    if workload.technique.precision == "tf32":
        changes["precision"] = "fp32"
    if ATTENTION_VALUES[workload.technique.attention].predicted_as_flash:
        changes["window"] = None
    technique = workload.technique.model_copy(update=changes)
    return workload.model_copy(update={"technique": technique})


def _cap_batch_size(limits: Limits, most: int | None) -> Limits:
    """The same limits, with at most `most` sequences in a batch."""
    if most is None or most >= limits.measure.max_batch_size:
        return limits
    measure = limits.measure.model_copy(update={"max_batch_size": most})
    return replace(limits, measure=measure)


def _largest_batches(
    peak: Callable[[int], int], device: torch.device, limits: Limits, batch_size: int | None
) -> dict[str, Any]:
    """The largest batches, and all peaks on the way, including that of `batch_size`.

    If `batch_size` is None, the largest batch itself takes its place.
    """
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


def _log(estimate: Estimate) -> None:
    batches = [b for b in (estimate.max_batch_size, *estimate.cards) if b is not None]
    log.info(
        "%s at %d tokens on %s: %s",
        *(estimate.technique, estimate.sequence_length, estimate.device),
        ", ".join(f"{batch:,}" for batch in batches) or "no limit to look for",
    )


def limit_of(measure: MeasureConfig, device: torch.device) -> int | None:
    """Bytes that live tensors may take under the configured limit; None if none is configured."""
    if measure.memory_limit_gib is None or (measure.device == "cpu") != (device == _CPU):
        return None
    limit = int(measure.memory_limit_gib * 2**30)
    return limit - headroom(device, limit) - fragmentation(device)


def usable(card: float) -> int:
    """Bytes that live tensors may take on a card with a nominal memory of `card` GiB."""
    limit = int(card * VISIBLE_SHARE * 2**30) - CONTEXT_BYTES - KERNEL_BYTES
    return limit - headroom(_CUDA, limit) - fragmentation(_CUDA)


def caveats(technique: Technique) -> list[str]:
    """What the prediction for CUDA ignores, in sentences without a full stop."""
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
    return [reason for reason, applies in left_out.items() if applies]


class Curve:
    """Peak memory by batch size, predicted once for each; it never falls as the batch grows."""

    def __init__(self, peak: Callable[[int], int]) -> None:
        self.peaks: dict[int, int] = {}
        """The peaks predicted so far."""
        self._peak = peak

    def __call__(self, batch_size: int) -> int:
        """The peak in bytes."""
        if batch_size not in self.peaks:
            self.peaks[batch_size] = self._peak(batch_size)
        return self.peaks[batch_size]

    def largest(self, limit: int, upper: int) -> int:
        """The largest batch, up to `upper`, whose peak is at most `limit`; 0 if there is none.

        The peaks of that batch and of the next larger one were predicted; the latter only if its
        lower bound does not already exceed the limit.
        """
        for start in _FIRST_BATCH_SIZES:
            self(min(start, upper))
        known = [KnownPeak(batch_size, peak, limit) for batch_size, peak in self.peaks.items()]
        return search(lambda b: self._probe(b, limit), Limit(limit, upper), known)[0]

    def _probe(self, batch_size: int, limit: int) -> KnownPeak:
        """The peak of a batch, or only its lower bound if that is clearly beyond the limit."""
        lower_bound = self._lower_bound(batch_size)
        if lower_bound is not None and lower_bound > limit + _ROUNDING:
            return KnownPeak(batch_size, lower_bound, limit)
        return KnownPeak(batch_size, self(batch_size), limit)

    def _lower_bound(self, batch_size: int) -> int | None:
        """A lower bound of the peak: the line through the two next smaller batches.

        The curve never gets flatter as the batch grows, so the peak is on that line or above it.
        """
        below = sorted(b for b in self.peaks if b < batch_size)[-2:]
        if len(below) < 2 or batch_size in self.peaks:
            return None
        (b1, m1), (b2, m2) = ((b, self.peaks[b]) for b in below)
        return m2 + (m2 - m1) * (batch_size - b2) // (b2 - b1)
