"""The longest sequence of each technique: measured beside predicted, and in a sentence."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from vramlab.measure.predicted_peaks import PredictedPeaks
from vramlab.report import wording
from vramlab.report.columns import Row, frame, of_records
from vramlab.report.language import say
from vramlab.report.load import Results
from vramlab.report.metrics import METRICS, ratio
from vramlab.report.wording import code, integer
from vramlab.results.estimate import EstimateRecord
from vramlab.results.longest_sequence import MOST_TOKENS, UNIT, LongestSequenceRecord

LONGEST = (
    *("technique", "status", "processes", "batch_size", "longest_sequence", "times_baseline"),
    *("predicted_longest", "longest_error_percent", "limit_mib", "headroom_mib", "reason"),
)
TRIALS = (
    *("technique", "trial", "batch_size", "length", "fits", "peak_mib", "peak_reserved_mib"),
    *("missing_mib", "kernel_limit", "seconds"),
)


def longest_sequences(results: Results) -> pd.DataFrame:
    """The longest sequence of each technique, a row each; the error is that of the prediction."""
    return frame(_row(results, record) for record in _records(results))


def trials(results: Results) -> pd.DataFrame:
    """The trials of each search for the longest sequence, in the order in which they ran."""
    return frame(
        of_records(
            TRIALS,
            (trial,),
            technique=record.technique,
            trial=index,
            fits=wording.yes_no(trial.fits),
        )
        for record in _records(results)
        for index, trial in enumerate(record.trials, 1)
    )


def longest(results: Results) -> str:
    """Which technique takes the longest sequence; empty where none was searched."""
    found = {r.technique: r.longest for r in _records(results) if r.longest}
    if not found:
        return ""
    best = max(found, key=lambda name: found[name])
    batch = next(iter(results.longest_sequences.values())).batch_size
    times = ratio(found[best], found.get(results.baseline))
    values = {"name": code(best), "tokens": integer(found[best]), "batch": integer(batch)}
    if found[best] >= MOST_TOKENS:
        return say(
            "{name} takes the longest sequences at a batch of {batch}: at least {tokens} tokens, "
            "the most that is searched.",
            **values,
        )
    if best == results.baseline or times is None:
        return say(
            "{name} takes the longest sequences at a batch of {batch}: {tokens} tokens.", **values
        )
    return say(
        "{name} takes the longest sequences at a batch of {batch}: {tokens} tokens, {times} those "
        "of {baseline}.",
        **values,
        times=wording.ratio(times),
        baseline=code(results.baseline),
    )


def predicted(results: Results, record: LongestSequenceRecord) -> int | None:
    """The longest sequence that was predicted under the same limit; None where none was."""
    device = record.provenance.device
    estimates = (e for r in results.records(EstimateRecord) for e in r.estimates)
    found = next(
        (
            e
            for e in estimates
            if (e.technique, e.sequence_length) == (record.technique, record.sequence_length)
            and device is not None
            and e.device == device.kind
            and e.length_peaks
        ),
        None,
    )
    if found is None or record.bounded_by != "memory" or record.status != "ok":
        return None
    limit = record.memory_limit - record.headroom - found.fragmentation
    peaks = {tokens // UNIT: peak for tokens, peak in found.length_peaks.items()}
    return UNIT * PredictedPeaks(peaks).largest(limit)


def _times(value: float | None, base: int | None) -> float | None:
    """How many times the baseline's; None where one of the two is only a lower bound."""
    bounded = max(value or 0, base or 0) >= MOST_TOKENS
    return None if bounded else ratio(value, base)


def _records(results: Results) -> Iterator[LongestSequenceRecord]:
    return (
        results.longest_sequences[name]
        for name in results.techniques
        if name in results.longest_sequences
    )


def _row(results: Results, record: LongestSequenceRecord) -> Row:
    base = results.longest_sequences.get(results.baseline)
    guess, value = predicted(results, record), METRICS["longest_sequence"].of(record)
    error = ratio(guess, value)
    return of_records(
        LONGEST,
        (record,),
        technique=record.technique,
        status=wording.status(record.status),
        times_baseline=_times(value, base.longest if base else None),
        predicted_longest=guess,
        longest_error_percent=None if error is None else round(100 * (error - 1), 3),
        reason=record.reason,
    )
