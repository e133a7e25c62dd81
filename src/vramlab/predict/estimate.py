"""Predict the largest batch of each technique on each card, and its peak memory.

fake_run predicts the peak of a batch; the search that measured trials use as well then finds the
largest batch below the limit of each card. Where that is so small that one sequence matters, a
trial on fake tensors tells for the configured limit what the gaps between tensors take.
"""

from __future__ import annotations

import importlib.util
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from vramlab.config.axes import ATTENTION_VALUES, OPTIMIZER_VALUES
from vramlab.config.measure import Headroom, MeasureConfig
from vramlab.config.model import DecoderConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.measure.kernel_limit import most_sequences
from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.memory.headroom import MEASURED, fragmentation, headroom
from vramlab.memory.meter import KERNEL_BYTES
from vramlab.model.language_model import UnsuitableModel
from vramlab.model.sources import trained_range
from vramlab.predict.curve import Curve
from vramlab.predict.fake_run import FakeRun
from vramlab.predict.fake_trial import largest_that_fits
from vramlab.results.estimate import Estimate
from vramlab.results.longest_sequence import UNIT, units_within
from vramlab.training.machine import Machine, missing_here, torch_version

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
_FIRST_TOKENS = (2**13, 2**17)
"""Tokens of the batches, or of the sequences, whose peaks give the first line."""
_MOST_TENTHS = 10 * 2**20
"""Tenths of a GiB, a card of which nothing exceeds."""
_CPU, _CUDA = _MACHINES
_FEW = 100
"""Sequences up to which a batch is tried on fake tensors: one more or less is 1 % or more."""


@dataclass(frozen=True)
class Limits:
    """The memory limits that a largest batch is predicted for."""

    measure: MeasureConfig
    """The device, its memory limit, and the largest batch size to consider."""
    cards: Sequence[float] = ()
    """Nominal memory of GPUs in GiB: the number in the card's name."""


def estimates(
    name: str,
    workload: Workload,
    limits: Limits,
    micro_batches: int = 1,
    compared_at: Mapping[str, int | None] | None = None,
) -> Iterator[Estimate]:
    """Predict the memory of a workload: on CUDA, and on a CPU if the configuration names it.

    Args:
        name: of the technique.
        workload: what is predicted.
        limits: the configured limit and the cards.
        micro_batches: per step; from the second one on, gradients exist when it begins.
        compared_at: by device, the batch size whose peak is predicted too, which is the baseline's
            largest; where there is none, the own largest one.
    """
    for device in (_CPU, _CUDA) if limits.measure.device == "cpu" else (_CUDA,):
        identity: dict[str, Any] = {
            "technique": name,
            "axes": workload.technique,
            "sequence_length": workload.length,
            "device": device.type,
        }
        reason = unmodelled(workload.technique) or missing_here(workload, _MACHINES[device])
        if reason:
            yield Estimate(**identity, status="skipped", reason=reason)
            continue
        most = most_sequences(workload.technique) if device == _CUDA else None
        limit = _cap_batch_size(limits, most)
        try:
            with FakeRun.of(workload, device == _CUDA, micro_batches) as run:
                found = _batches(run, device, limit, (compared_at or {}).get(device.type))
                longest = _longest(run, limits) if device == _CUDA else []
                length_peaks = _length_peaks(run, device, limits)
                left_out = [*run.caveats, *notes(workload.technique)] if device == _CUDA else []
        except UnsuitableModel as error:
            yield Estimate(**identity, status="skipped", reason=str(error))
            continue
        yield Estimate(
            **identity,
            status="ok",
            **found,
            longest=longest,
            length_peaks=length_peaks,
            trained_range=trained_range(workload.model),
            fragmentation=fragmentation(device),
            caveats=left_out,
        )


def counted_alike(workload: Workload) -> Workload:
    """The workload whose steps on CUDA stand for those of this one: they take the same bytes.

    TF32 is a switch of torch's products, which a step on fake tensors does not ask for, and what is
    counted as a flash kernel saves the same for any window. Compiled code and models of others may
    ask for either.
    """
    technique = workload.technique
    if technique.compile != "none" or not isinstance(workload.model, DecoderConfig):
        return workload
    same: dict[str, Any] = {}
    if technique.precision == "tf32":
        same["precision"] = "fp32"
    if ATTENTION_VALUES[technique.attention].predicted_as_flash:
        same["window"] = None
    return workload.model_copy(update={"technique": technique.model_copy(update=same)})


@dataclass(frozen=True)
class Room:
    """The memory that a search has, as far as it is known before."""

    limit: int
    """Bytes."""
    upper: int
    """The largest size to consider: a batch in sequences, or a length in units."""
    trial_steps: int | None = None
    """Steps of a trial, where one may take exactly the limit; else None."""


def predicted_peaks(
    workload: Workload,
    cuda: bool,
    room: Room,
    micro_batches: int = 1,
    lengths_at: int | None = None,
) -> PredictedPeaks | None:
    """The peaks of some sizes, among them the largest within a limit; None if unpredictable.

    Args:
        workload: what is predicted.
        cuda: for a CUDA device instead of a CPU.
        room: the limit.
        micro_batches: per step.
        lengths_at: None to vary the batch; else the batch at which the length varies, in units.

    Raises:
        ModelError: the model fails, with values too.
    """
    technique = workload.technique
    if unmodelled(technique) or missing_here(workload, _MACHINES[_CUDA if cuda else _CPU]):
        return None
    begin = None
    try:
        with FakeRun.of(workload, cuda, micro_batches, lengths_at) as run:
            if lengths_at is None:
                curve, upper = _curve_of_batches(run), room.upper
            else:
                curve = _lengths(run, lengths_at)
                upper = min(room.upper, units_within(run.positions))
                if not upper:
                    return None
            most = curve.largest_closely(room.limit, upper)
            left_out = [*run.caveats, *caveats(technique)] if cuda else []
            steps = room.trial_steps if lengths_at is None else None  # only batches are tried
            if cuda and steps is not None and _is_tried(run, most):
                # The search tries one more by itself.
                begin = largest_that_fits(run, most, room.limit, steps, upper=most)
    except UnsuitableModel:
        return None
    return PredictedPeaks(curve.peaks, not left_out, begin)


def _is_tried(run: FakeRun, batch_size: int) -> bool:
    """Whether a trial on fake tensors tells more than the peaks do; not of compiled code."""
    technique = run.technique
    known = technique.compile == "none" and not run.caveats and not caveats(technique)
    return 0 < batch_size <= _FEW and known


def unmodelled(technique: Technique) -> str | None:
    """Why a technique cannot be predicted by a step on fake tensors; None if it can."""
    if technique.parallel != "none":
        return (
            f"parallel {technique.parallel} cannot be predicted: a step without values has no "
            "other processes to exchange weights and gradients with; the search for the largest "
            "batch measures it"
        )
    value = OPTIMIZER_VALUES[technique.optimizer]
    if value.torch is not None and torch_version() < value.torch:
        needed = ".".join(map(str, value.torch))
        return (
            f"optimizer {technique.optimizer} is predicted by torch {needed} or newer, and "
            f"{torch.__version__} is installed"
        )
    package = value.package
    if package is not None and importlib.util.find_spec(package) is None:
        return (
            f"optimizer {technique.optimizer} is predicted by the package {package}, which is not "
            "installed; see envs/README.md"
        )
    return None


def _cap_batch_size(limits: Limits, most: int | None) -> Limits:
    """The same limits, with at most `most` sequences in a batch."""
    if most is None or most >= limits.measure.max_batch_size:
        return limits
    measure = limits.measure.model_copy(update={"max_batch_size": most})
    return replace(limits, measure=measure)


def _batches(
    run: FakeRun, device: torch.device, limits: Limits, batch_size: int | None
) -> dict[str, Any]:
    """The largest batches, and the peaks on the way.

    Args:
        run: of the workload.
        device: whose memory is predicted.
        limits: of the batch size and of the memory.
        batch_size: one whose peak is wanted; None takes the largest batch itself.
    """
    upper = limits.measure.max_batch_size
    batches = _curve_of_batches(run)
    one = batches(1)  # it is shown, so the searches may build on it
    limit = limit_of(limits.measure, device)
    own = None if limit is None else batches.largest_closely(limit, upper)
    allowed = _allowed(limits.measure, device)
    if allowed is not None and own and device == _CUDA and _is_tried(run, own):
        own = largest_that_fits(run, own, allowed, limits.measure.confirm_steps, upper)
    cards, free = limits.cards if device == _CUDA else (), limits.measure.headroom
    on_cards = _on_cards(batches, cards, upper, free)
    if batch_size is None:
        batch_size = (max(on_cards, default=0) if own is None else own) or None
    if batch_size is not None:
        batches.closely(batch_size)
    return {
        "peaks": dict(sorted(batches.peaks.items())),
        "batch_size": batch_size,
        "max_batch_size": own,
        "cards": on_cards,
        "least_card": least_card(one, free) if device == _CUDA else None,
    }


def _curve_of_batches(run: FakeRun) -> Curve:
    first = [max(tokens // run.length, 1) for tokens in _FIRST_TOKENS]
    return Curve(run.peak, first, lambda batch_size: run.look_closer(run.length * batch_size))


def _longest(run: FakeRun, limits: Limits) -> list[int]:
    """The longest sequence at batch 1 on each card, in tokens; a multiple of UNIT."""
    upper = units_within(run.positions)
    if not upper:
        return [0 for _ in limits.cards]
    found = _on_cards(_lengths(run, 1), limits.cards, upper, limits.measure.headroom)
    return [UNIT * units for units in found]


def _length_peaks(run: FakeRun, device: torch.device, limits: Limits) -> dict[int, int]:
    """The peaks by length around the configured limit, or those of the cards where there is none.

    At the batch of the search for the longest sequence; none without such a search.
    """
    batch_size = limits.measure.longest_sequence
    if not batch_size:
        return {}
    lengths, limit = _lengths(run, batch_size), limit_of(limits.measure, device)
    cards = limits.cards if device == _CUDA else ()
    upper = units_within(run.positions)
    if not upper:
        return {}
    lengths(1)  # it is shown, too
    if limit is not None:
        longest = lengths.largest_closely(limit, upper)
    else:
        longest = max(_on_cards(lengths, cards, upper, limits.measure.headroom), default=0)
    if longest:
        lengths.closely(longest)
    return {UNIT * units: peak for units, peak in sorted(lengths.peaks.items())}


def _lengths(run: FakeRun, batch_size: int) -> Curve:
    """The peak by the length in units."""
    first = [max(tokens // UNIT // batch_size, 1) for tokens in _FIRST_TOKENS]
    return Curve(
        lambda units: run.peak_of_length(UNIT * units, batch_size),
        first,
        lambda units: run.look_closer(UNIT * units * batch_size),
    )


def _on_cards(curve: Curve, cards: Sequence[float], upper: int, free: Headroom) -> list[int]:
    """The largest size on each card; the largest card first, since smaller ones follow from it."""
    found = {card: curve.largest(usable(card, free), upper) for card in sorted(cards, reverse=True)}
    return [found[card] for card in cards]


def limit_of(measure: MeasureConfig, device: torch.device) -> int | None:
    """Bytes that live tensors may take under the configured limit; None if none is configured."""
    allowed = _allowed(measure, device)
    return None if allowed is None else allowed - fragmentation(device)


def _allowed(measure: MeasureConfig, device: torch.device) -> int | None:
    """Bytes that the allocator may reserve under the configured limit; None if there is none."""
    if measure.memory_limit_gib is None or (measure.device == "cpu") != (device == _CPU):
        return None
    limit = int(measure.memory_limit_gib * 2**30)
    return limit - headroom(device, limit, measure.headroom)


def usable(card: float, free: Headroom = MEASURED) -> int:
    """Bytes that live tensors may take on a card with a nominal memory of `card` GiB.

    `free`: the headroom that the configuration asks for.
    """
    limit = int(card * VISIBLE_SHARE * 2**30) - CONTEXT_BYTES - KERNEL_BYTES
    return limit - headroom(_CUDA, limit, free) - fragmentation(_CUDA)


def least_card(peak: int, free: Headroom = MEASURED) -> float:
    """The nominal memory in GiB, to 0.1, of the smallest card on which `peak` bytes fit.

    `free`: the headroom that the configuration asks for.
    """
    tenths = bisect_left(range(_MOST_TENTHS), peak, key=lambda tenth: usable(tenth / 10, free))
    return tenths / 10


def caveats(technique: Technique) -> list[str]:
    """What the prediction for CUDA ignores, in sentences without a full stop."""
    left_out = {
        "the kernels that max-autotune would choose by running them are not known": (
            technique.compile == "max-autotune"
        ),
        "the pools of CUDA graphs, which keep what they ever used, are not counted": (
            technique.cuda_graphs
        ),
        "flex_attention is counted as a flash kernel": technique.attention == "flex",
        "the scaling of 8-bit products is counted as its operations one by one": (
            technique.computes_in.float8 and technique.compile == "none"
        ),
        "torchao's compiled update is counted as its operations one by one": (
            technique.optimizer in {"ao-8bit", "ao-4bit"}
        ),
    }
    return [reason for reason, applies in left_out.items() if applies]


def notes(technique: Technique) -> list[str]:
    """The caveats, and what is less exact of batches other than the one that was asked about.

    A search asks about the largest batch, so that only the caveats bear on it.
    """
    of_others = (
        "compiled with a budget, batches other than the compared one may be a few per cent off"
    )
    budget = technique.compile != "none" and technique.checkpointing == "budget"
    return [*caveats(technique), *([of_others] if budget else [])]
