"""The tables: one function each, from the results to rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from vramlab.report import choice, comparison, estimate, longest_sequence, wording
from vramlab.report.columns import Row, frame, of_records, of_run, setting_of
from vramlab.report.language import mark, say
from vramlab.report.load import SETTINGS, Results, Run
from vramlab.report.metrics import KIND_METRICS, METRICS, deviation, ratio
from vramlab.results.batch_speed import BatchSpeedRecord
from vramlab.results.corpus import CorpusRecord
from vramlab.results.overlap import OverlapRecord
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import TokenizerRecord

_RUN = ("technique", "setting", "status", "batch_size")
SUMMARY = (
    *("technique", "axes", "setting", "status", "batch_size", "max_batch_size", "max_batch_ratio"),
    *("peak_mib", "tokens_per_second", "perplexity", "perplexity_sd"),
    *("step_ms_median", "step_ms_mean", "step_ms_sd", "mfu_percent", "microjoules_per_token"),
    *("train_seconds", "train_seconds_sd", "bits_per_byte", "max_batch_size_sd", "reason"),
)
MEMORY = (
    *_RUN,
    *("parameters", "trained_parameters"),
    *("before_mib", "after_forward_mib", "after_backward_mib", "after_optimizer_mib", "peak_mib"),
    *("peak_reserved_mib", "peak_ratio", *KIND_METRICS, "reason"),
)
SEARCH = (
    *("technique", "sequence_length", "processes", "trial", "batch_size", "fits", "peak_mib"),
    *("peak_reserved_mib", "missing_mib", "kernel_limit", "limit_mib", "headroom_mib", "seconds"),
)
SPEED = (
    *(*_RUN, "processes", "sequences_per_step", "samples"),
    *("step_ms_median", "step_ms_mean", "step_ms_sd", "step_ms_min", "step_ms_max"),
    *("tokens_per_second", "speed_ratio", "mfu_percent", "hfu_percent", "model_tflops"),
    *("peak_tflops", "model_mflop_per_token", "hardware_mflop_per_token", "flops_note"),
    *("microjoules_per_token",),
    *(
        "allocator_retries",
        "retried_steps",
        "repeatable",
        "cores_used",
        "other_cores",
        "load_average",
        "reason",
    ),
)
BATCH_SPEED = (
    *("technique", "status", "processes", "batch_size", "tokens", "step_ms", "tokens_per_second"),
    *("tokens_per_second_sd", "times_largest", "allocator_retries", "retried_steps", "reason"),
)
TRAINING = (
    *("technique", "setting", "seed", "status", "batch_size", "processes", "accumulation"),
    *("sequences_per_step", "learning_rate", "steps", "tokens", "train_seconds"),
    *("peak_mib", "peak_reserved_mib", "interruptions", "retried_steps"),
    *("cores_used", "other_cores", "load_average"),
    *("last_loss", "perplexity", "bits_per_byte", "reason"),
)
SWEEP = (
    *("technique", "sequence_length", "setting", "status", "batch_size"),
    *("max_batch_size", "max_batch_ratio", "peak_mib", "step_ms_median", "tokens_per_second"),
    "reason",
)

_OVERLAP = {
    "exact": mark("exact copy"),
    "near": mark("near copy"),
    "excerpt": mark("excerpt"),
    "part": mark("in part"),
}


def summary(results: Results) -> pd.DataFrame:
    """All that was measured at the main sequence length, a row for each technique and batch."""
    return frame(
        of_run(SUMMARY, run, base, setting=setting) for setting, run, base in _rows(results)
    )


def memory(results: Results) -> pd.DataFrame:
    """Memory at each moment of a step, and by kind where that is known."""
    return _profiles(MEMORY, results)


def speed(results: Results) -> pd.DataFrame:
    """Step times with their spread, throughput, and energy where the device reports it."""
    return _profiles(SPEED, results)


def batch_speed(results: Results) -> pd.DataFrame:
    """The speed of each technique at several batch sizes, beside that of its largest."""
    return frame(
        row for name in results.techniques for row in _batch_speeds(results.batch_speeds.get(name))
    )


def _batch_speeds(record: BatchSpeedRecord | None) -> Iterator[Row]:
    if record is None:
        return
    rate = METRICS["tokens_per_second"]
    given = {
        "technique": record.technique,
        "status": wording.status(record.status),
        "processes": record.processes if record.processes > 1 else None,
        "reason": record.reason,
    }
    if not record.speeds:
        yield given
    for speed in record.speeds:
        yield of_records(
            BATCH_SPEED,
            (speed,),
            **given,
            tokens_per_second_sd=deviation(rate.read(speed)),
            times_largest=ratio(rate.of(speed), rate.of(record.speeds[0])),
        )


def search(results: Results) -> pd.DataFrame:
    """The trials of each search for the largest batch, in the order in which they ran."""
    return frame(
        of_records(
            SEARCH,
            (trial, record),
            technique=record.technique,
            sequence_length=record.sequence_length,
            trial=index,
            fits=wording.yes_no(trial.fits),
        )
        for length in results.lengths
        for record in (results.searches[length, name] for name in results.measured(length))
        for index, trial in enumerate(record.trials, 1)
    )


def training(results: Results) -> pd.DataFrame:
    """Each training run: a row for each technique, batch and seed."""
    return frame(
        of_records(
            TRAINING,
            (epoch,),
            technique=run.technique,
            setting=setting,
            status=wording.status(epoch.status),
            reason=epoch.reason,
        )
        for setting, run, _ in _rows(results)
        for epoch in run.epochs
    )


def sweep(results: Results) -> pd.DataFrame:
    """Batch, memory and speed of the swept techniques at each sequence length."""
    return frame(
        of_run(SWEEP, run, base, setting=setting)
        for name in results.techniques
        if results.swept(name)
        for length in results.lengths
        for setting, run, base in _settings(results, name, length)
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
            **_split_shares(kept),
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
                say("pieces of the vocabulary that occur"): tokenizer.used.get(split),
                say("pieces, without ends of documents"): tokenizer.pieces.get(split),
                say("vocabulary of the model itself"): tokenizer.model_vocabulary,
            }
        if tokenizer.cut_lines is not None:
            columns["train"][say("lines cut for the tokenizer's training")] = tokenizer.cut_lines
    quantities = dict.fromkeys(name for column in columns.values() for name in column)
    return frame(
        {"quantity": name} | {split: column.get(name) for split, column in columns.items()}
        for name in quantities
    )


def _split_shares(kept: CorpusRecord) -> Row:
    """The share that a split holds out, and the share that was asked for."""
    if kept.held_out is None or kept.held_out_wanted is None:
        return {}
    if kept.held_out_by == "bytes":
        return {
            say("bytes held out for validation (%)"): 100 * kept.held_out,
            say("bytes to be held out (%)"): 100 * kept.held_out_wanted,
        }
    return {
        say("held out for validation (%)"): 100 * kept.held_out,
        say("to be held out (%)"): 100 * kept.held_out_wanted,
    }


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
            "device_memory_mib": origin.device.memory_bytes / wording.MIB
            if origin.device
            else None,
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
    "earlier": comparison.table,
    "memory": memory,
    "search": search,
    "longest_sequence": longest_sequence.longest_sequences,
    "length_search": longest_sequence.trials,
    "estimate": estimate.comparison,
    "speed": speed,
    "batch_speed": batch_speed,
    "training": training,
    "sweep": sweep,
    "corpus": corpus,
    "overlap": overlap,
    "overlap_pairs": overlap_pairs,
    "provenance": provenance,
}
"""By the name in the catalog."""


def _rows(results: Results) -> Iterator[tuple[str, Run, Run]]:
    for name in results.techniques:
        yield from _settings(results, name, results.length)


def _settings(results: Results, name: str, length: int) -> Iterator[tuple[str, Run, Run]]:
    """A technique's runs: one where both settings are the same run, or did not run alike.

    Before each what its batch is called, behind it the baseline's run at that length.
    """
    equal, own = (results.run(name, setting, length) for setting in SETTINGS)
    base = results.run(results.baseline, "own", length)
    alike = equal.batch_size is None and (equal.status, equal.reason) == (own.status, own.reason)
    if name == results.baseline:
        yield setting_of(own, results), own, base
    elif alike:
        yield say("both"), own, base
    else:
        yield say("equal"), equal, base
        yield say("own"), own, base


def _profiles(columns: Sequence[str], results: Results) -> pd.DataFrame:
    """A row for each technique and batch, with the status of its profile alone."""
    return frame(
        of_run(columns, run, base, setting=setting, status=wording.status(run.profile.status))
        for setting, run, base in _rows(results)
    )
