"""The report itself: one Markdown page that leads from the answer to every number."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from tabulate import tabulate

from vramlab.report import discussion, origin, wording
from vramlab.report.catalog import CATEGORIES, Entry
from vramlab.report.language import numeral, say, say_count
from vramlab.report.load import Results
from vramlab.report.wording import integer
from vramlab.results.corpus import CorpusRecord
from vramlab.results.overlap import OverlapRecord
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import TokenizerRecord

LONG = 32
"""Rows of a table above which it is folded."""


_DARK, _PHONE = "(prefers-color-scheme: dark)", "(max-width: 640px)"
_FORMS = {f"{_PHONE} and {_DARK}": "-narrow-dark", _PHONE: "-narrow", _DARK: "-dark"}
"""Which form of a figure the browser takes, the first that holds; the light, wide one if none."""


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
        figures: the figures that were drawn, as `figures/<name>.png` and `.svg`, and for dark
            ground and narrow screens as `figures/<name>[-narrow][-dark].svg`.
        tables: the tables that were written, each with its Markdown.
        captions: the text under each figure and table, by `figures/<name>` or `tables/<name>`.
    """
    parts = [f"# {wording.markdown(title)}"]
    if warnings := origin.differences(results):
        care = say("Take care.")
        parts += [f"> **{care}** {wording.markdown(text)}" for text in warnings]
    parts.append(_bullets(discussion.summary(results)))
    if failures := discussion.not_run(results):
        parts += ["## " + say("Not run"), _bullets(failures)]
    parts += ["## " + say("What was measured, and on what"), _bullets(_setup(results))]
    parts += ["### " + say("Hardware and software")]
    parts += [_pairs(origin.hardware_and_software(results))]
    for category in CATEGORIES:
        section = [
            *(_figure(e, results, captions) for e in figures if e.category == category),
            *(
                _table(e, text, results, captions)
                for e, text in tables.items()
                if e.category == category
            ),
        ]
        if section:
            parts += [f"## {say(category)}", *section]
    return "\n\n".join(parts) + "\n"


def _figure(entry: Entry, results: Results, captions: Mapping[str, str]) -> str:
    title = say(entry.title)
    alt = f"{title}. {discussion.headline(entry.name, results)}".replace("`", "")
    path = f"figures/{entry.name}"
    # On one line: CommonMark takes it as HTML up to the next empty line.
    sources = "".join(
        f'<source media="{media}" srcset="{path}{form}.svg">' for media, form in _FORMS.items()
    )
    picture = f'<picture>{sources}<img src="{path}.png" alt="{html.escape(alt)}"></picture>'
    return (
        f"### {title}\n\n{picture}\n\n"
        f"{captions[path]} ([SVG]({path}.svg))\n\n{_source(entry, results)}"
    )


def _table(entry: Entry, text: str, results: Results, captions: Mapping[str, str]) -> str:
    path = f"tables/{entry.name}"
    head = f"### {say(entry.title)}\n\n{captions[path]} ([CSV]({path}.csv))"
    if origin_ := _source(entry, results):
        head += f"\n\n{origin_}"
    rows = text.strip().count("\n") - 1
    if rows > LONG:
        summary = say_count("{count} row", "{count} rows", rows)
        text = f"<details><summary>{summary}</summary>\n\n{text.strip()}\n\n</details>"
    return f"{head}\n\n{text.strip()}"


def _source(entry: Entry, results: Results) -> str:
    text = origin.source(entry, results)
    return f"<small>{text}</small>" if text else ""


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {wording.markdown(sentence)}" for sentence in sentences)


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    cells = [[wording.markdown(cell) for cell in row] for row in rows]
    return tabulate(cells, headers=[say("Part"), say("Value")], tablefmt="pipe")


def _setup(results: Results) -> list[str]:
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
    for record in results.records(CorpusRecord):
        lines.append(
            say(
                "The {split} corpus: {kept} of {documents} documents have the quality asked for "
                "({characters} characters), from {source}.",
                split=wording.split(record.split),
                kept=integer(record.kept),
                documents=integer(record.documents),
                characters=integer(record.characters),
                source=_origin(record.source),
            )
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
    for tokenizer in results.records(TokenizerRecord):
        fertility = (
            f"{numeral(f'{value:.2f}')} ({wording.split(split)})"
            for split, value in tokenizer.fertility.items()
        )
        lines.append(
            say(
                "The tokenizer: SentencePiece {model}, {pieces} pieces, {fertility} pieces per "
                "word.",
                model=tokenizer.model_type,
                pieces=integer(tokenizer.vocab_size),
                fertility=wording.listing(fertility),
            )
        )
    return lines


def _origin(source: str) -> str:
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
