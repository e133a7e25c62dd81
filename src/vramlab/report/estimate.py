"""The predictions of memory as tables: by themselves, and beside what was measured."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import pandas as pd

from vramlab.measure.search import KnownPeak, Limit
from vramlab.measure.search import search as search_largest
from vramlab.report import wording
from vramlab.report.columns import Row, frame
from vramlab.report.language import mark, say
from vramlab.report.load import Results
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.estimate import Estimate, EstimateRecord

TOLERANCE = 3.0
"""Percent of error above which the table says why."""
_MOST = 2**40
"""Sequences at which a search ends that no limit ends."""
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
    found: dict[tuple[int, str, str | None], Estimate] = {
        (e.sequence_length, e.technique, e.device): e
        for record in results.records(EstimateRecord)
        for e in record.estimates
        if e.status == "ok"
    }
    rows = []
    for length in results.lengths:
        for name in results.measured(length):
            search = results.searches[length, name]
            device = search.provenance.device.kind if search.provenance.device else None
            estimate = found.get((length, name, device))
            if estimate is not None and search.status == "ok":
                rows.append(_compared(results, search, estimate))
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
            f"{card:g} GiB: {', '.join(names)}" if card else f"none of them: {', '.join(names)}"
            for card, names in on.items()
            if names
        ]
        if parts:
            lines.append(
                f"Smallest card with room for one sequence of {length:,} tokens: "
                + "; ".join(parts)
                + "."
            )
    return "\n".join(lines)


def _compared(results: Results, search: BatchSizeRecord, estimate: Estimate) -> Row:
    batch_size, peak = _peak(results, search)
    predicted = peak_at(estimate.peaks, batch_size)
    largest, error = None, 0.0
    if search.max_batch_size and search.bounded_by == "memory":
        limit = search.memory_limit - search.headroom - estimate.fragmentation
        largest = largest_under(estimate.peaks, limit)
        error = _percent(largest, search.max_batch_size)
    error_of_peak = _percent(predicted, peak)
    large = max(abs(error), abs(error_of_peak)) > TOLERANCE
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
        "note": (_why(estimate) or say(_UNKNOWN)) if large else "",
    }


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


def peak_at(peaks: Mapping[int, int], batch_size: int) -> int:
    """The peak of a batch size, on the line through the two known ones around it."""
    if batch_size in peaks:
        return peaks[batch_size]
    known = sorted(peaks.items())
    if len(known) == 1:
        return known[0][1]
    at = bisect_right(known, (batch_size, 0))
    (b1, m1), (b2, m2) = known[max(0, min(at - 1, len(known) - 2)) :][:2]
    return round(m1 + (m2 - m1) * (batch_size - b1) / (b2 - b1))


def largest_under(peaks: Mapping[int, int], limit: int) -> int:
    """The largest batch whose peak is at most `limit`, on the lines between the known ones."""
    return search_largest(lambda b: KnownPeak(b, peak_at(peaks, b), limit), Limit(limit, _MOST))[0]
