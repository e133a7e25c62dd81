"""The largest batch of each technique on each card, and its peak memory, predicted.

The peaks come from fake_run; this module follows their curve to the limits of the cards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from vramlab.config.measure import MeasureConfig
from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.memory.headroom import fragmentation, headroom
from vramlab.memory.meter import KERNEL_BYTES
from vramlab.predict.fake_run import FakeRun
from vramlab.results.estimate import Estimate
from vramlab.training.machine import unavailable

log = logging.getLogger(__name__)

SEEN = 0.985
"""Share of the memory in a card's name that torch sees: 0.98 on an RTX 4090, 0.985 on an A100 of
40 GB, 0.989 on one of 80 GB, 0.991 on an H200."""
CONTEXT_BYTES = 528 * 2**20
"""What CUDA takes before the first tensor; 527 MiB on an H200 (driver 580)."""
_HOPPER = (9, 0)
_START = (32, 512)
"""The first batch sizes that a curve is drawn through."""
_SLACK = 2**17
"""Bytes by which a curve is off its line, since each tensor takes whole granules."""
PATIENCE = 12
"""Looks at a curve before it is bisected."""
_CPU, _CUDA = torch.device("cpu"), torch.device("cuda")


def estimates(
    techniques: Mapping[str, Technique],
    searches: Iterable[tuple[str, int]],
    baseline: str,
    model: ModelConfig,
    vocab_size: int,
    measure: MeasureConfig,
    cards: Sequence[float],
    micro_batches: int = 1,
) -> Iterator[Estimate]:
    """Predict what each technique takes: on CUDA, and on a CPU where the configuration names it.

    Args:
        techniques: by name.
        searches: technique and sequence length of each prediction.
        baseline: the technique at whose largest batch all are compared.
        model: of the experiment.
        vocab_size: of the tokenizer.
        measure: the device, its memory limit, and the largest batch size to consider.
        cards: their memory in GiB, as their names give it.
        micro_batches: in a step; from the second on, gradients are there when it begins.
    """
    found: dict[tuple[Technique, int, torch.device], dict[str, Any]] = {}
    for name, length in sorted(searches, key=lambda search: search[0] != baseline):
        for device in (_CPU, _CUDA) if measure.device == "cpu" else (_CUDA,):
            technique = techniques[name]
            head: dict[str, Any] = {
                "technique": name,
                "axes": technique,
                "sequence_length": length,
                "device": device.type,
            }
            supposed = _HOPPER if device == _CUDA else None
            if reason := unmodelled(technique) or unavailable(technique, model, device, supposed):
                yield Estimate(**head, status="skipped", reason=reason)
                continue
            key = _in_sizes(technique), length, device
            if key not in found:
                cuda = device == _CUDA
                run = FakeRun(technique, model, vocab_size, length, cuda, micro_batches)
                first = found.get((_in_sizes(techniques[baseline]), length, device), {})
                found[key] = _look(run, device, measure, cards, first.get("batch_size"))
                run.close()
            estimate = Estimate(
                **head,
                status="ok",
                **found[key],
                fragmentation=fragmentation(device),
                caveats=caveats(technique) if device == _CUDA else [],
            )
            _say(estimate)
            yield estimate


def unmodelled(technique: Technique) -> str | None:
    """Why no step on fake tensors can stand for the technique; None where one can."""
    if technique.parallel == "none":
        return None
    return (
        f"parallel {technique.parallel} cannot be predicted: a step without values has no other "
        "processes to exchange weights and gradients with; the search for the largest batch "
        "measures it"
    )


def _in_sizes(technique: Technique) -> Technique:
    """A technique whose tensors have the same sizes: TF32 products and windows inside a kernel
    change none."""
    changes: dict[str, Any] = {}
    if technique.precision == "tf32":
        changes["precision"] = "fp32"
    if technique.attention in {"flash", "flex"}:
        changes["window"] = None
    return technique.model_copy(update=changes)


def _look(
    run: FakeRun,
    device: torch.device,
    measure: MeasureConfig,
    cards: Sequence[float],
    batch_size: int | None,
) -> dict[str, Any]:
    """The largest batches of a run, and its peak at `batch_size`; None stands for its largest."""
    curve, upper = Curve(run.peak), measure.max_batch_size
    limit = limit_of(measure, device)
    own = None if limit is None else curve.largest(limit, upper)
    on_cards = [curve.largest(usable(c), upper) for c in cards if device == _CUDA]
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

        Follows the line through the two known batches that are nearest to the limit; where the
        curve bends too often for that, bisects. The answer was looked up, and so was the next
        larger batch, unless the slope alone says that it is too large.
        """
        for start in _START:
            self(min(start, upper))
        looks = 0
        while True:
            fits = max((b for b, peak in self.peaks.items() if peak <= limit), default=0)
            fails = min((b for b, peak in self.peaks.items() if peak > limit), default=upper + 1)
            if fails - fits <= 1 or self._is_last(fits, limit):
                return fits
            guess = self._where(limit) if looks < PATIENCE else (fits + fails) // 2
            self(min(max(guess, fits + 1), fails - 1))
            looks += 1

    def _is_last(self, batch_size: int, limit: int) -> bool:
        """Whether one more sequence is sure to cross the limit: a curve never becomes flatter."""
        smaller = [b for b in self.peaks if b < batch_size]
        if not smaller:
            return False
        b, m = max(smaller), self.peaks[batch_size]
        return m + (m - self.peaks[b]) / (batch_size - b) > limit + _SLACK

    def _where(self, limit: int) -> int:
        near = sorted(self.peaks.items(), key=lambda point: abs(point[1] - limit))[:2]
        (b1, m1), (b2, m2) = sorted(near)
        return b2 + int((limit - m2) // max(1, (m2 - m1) / (b2 - b1))) if m2 > m1 else 2 * b2
