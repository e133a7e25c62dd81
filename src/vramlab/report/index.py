"""The report itself: one Markdown page that leads from the answer to every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vramlab.report import discussion, wording
from vramlab.report.catalog import CATEGORIES, Entry
from vramlab.report.load import Results
from vramlab.results.data import CorpusRecord, OverlapRecord, SequencesRecord, TokenizerRecord

LONG = 32
"""Rows of a table above which it is folded."""


def page(
    title: str,
    results: Results,
    figures: Sequence[Entry],
    tables: Mapping[Entry, str],
    captions: Mapping[str, str],
) -> str:
    """The report as Markdown, with links relative to its own folder.

    Args:
        title: its heading.
        results: what it is about.
        figures: the figures that were drawn, as `figures/<name>.png` and `.svg`.
        tables: the tables that were written, each with its Markdown.
        captions: the text under each figure and table, by `figures/<name>` or `tables/<name>`.
    """
    parts = [f"# {wording.markdown(title)}", _bullets(discussion.summary(results))]
    if failures := discussion.not_run(results):
        parts += ["## Not run", _bullets(failures)]
    parts += ["## What was measured, and on what", _bullets(_setup(results))]
    for category in CATEGORIES:
        section = [
            *(_figure(e, results, captions) for e in figures if e.category == category),
            *(_table(e, text, captions) for e, text in tables.items() if e.category == category),
        ]
        if section:
            parts += [f"## {category}", *section]
    return "\n\n".join(parts) + "\n"


def _figure(entry: Entry, results: Results, captions: Mapping[str, str]) -> str:
    alt = f"{entry.title}. {discussion.headline(entry.name, results)}".replace("`", "")
    return (
        f"### {entry.title}\n\n![{alt}](figures/{entry.name}.png)\n\n"
        f"{captions[f'figures/{entry.name}']} ([SVG](figures/{entry.name}.svg))"
    )


def _table(entry: Entry, text: str, captions: Mapping[str, str]) -> str:
    head = (
        f"### {entry.title}\n\n{captions[f'tables/{entry.name}']} ([CSV](tables/{entry.name}.csv))"
    )
    rows = text.strip().count("\n") - 1
    if rows > LONG:
        text = f"<details><summary>{rows} rows</summary>\n\n{text.strip()}\n\n</details>"
    return f"{head}\n\n{text.strip()}"


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {wording.markdown(sentence)}" for sentence in sentences)


def _setup(results: Results) -> list[str]:
    lines = [
        f"{wording.plural(len(results.techniques), 'technique')} at {results.length:,} tokens; "
        f"the baseline is `{results.baseline}`.",
        *_devices(results),
        f"Software: {_software(results)}.",
    ]
    for record in results.records(CorpusRecord):
        lines.append(
            f"The {record.split} corpus: {record.kept:,} of {record.documents:,} documents have "
            f"the quality ({record.characters:,} characters), from {record.source}."
        )
    lines += [_overlap(record) for record in results.records(OverlapRecord)]
    for stream in results.records(SequencesRecord):
        counts = (
            f"{count:,} sequences of {length:,}"
            for length, count in sorted(stream.sequences.items())
        )
        lines.append(f"The {stream.split} tokens: {stream.tokens:,}; {wording.listing(counts)}.")
    for tokenizer in results.records(TokenizerRecord):
        fertility = (f"{value:.2f} ({split})" for split, value in tokenizer.fertility.items())
        lines.append(
            f"The tokenizer: SentencePiece {tokenizer.model_type}, "
            f"{tokenizer.vocab_size:,} pieces, "
            f"{wording.listing(fertility)} pieces per word."
        )
    return lines


def _overlap(record: OverlapRecord) -> str:
    leaked = sum(record.leaked.values())
    share = record.ngrams_seen / max(record.ngrams, 1)
    dropped = {split: n - record.kept[split] for split, n in record.documents.items()}
    parts = [f"{count:,} {split}" for split, count in dropped.items() if count]
    done = f"{' and '.join(parts)} documents were dropped for it" if parts else "none was dropped"
    return (
        f"Overlap: {leaked:,} of {record.documents['validation']:,} validation documents are "
        f"copies or excerpts of training documents, and {share:.2%} of the validation "
        f"{record.ngram_words}-grams occur in training; {done} (`overlap: {record.policy}`)."
    )


def _devices(results: Results) -> list[str]:
    devices = discussion.devices(results)
    limits = sorted({search.memory_limit for search in results.searches.values()})
    allowed = f"Allowed memory: {wording.listing(map(wording.memory, limits))}."
    lines = [*(f"Device: {device}." for device in devices), allowed]
    if len(devices) > 1:
        lines.append(
            "**The numbers come from different devices, so they do not compare**; the table of "
            "provenance tells which is from which."
        )
    return lines


def _software(results: Results) -> str:
    origins = [record.provenance for record in results.files.values()]
    versions: dict[str, set[str]] = {}
    for origin in origins:
        own = {"vramlab": origin.vramlab, "Python": origin.python}
        for name, version in (own | origin.packages).items():
            versions.setdefault(name, set()).add(version)
    commits = sorted({origin.commit[:12] for origin in origins if origin.commit})
    parts = [f"{name} {' / '.join(sorted(found))}" for name, found in versions.items()]
    return ", ".join([*parts, *(f"commit {commit}" for commit in commits)])
