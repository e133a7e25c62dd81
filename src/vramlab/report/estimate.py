"""The predictions of memory as tables: by themselves, and beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import pandas as pd

from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.report import wording
from vramlab.report.columns import Row, frame
from vramlab.report.language import mark, numeral, say, say_count
from vramlab.report.load import Results
from vramlab.report.wording import code, integer
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.estimate import Estimate, EstimateRecord

TOLERANCE = 1.0
"""Percent of error above which the table says why."""
_UNKNOWN = mark("not explained: what kernels take for themselves is counted only where it is known")


def predictions(records: Sequence[EstimateRecord]) -> pd.DataFrame:
    """Each technique's peak at the baseline's largest batch, and its own largest batches.

    Those for a CPU are under the configured limit; a GPU's are under it, and on each card. The
    columns `tokens_on` have the longest sequence at batch 1.
    """
    return frame(_prediction(record, e) for record in records for e in record.estimates)


def comparison(results: Results) -> pd.DataFrame:
    """Predicted beside measured: the largest batch, and the peak at the baseline's largest batch.

    The error is that of the prediction, in percent of what was measured.
    """
    found: dict[tuple[int, str, str | None], tuple[EstimateRecord, Estimate]] = {
        (e.sequence_length, e.technique, e.device): (record, e)
        for record in results.records(EstimateRecord)
        for e in record.estimates
        if e.status == "ok"
    }
    rows = []
    for length in results.lengths:
        for name in results.measured(length):
            search = results.searches[length, name]
            device = search.provenance.device.kind if search.provenance.device else None
            predicted = found.get((length, name, device))
            if predicted is not None and search.status == "ok":
                rows.append(_compared(results, search, *predicted))
    return frame(rows or [{"technique": say("nothing that was predicted was measured")}])


def _prediction(record: EstimateRecord, estimate: Estimate) -> Row:
    peak = None if estimate.batch_size is None else estimate.peaks[estimate.batch_size]
    return {
        "technique": estimate.technique,
        "sequence_length": estimate.sequence_length,
        "device": {"cpu": "CPU", "cuda": "GPU"}[estimate.device],
        "batch_size": estimate.batch_size,
        "peak_mib": None if peak is None else peak / wording.MIB,
        "largest_batch": estimate.max_batch_size,
        "smallest_card_gib": _smallest_card(record, estimate),
        "least_card_gib": estimate.least_card,
        **{
            f"batch_on_{card:g}_GiB": batch
            for card, batch in zip_longest(record.cards, estimate.cards)
        },
        **{
            f"tokens_on_{card:g}_GiB": length
            for card, length in zip_longest(record.cards, estimate.longest)
        },
        "note": estimate.reason or _why(estimate),
    }


def at_card(records: Sequence[EstimateRecord], card: float) -> pd.DataFrame:
    """What each technique has room for on one card; of the predictions for GPUs.

    The peak is that of one sequence, which all techniques have in common.
    """
    return frame(
        _at_card(estimate, record.cards.index(card))
        for record in records
        for estimate in record.estimates
        if estimate.device == "cuda"
    )


def _at_card(estimate: Estimate, card: int) -> Row:
    known = estimate.status == "ok"
    return {
        "technique": estimate.technique,
        "axes": wording.describe(estimate.axes),
        "sequence_length": estimate.sequence_length,
        "fits": wording.yes_no(bool(estimate.cards[card])) if known else None,
        "largest_batch": estimate.cards[card] if known else None,
        "longest_sequence": estimate.longest[card] if estimate.longest else None,
        "peak_of_one_sequence_mib": estimate.peaks[1] / wording.MIB if known else None,
        "least_card_gib": estimate.least_card,
        "note": estimate.reason or _why(estimate),
    }


def answers(records: Sequence[EstimateRecord]) -> list[str]:
    """For each card and sequence length in one sentence: does it fit, with which technique?"""
    lengths = dict.fromkeys(record.sequence_length for record in records)
    return [answer(records, card, length) for card in records[0].cards for length in lengths]


def answer(records: Sequence[EstimateRecord], card: float, length: int) -> str:
    """Whether the model can be trained on a card, and the technique to take.

    That is the first in the order of the configuration which fits, since it changes least, and
    the one with the most room. Adapters train something else, so they come second.
    """
    found = [
        _Room(estimate, estimate.cards[record.cards.index(card)])
        for record in records
        for estimate in record.estimates
        if (estimate.sequence_length, estimate.device, estimate.status) == (length, "cuda", "ok")
    ]
    on_card = {"card": f"{card:g}", "length": integer(length)}
    if not found:
        return say("Nothing could be predicted at {length} tokens; the notes say why.", **on_card)
    fitting = [room for room in found if room.batch]
    if full := [room for room in fitting if room.whole]:
        return " ".join(filter(None, (_take(full, on_card), _adapters(full, fitting))))
    if fitting:
        best = max(fitting, key=lambda room: room.batch)
        text = say_count(
            "With adapters only: on a card of {card} GiB at {length} tokens, take {name}, which "
            "has room for {count} sequence.",
            "With adapters only: on a card of {card} GiB at {length} tokens, take {name}, which "
            "has room for {count} sequences.",
            best.batch,
            name=code(best.estimate.technique),
            **on_card,
        )
    else:
        text = say(
            "No: on a card of {card} GiB not one sequence of {length} tokens fits.", **on_card
        )
    whole = [room for room in found if room.whole]
    needs = min((room.estimate for room in whole or found), key=lambda e: e.least_card or 0)
    values = {
        "name": code(needs.technique),
        "need": numeral(f"{needs.least_card or 0:g}"),
    }
    what = (
        say("To train all weights, {name} needs a card of {need} GiB.", **values)
        if whole
        else say("The least need has {name}, a card of {need} GiB.", **values)
    )
    return " ".join(filter(None, (text, what, _left_free(records))))


def _left_free(records: Sequence[EstimateRecord]) -> str:
    """The headroom that the configuration asks for, which may be why nothing fits."""
    free = records[0].headroom  # of one configuration, so that all have the same
    if free.gib:
        gib = numeral(f"{free.gib:g}")
        return say("Of each card, {gib} GiB are left free (`measure.headroom`).", gib=gib)
    if free.share:
        share = numeral(f"{100 * free.share:g}%")
        return say("Of each card, {share} are left free (`measure.headroom`).", share=share)
    return ""


@dataclass(frozen=True)
class _Room:
    """A technique, and the largest batch for which one card has room."""

    estimate: Estimate
    batch: int

    @property
    def whole(self) -> bool:
        """Whether it trains all weights."""
        return self.estimate.axes.adapter == "none"


def _take(fitting: Sequence[_Room], on_card: Mapping[str, str]) -> str:
    """What to take of the techniques that train all weights and fit."""
    first = fitting[0]
    most = max(fitting, key=lambda room: room.batch)  # of several that are alike, the first
    if first.batch == most.batch:
        return say_count(
            "Yes: on a card of {card} GiB at {length} tokens, take {name}, which has room for "
            "{count} sequence; no other that trains all weights has more.",
            "Yes: on a card of {card} GiB at {length} tokens, take {name}, which has room for "
            "{count} sequences; no other that trains all weights has more.",
            first.batch,
            name=code(first.estimate.technique),
            **on_card,
        )
    return say_count(
        "Yes: on a card of {card} GiB at {length} tokens, {first} has room for {few} and changes "
        "least; for the largest batch take {name}, which has room for {count} sequence.",
        "Yes: on a card of {card} GiB at {length} tokens, {first} has room for {few} and changes "
        "least; for the largest batch take {name}, which has room for {count} sequences.",
        most.batch,
        first=code(first.estimate.technique),
        few=integer(first.batch),
        name=code(most.estimate.technique),
        **on_card,
    )


def _adapters(full: Sequence[_Room], fitting: Sequence[_Room]) -> str:
    """The technique with the most room, where that trains an adapter only."""
    most = max(fitting, key=lambda room: room.batch)
    if most.batch <= max(room.batch for room in full):
        return ""
    return say_count(
        "With an adapter, which leaves the model's own weights as they are, {name} has room for "
        "{count} sequence.",
        "With an adapter, which leaves the model's own weights as they are, {name} has room for "
        "{count} sequences.",
        most.batch,
        name=code(most.estimate.technique),
    )


def _smallest_card(record: EstimateRecord, estimate: Estimate) -> float | None:
    """The smallest card with room for one sequence; None where no card has."""
    fitting = [c for c, batch in zip(record.cards, estimate.cards, strict=False) if batch]
    return min(fitting, default=None)


def smallest_cards(records: Sequence[EstimateRecord]) -> str:
    """In one line for each sequence length, the smallest card that each technique fits on."""
    lines = []
    cards = sorted({card for record in records for card in record.cards})
    for length in dict.fromkeys(record.sequence_length for record in records):
        on: dict[float | None, list[str]] = {card: [] for card in (*cards, None)}
        for record in records:
            for e in record.estimates:
                if e.sequence_length == length and e.device == "cuda" and e.status == "ok":
                    on[_smallest_card(record, e)].append(e.technique)
        parts = [
            say("{card} GiB: {names}", card=f"{card:g}", names=", ".join(names))
            if card
            else say("none of them: {names}", names=", ".join(names))
            for card, names in on.items()
            if names
        ]
        if parts:
            lines.append(
                say(
                    "Smallest card with room for one sequence of {length} tokens: {cards}.",
                    length=integer(length),
                    cards="; ".join(parts),
                )
            )
    return "\n".join(lines)


def _compared(
    results: Results, search: BatchSizeRecord, record: EstimateRecord, estimate: Estimate
) -> Row:
    batch_size, peak = _peak(results, search)
    predicted = PredictedPeaks(estimate.peaks).at(batch_size)
    largest, error = None, 0.0
    if search.max_batch_size and search.bounded_by == "memory":
        largest = _largest(search, record, estimate)
        error = _percent(largest, search.max_batch_size)
    error_of_peak = _percent(predicted, peak)
    note = ""
    if max(abs(error), abs(error_of_peak)) > TOLERANCE:
        note = _fragmented(search, estimate, largest) or _why(estimate) or say(_UNKNOWN)
    return {
        "technique": search.technique,
        "sequence_length": search.sequence_length,
        "predicted_batch_size": largest,
        "max_batch_size": search.max_batch_size,
        "batch_error_percent": error if largest is not None else None,
        "batch_size": batch_size,
        "predicted_peak_mib": predicted / wording.MIB,
        "peak_mib": peak / wording.MIB,
        "peak_error_percent": error_of_peak,
        "note": note,
    }


def _largest(search: BatchSizeRecord, record: EstimateRecord, estimate: Estimate) -> int:
    """The predicted batch for the limit that the search had, which can be lower than configured."""
    configured = record.memory_limit_gib
    as_configured = configured is not None and int(configured * 2**30) == search.memory_limit
    if as_configured and estimate.max_batch_size is not None:
        return estimate.max_batch_size
    limit = search.memory_limit - search.headroom - estimate.fragmentation
    return PredictedPeaks(estimate.peaks).largest(limit)


def _fragmented(search: BatchSizeRecord, estimate: Estimate, largest: int | None) -> str:
    """The sentence where tensors take what was predicted, and another batch fits all the same.

    A batch that fails asks for more than the limit, gaps included, before its tensors have reached
    their peak; so the gaps are at least what the limit and the missing bytes exceed that peak by.
    """
    trials = {trial.batch_size: trial for trial in search.trials}
    fits, fails = (trials.get((search.max_batch_size or 0) + more) for more in (0, 1))
    if largest in {None, search.max_batch_size} or fits is None or fails is None:
        return ""
    peaks = PredictedPeaks(estimate.peaks)
    measured = fits.peak_allocated
    if measured is None or abs(_percent(peaks.at(fits.batch_size), measured)) > TOLERANCE:
        return ""
    expected = integer(round(estimate.fragmentation / wording.MIB))
    limit = search.memory_limit - search.headroom
    lost = limit + (fails.missing or 0) - peaks.at(fails.batch_size)
    if lost <= estimate.fragmentation:
        return say(
            "the tensors take what was predicted; the allocator lost less than the {expected} MiB "
            "to gaps between them that were expected",
            expected=expected,
        )
    return say(
        "the tensors take what was predicted; at a batch of {batch} the allocator lost {lost} MiB "
        "or more to gaps between them, where {expected} were expected",
        batch=integer(fails.batch_size),
        lost=integer(round(lost / wording.MIB)),
        expected=expected,
    )


def _why(estimate: Estimate) -> str:
    """What the prediction is known not to hold."""
    return "; ".join(map(wording.recorded, estimate.caveats))


def _percent(predicted: float, measured: float) -> float:
    return round(100 * (predicted / measured - 1), 3)


def _peak(results: Results, search: BatchSizeRecord) -> tuple[int, int]:
    """A batch size and its peak: as profiled at the baseline's batch, else as last searched."""
    run = results.run(search.technique, "equal", search.sequence_length)
    if run.memory is not None and run.profile.batch_size is not None:
        return run.profile.batch_size, run.memory.peak.allocated
    return max((t.batch_size, t.peak_allocated) for t in search.trials if t.peak_allocated)
