"""What stands on the page of the report, which leads from the answer to every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from vramlab.report import (
    answer,
    data_warnings,
    discussion,
    origin,
    run_settings,
    trained_range,
    wording,
)
from vramlab.report.catalog import CATEGORIES, Entry
from vramlab.report.grid import Grid, grid
from vramlab.report.language import numeral, say, say_count
from vramlab.report.load import Results
from vramlab.report.run_settings import RunSettings
from vramlab.report.webpage import Exhibit, Page, Section
from vramlab.report.wording import code, integer
from vramlab.results.corpus import CorpusRecord
from vramlab.results.overlap import OverlapRecord
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import TokenizerRecord

PICTURE = "memory_speed"
"""The figure that stands beside the answers."""
RECOMMENDED = "recommended.yaml"
"""The file with the entries of the answers, beside the page."""


def page(
    title: str,
    results: Results,
    settings: RunSettings,
    figures: Sequence[Entry],
    tables: Mapping[Entry, pd.DataFrame],
) -> Page:
    """All that the report says and shows.

    Args:
        title: its heading.
        results: what it is about.
        settings: of the model and its training.
        figures: the figures that were drawn.
        tables: the tables that were written.
    """
    sections = []
    if failures := discussion.not_run(results):
        sections.append(Section(say("Not run"), points=tuple(failures)))
    sections.append(
        Section(
            say("What was measured, and on what"),
            tuple(_setup(results, settings)),
            (_origin(results),),
        )
    )
    for category in CATEGORIES:
        drawn = [
            _figure(e, results) for e in figures if e.category == category and e.name != PICTURE
        ]
        written = [_table(e, t, results) for e, t in tables.items() if e.category == category]
        if exhibits := (*drawn, *written):
            sections.append(Section(say(category), exhibits=exhibits))
    return Page(
        title,
        conditions=answer.conditions(results),
        answers=tuple(answer.answers(results)),
        configuration=RECOMMENDED,
        picture=next((_figure(e, results) for e in figures if e.name == PICTURE), None),
        warnings=(
            *discussion.warnings(results),
            *run_settings.warm_up_only(settings, results),
            *data_warnings.warnings(results),
            *trained_range.of_results(results),
        ),
        findings=tuple(discussion.summary(results)),
        sections=tuple(sections),
    )


def _figure(entry: Entry, results: Results) -> Exhibit:
    return Exhibit(
        entry.name,
        say(entry.title),
        _caption(entry, results),
        origin.source(entry, results),
        finding=discussion.headline(entry.name, results),
    )


def _caption(entry: Entry, results: Results) -> str:
    """What it shows, and what this run's numbers in it are of."""
    left = origin.headroom(results) if entry.less_headroom else ""
    return f"{say(entry.caption)} {left}".strip()


def _table(entry: Entry, rows: pd.DataFrame, results: Results) -> Exhibit:
    return Exhibit(
        entry.name,
        say(entry.title),
        _caption(entry, results),
        origin.source(entry, results),
        table=grid(rows),
    )


def _origin(results: Results) -> Exhibit:
    rows = tuple(origin.hardware_and_software(results))
    table = Grid((say("Part"), say("Value")), rows, numeric=(False, False))
    return Exhibit(title=say("Hardware and software"), table=table)


def _setup(results: Results, settings: RunSettings) -> list[str]:
    tokenizers = results.records(TokenizerRecord)
    lines = [
        say_count(
            "{count} technique ran at {length} tokens; the baseline is {baseline}.",
            "{count} techniques ran at {length} tokens; the baseline is {baseline}.",
            sum(
                record.status != "skipped"
                for (at, _), record in results.searches.items()
                if at == results.length
            ),
            length=integer(results.length),
            baseline=f"`{results.baseline}`",
        ),
    ]
    lines += [run_settings.of_model(settings.model, t.vocab_size) for t in tokenizers]
    lines += [*_model(results), run_settings.of_training(settings)]
    for record in results.records(CorpusRecord):
        lines.append(
            say(
                "The {split} corpus: {kept} of {documents} documents ({characters} characters), "
                "from {source}.",
                split=wording.split(record.split),
                kept=integer(record.kept),
                documents=integer(record.documents),
                characters=integer(record.characters),
                source=_corpus_source(record.source),
            )
            + _left_out(record)
        )
    lines += [_overlap(record) for record in results.records(OverlapRecord)]
    for stream in results.records(SequencesRecord):
        counts = (
            say_count(
                "{count} sequence of {length}",
                "{count} sequences of {length}",
                count,
                length=integer(length),
            )
            for length, count in sorted(stream.sequences.items())
        )
        lines.append(
            say(
                "The {split} tokens: {tokens}; {sequences}.",
                split=wording.split(stream.split),
                tokens=integer(stream.tokens),
                sequences=wording.listing(counts),
            )
        )
    for tokenizer in tokenizers:
        fertility = (
            f"{numeral(f'{value:.2f}')} ({wording.split(split)})"
            for split, value in tokenizer.fertility.items()
        )
        lines.append(
            say(
                "The tokenizer: {model}, {pieces} tokens, {fertility} tokens per word.",
                model=_tokenizer_model(tokenizer),
                pieces=integer(tokenizer.vocab_size),
                fertility=wording.listing(fertility),
            )
        )
    return lines


def _left_out(record: CorpusRecord) -> str:
    """How many documents are not used, for each reason."""
    reasons = [f"{code(why)} {integer(count)}" for why, count in record.dropped.items() if count]
    if not reasons:
        return ""
    return " " + say("Left out: {reasons}.", reasons=wording.listing(reasons))


def _model(results: Results) -> list[str]:
    """How large the model is, and of how much of it adapters are trained."""
    profiles = [run.profile for run in results.runs("own") if run.profile.parameters]
    counts = [p.parameters for p in profiles if p.parameters == p.trained_parameters]
    lines = []
    if counts and counts[0] is not None:
        lines.append(say("The model has {count} parameters.", count=integer(counts[0])))
    for profile in profiles:
        if profile.trained_parameters is not None and profile.trained_parameters not in counts:
            lines.append(
                say(
                    "With `{technique}`, {count} of {all} parameters are trained.",
                    technique=profile.technique,
                    count=integer(profile.trained_parameters),
                    all=integer(profile.parameters or 0),
                )
            )
    return lines


def _tokenizer_model(tokenizer: TokenizerRecord) -> str:
    """What kind it is; one that was trained here is SentencePiece's."""
    trained_here = tokenizer.cut_lines is not None
    return f"SentencePiece {tokenizer.model_type}" if trained_here else tokenizer.model_type


def _corpus_source(source: str) -> str:
    """Where a corpus came from; of a made-up one no folder says anything."""
    made_up = source.startswith("file:") and "/corpus/synthetic/" in source
    return say("a generator of made-up text (`source: synthetic`)") if made_up else source


def _overlap(record: OverlapRecord) -> str:
    values = {
        "leaked": integer(sum(record.leaked.values())),
        "documents": integer(record.documents["validation"]),
        "share": wording.percent(record.ngrams_seen / max(record.ngrams, 1), 2),
        "ngrams": f"{record.ngram_words}",
        "policy": f"`overlap: {record.policy}`",
    }
    dropped = {split: n - record.kept[split] for split, n in record.documents.items()}
    parts = [f"{integer(n)} ({wording.split(split)})" for split, n in dropped.items() if n]
    if parts:
        return say(
            "Overlap: {leaked} of {documents} validation documents are copies or excerpts of "
            "training documents, and {share} of the validation {ngrams}-grams occur in training; "
            "documents dropped for it: {dropped} ({policy}).",
            **values,
            dropped=wording.listing(parts),
        )
    return say(
        "Overlap: {leaked} of {documents} validation documents are copies or excerpts of training "
        "documents, and {share} of the validation {ngrams}-grams occur in training; none was "
        "dropped for it ({policy}).",
        **values,
    )
