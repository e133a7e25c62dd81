"""The captions of Snakemake's report, in reStructuredText."""

from __future__ import annotations

from vramlab.report.catalog import FIGURES, ON_ONE_PAGE, TABLES, TITLE
from vramlab.report.language import say
from vramlab.report.markup import one_line, rst

_TEXTS = {
    **{f"figures/{entry.name}": entry.caption for entry in FIGURES},
    **{f"tables/{entry.name}": entry.caption for entry in TABLES},
    "page/index": ON_ONE_PAGE,
}


def caption(name: str) -> str:
    """The caption of `figures/<name>`, `tables/<name>` or `page/index` in the current language."""
    return rst(say(_TEXTS[name])) + "\n"


def overview(title: str, experiment: str) -> str:
    """The introduction to Snakemake's report; its emphasis is that of the texts themselves."""
    paragraphs = [
        say(
            "Experiment {experiment}: which memory-saving technique fits the largest batch, what "
            "it costs in time, and what it does to the model. Start with *Summary*: the sentences "
            "of the report, the table of all techniques, and memory against speed.",
            experiment=f"``{experiment}``",  # a name: letters, digits, - and _
        ),
        say(
            "Each technique ran twice: *equal* is the largest batch of the baseline, which "
            "compares like with like; *own* is the technique's own largest batch, which shows what "
            "the saved memory buys. Memory is in MiB, 2²⁰ bytes."
        ),
    ]
    if heading := rst(shown_title(title)):
        # A line below must be as wide; a character of some scripts is two columns wide.
        paragraphs.insert(0, f"{heading}\n{'=' * 2 * len(heading)}")
    return "\n\n".join(paragraphs) + "\n"


def shown_title(title: str) -> str:
    """The title of the report; translated if it is the one that comes by itself."""
    return say(title) if title == TITLE else one_line(title)
