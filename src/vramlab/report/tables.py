"""The tables: one function each, from the results to rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import pandas as pd

from vramlab.report import choice, estimate, wording
from vramlab.report.frame import Row, frame
from vramlab.report.language import mark, say
from vramlab.report.load import SETTINGS, Results, Run
from vramlab.results.corpus import CorpusRecord
from vramlab.results.epoch import EpochRecord
from vramlab.results.memory import KINDS, MemoryPoint
from vramlab.results.overlap import OverlapRecord
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import TokenizerRecord

HEADINGS = {
    "axes": "How it computes",
    "sequence_length": "Sequence length",
    "setting": "Batch",
    "batch_size": "Batch size",
    "max_batch_size": "Largest batch",
    "predicted_batch_size": "Predicted largest batch",
    "max_batch_ratio": "× baseline",
    "batch_error_percent": "Error (%)",
    "predicted_peak_gib": "Predicted peak",
    "peak_gib": "Peak",
    "peak_error_percent": "Error of the peak (%)",
    "peak_ratio": "Peak × baseline",
    "peak_reserved_gib": "Peak reserved",
    "step_ms_median": "ms/step median",
    "step_ms_mean": "ms/step mean",
    "step_ms_sd": "ms/step sd",
    "step_ms_min": "ms/step min",
    "step_ms_max": "ms/step max",
    "tokens_per_second": "Tokens/s",
    "speed_ratio": "Speed × baseline",
    "microjoules_per_token": "µJ/token",
    "train_seconds": "Training (s)",
    "train_seconds_sd": "Training sd (s)",
    "perplexity_sd": "Perplexity sd",
    "bits_per_byte": "Bits/byte",
    "repeatable": "Same bits again",
    "last_loss": "Last loss (nats)",
    "seconds": "Time (s)",
    "cuda": "CUDA",
    "ngrams_seen_percent": "n-grams seen in training (%)",
    "ngrams_in_this_percent": "in the one that has most (%)",
    "validation_opening": "Validation document begins",
    "training_opening": "Training document begins",
    "technique": "Technique",
    "note": "Note",
    "status": "Status",
    "reason": "Reason",
    "perplexity": "Perplexity",
    "need": "For",
    "goal": "Goal",
    "place": "Step",
    "change": "Change",
    "on_top_of": "On top of",
    "max_batch_factor": "Largest batch ×",
    "peak_factor": "Peak ×",
    "speed_factor": "Speed ×",
    "not_measured_from_here": "Not measured from here",
    "earlier_run": "Earlier run",
    "then": "Then",
    "now": "Now",
    "change_percent": "Change (%)",
    "beyond_spread": "More than the spread",
    "before_gib": "Before",
    "after_forward_gib": "After forward",
    "after_backward_gib": "After backward",
    "after_optimizer_gib": "After optimizer",
    "trial": "Trial",
    "fits": "Fits",
    "limit_gib": "Limit",
    "headroom_gib": "Spare",
    "samples": "Samples",
    "seed": "Seed",
    "accumulation": "Accumulation",
    "sequences_per_step": "Sequences per step",
    "learning_rate": "Learning rate",
    "steps": "Steps",
    "tokens": "Tokens",
    "interruptions": "Interruptions",
    "quantity": "Quantity",
    "train": "Train",
    "validation": "Validation",
    "validation_document": "Validation document",
    "training_document": "Training document",
    "overlap": "Overlap",
    "jaccard": "Jaccard",
    "file": "File",
    "finished": "Finished",
    "device": "Device",
    "driver": "Driver",
    "commit": "Commit",
    "config_digest": "Config digest",
    "platform": "Platform",
    **{f"{kind.replace(' ', '_').replace('-', '_')}_gib": kind.capitalize() for kind in KINDS},
}
"""Of each column but those that are names, such as a package's."""

_OVERLAP = {
    "exact": mark("exact copy"),
    "near": mark("near copy"),
    "excerpt": mark("excerpt"),
    "part": mark("in part"),
}


def summary(results: Results) -> pd.DataFrame:
    """All that was measured at the main sequence length, a row for each technique and batch."""
    return frame(
        {
            "technique": run.technique,
            "axes": wording.describe(run.axes),
            "setting": setting,
            "status": wording.status(run.status),
            "batch_size": run.batch_size,
            "max_batch_size": run.search.max_batch_size,
            "max_batch_ratio": _ratio(
                run.search.max_batch_size, results.max_batch_size(results.baseline)
            ),
            "peak_gib": _gib(run.peak),
            "tokens_per_second": run.tokens_per_second,
            "perplexity": _mean(run.perplexities),
            "perplexity_sd": _deviation(run.perplexities),
            "step_ms_median": run.step_median_ms,
            "step_ms_mean": _mean(run.step_ms),
            "step_ms_sd": _deviation(run.step_ms),
            "microjoules_per_token": run.microjoules_per_token,
            "train_seconds": _mean(run.train_seconds),
            "train_seconds_sd": _deviation(run.train_seconds),
            "bits_per_byte": _mean([v.bits_per_byte for v in run.validations]),
            "reason": run.reason,
        }
        for setting, run in _rows(results)
    )


def memory(results: Results) -> pd.DataFrame:
    """Memory at each moment of a step, and by kind where that is known."""

    def row(setting: str, run: Run) -> Row:
        memory = run.memory
        result = _head(setting, run)
        for moment in ("before", "after_forward", "after_backward", "after_optimizer", "peak"):
            point: MemoryPoint | None = getattr(memory, moment) if memory else None
            result[f"{moment}_gib"] = _gib(point.allocated if point else None)
        result["peak_reserved_gib"] = _gib(memory.peak.reserved if memory else None)
        result["peak_ratio"] = _ratio(run.peak, results.run(results.baseline, "own").peak)
        for kind, size in memory.by_kind.items() if memory else ():
            result[f"{kind.replace(' ', '_').replace('-', '_')}_gib"] = _gib(size)
        return result | {"reason": run.reason}

    return frame(row(setting, run) for setting, run in _rows(results))


def search(results: Results) -> pd.DataFrame:
    """The trials of each search for the largest batch, in the order in which they ran."""
    return frame(
        {
            "technique": record.technique,
            "sequence_length": record.sequence_length,
            "trial": index,
            "batch_size": trial.batch_size,
            "fits": wording.yes_no(trial.fits),
            "peak_gib": _gib(trial.peak_allocated),
            "peak_reserved_gib": _gib(trial.peak_reserved),
            "limit_gib": _gib(record.memory_limit),
            "headroom_gib": _gib(record.headroom) if record.headroom else None,
            "seconds": trial.seconds,
        }
        for length in results.lengths
        for record in (results.searches[length, name] for name in results.measured(length))
        for index, trial in enumerate(record.trials, 1)
    )


def speed(results: Results) -> pd.DataFrame:
    """Step times with their spread, throughput, and energy where the device reports it."""
    return frame(
        _head(setting, run)
        | {
            "samples": len(run.step_ms) or None,
            "step_ms_median": run.step_median_ms,
            "step_ms_mean": _mean(run.step_ms),
            "step_ms_sd": _deviation(run.step_ms),
            "step_ms_min": min(run.step_ms, default=None),
            "step_ms_max": max(run.step_ms, default=None),
            "tokens_per_second": run.tokens_per_second,
            "speed_ratio": _ratio(
                run.tokens_per_second, results.run(results.baseline, "own").tokens_per_second
            ),
            "microjoules_per_token": run.microjoules_per_token,
            "repeatable": wording.yes_no(run.profile.repeatable),
            "reason": run.reason,
        }
        for setting, run in _rows(results)
    )


def training(results: Results) -> pd.DataFrame:
    """Each training run: a row for each technique, batch and seed."""

    def row(setting: str, run: Run, epoch: EpochRecord) -> Row:
        # The record of a run that did not come through holds a nought for what is not known.
        done = epoch if epoch.status == "ok" else None
        return {
            "technique": run.technique,
            "setting": setting,
            "seed": epoch.seed,
            "status": wording.status(epoch.status),
            "batch_size": epoch.batch_size,
            "accumulation": done and done.accumulation,
            "sequences_per_step": epoch.sequences_per_step,
            "learning_rate": epoch.learning_rate,
            "steps": done and done.steps,
            say("tokens"): done and done.tokens,
            "train_seconds": done and done.train_seconds,
            "peak_gib": _gib(epoch.peak.allocated if epoch.peak else None),
            "interruptions": done and done.interruptions,
            "last_loss": epoch.loss_curve[-1].loss if epoch.loss_curve else None,
            "perplexity": epoch.validation.perplexity if epoch.validation else None,
            "bits_per_byte": epoch.validation.bits_per_byte if epoch.validation else None,
            "reason": epoch.reason,
        }

    return frame(
        row(setting, run, epoch) for setting, run in _rows(results) for epoch in run.epochs
    )


def sweep(results: Results) -> pd.DataFrame:
    """Batch, memory and speed of the swept techniques at each sequence length."""
    swept = [name for name in results.techniques if results.swept(name)]
    return frame(
        {
            "technique": name,
            "sequence_length": length,
            "setting": setting,
            "status": wording.status(run.status),
            "batch_size": run.batch_size,
            "max_batch_size": run.search.max_batch_size,
            "max_batch_ratio": _ratio(
                run.search.max_batch_size, results.max_batch_size(results.baseline, length)
            ),
            "peak_gib": _gib(run.peak),
            "step_ms_median": run.step_median_ms,
            "tokens_per_second": run.tokens_per_second,
            "reason": run.reason,
        }
        for name in swept
        for length in results.lengths
        for setting, run in _settings(results, name, length)
    )


def corpus(results: Results) -> pd.DataFrame:
    """Both corpora from the download to the sequences, and how the tokenizer fits them."""
    columns: dict[str, Row] = {}
    for kept in results.records(CorpusRecord):
        columns[kept.split] = {
            say("source"): kept.source,
            say("SHA-256"): kept.sha256,
            say("compressed (MiB)"): kept.compressed_bytes / wording.MIB,
            say("documents"): kept.documents,
            say("documents of the quality"): kept.kept,
            **{
                say("dropped: {reason}", reason=reason): count
                for reason, count in sorted(kept.dropped.items())
            },
            say("characters of the quality"): kept.characters,
        }
    for overlap in results.records(OverlapRecord):
        for split, left in overlap.kept.items():
            columns[split][say("dropped: overlap")] = overlap.documents[split] - left
    for stream in results.records(SequencesRecord):
        columns[stream.split] |= {
            say("documents tokenised"): stream.documents,
            say("UTF-8 bytes tokenised"): stream.utf8_bytes,
            say("tokens"): stream.tokens,
            **{
                say("sequences of {length}", length=n): count
                for n, count in sorted(stream.sequences.items())
            },
        }
    for tokenizer in results.records(TokenizerRecord):
        for split in columns:
            columns[split] |= {
                say("vocabulary (pieces)"): tokenizer.vocab_size,
                say("tokenizer"): tokenizer.model_type,
                say("pieces per word"): tokenizer.fertility[split],
                say("bytes per token"): tokenizer.bytes_per_token[split],
                say("characters covered (%)"): tokenizer.coverage[split] * 100,
                say("unknown pieces"): tokenizer.unknown[split],
            }
    quantities = dict.fromkeys(name for column in columns.values() for name in column)
    return frame(
        {"quantity": name} | {split: column.get(name) for split, column in columns.items()}
        for name in quantities
    )


def overlap(results: Results) -> pd.DataFrame:
    """What the corpora share with each other and with themselves, and what was dropped."""
    return frame(
        {"quantity": quantity, "train": in_train, "validation": in_validation}
        for record in results.records(OverlapRecord)
        for quantity, in_train, in_validation in _overlap_rows(record)
    )


def _overlap_rows(record: OverlapRecord) -> Iterator[tuple[str, int | None, float | None]]:
    for quantity, counts in (
        (say("documents compared"), record.documents),
        (say("exact copies of an earlier document"), record.exact_duplicates),
        (say("near copies of an earlier document"), record.near_duplicates),
    ):
        yield quantity, counts["train"], counts["validation"]
    yield say("exact copies of a training document"), None, record.leaked["exact"]
    yield say("near copies of a training document"), None, record.leaked["near"]
    yield say("excerpts of training documents"), None, record.leaked["excerpt"]
    words = record.ngram_words
    if record.sampled < 1:
        yield say("{words}-grams sampled (%)", words=words), None, 100 * record.sampled
    yield say("{words}-grams looked for", words=words), None, record.ngrams
    yield say("{words}-grams seen in training", words=words), None, record.ngrams_seen
    share = 100 * record.ngrams_seen / max(record.ngrams, 1)
    yield say("{words}-grams seen in training (%)", words=words), None, share
    for tenth, documents in enumerate(record.shares):
        if documents:
            low, high = 10 * tenth, 10 * (tenth + 1)
            text = say("documents with {low} to {high}% seen", low=low, high=high)
            yield text, None, documents
    yield (
        say("documents kept (overlap: {policy})", policy=record.policy),
        record.kept["train"],
        record.kept["validation"],
    )


def overlap_pairs(results: Results) -> pd.DataFrame:
    """The validation documents that overlap most with training, and what they overlap with."""
    rows = [
        {
            "validation_document": pair.validation,
            "training_document": pair.train,
            "overlap": say(_OVERLAP[pair.kind]),
            "jaccard": pair.similarity,
            "ngrams_seen_percent": 100 * pair.share,
            "ngrams_in_this_percent": 100 * pair.share_in_one,
            "validation_opening": pair.validation_opening,
            "training_opening": pair.train_opening,
        }
        for record in results.records(OverlapRecord)
        for pair in record.pairs
    ]
    none = say("no document of the two corpora overlaps by 1% or more")
    return frame(iter(rows or [{"overlap": none}]))


def provenance(results: Results) -> pd.DataFrame:
    """Where each result file comes from: device, versions, commit, settings, time."""
    return frame(
        {
            "file": path,
            "finished": origin.finished.isoformat(),
            "device": origin.device.name if origin.device else None,
            "cuda": origin.device.cuda if origin.device else None,
            "driver": origin.device.driver if origin.device else None,
            "vramlab": origin.vramlab,
            "commit": origin.commit,
            "config_digest": origin.config_digest,
            "python": origin.python,
            **origin.packages,
            "platform": origin.platform,
        }
        for path, origin in ((p, record.provenance) for p, record in results.files.items())
    )


TABLES: dict[str, Callable[[Results], pd.DataFrame]] = {
    "summary": summary,
    "recommended": choice.recommended,
    "next_technique": choice.next_technique,
    "marginal_effects": choice.marginal_effects,
    "earlier": choice.changes,
    "memory": memory,
    "search": search,
    "estimate": estimate.comparison,
    "speed": speed,
    "training": training,
    "sweep": sweep,
    "corpus": corpus,
    "overlap": overlap,
    "overlap_pairs": overlap_pairs,
    "provenance": provenance,
}
"""By the name in the catalog."""


def _rows(results: Results) -> Iterator[tuple[str, Run]]:
    for name in results.techniques:
        yield from _settings(results, name, results.length)


def _settings(results: Results, name: str, length: int) -> Iterator[tuple[str, Run]]:
    """A technique's runs: one where both settings are the same run, or did not run alike."""
    equal, own = (results.run(name, setting, length) for setting in SETTINGS)
    alike = equal.batch_size is None and (equal.status, equal.reason) == (own.status, own.reason)
    if name == results.baseline:
        yield choice.batch(own, results), own
    elif alike:
        yield say("both"), own
    else:
        yield say("equal"), equal
        yield say("own"), own


def _head(setting: str, run: Run) -> Row:
    return {
        "technique": run.technique,
        "setting": setting,
        "status": wording.status(run.profile.status),
        "batch_size": run.batch_size,
    }


def _gib(size: int | None) -> float | None:
    return None if size is None else size / wording.GIB


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _deviation(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
