"""Which tables and figures a configuration leads to: their names, titles and categories.

The Snakefile reads this before anything has run, so it imports nothing heavy. The caption of an
entry is `workflow/report/<name>.rst`; the function that makes it is in `tables.TABLES` or
`figures.FIGURES` under the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vramlab.config.experiment import Experiment
from vramlab.report.language import mark


@dataclass(frozen=True)
class Entry:
    """A table or a figure of the report."""

    name: str
    """Stem of its files."""
    title: str
    category: str
    """Heading that it stands under."""
    needs: Callable[[Experiment], bool] = lambda _: True
    """Whether a configuration leads to data for it."""
    records: tuple[str, ...] = ("batch_size", "profile", "epoch")
    """The stages whose result files it is made from."""


MEMORY, SPEED, QUALITY = "Memory", "Speed", "Model quality"
SUMMARY, LENGTH, ORIGIN = "Summary", "Sequence length", "Data and provenance"
KINDS = {"figures": mark("figure"), "tables": mark("table"), "page": mark("page")}
"""What Snakemake's report calls the files of each folder."""
AS_CSV = mark("Tables as CSV")
WHOLE = mark("The whole report")
CATEGORIES = (SUMMARY, MEMORY, SPEED, QUALITY, LENGTH, ORIGIN)
"""In the order of the report."""


def _swept(experiment: Experiment) -> bool:
    return len(experiment.lengths) > 1


def _predicted(experiment: Experiment) -> bool:
    return experiment.estimate.in_report


def _compared(experiment: Experiment) -> bool:
    return bool(experiment.report.compare)


FIGURES = (
    Entry("memory_speed", "Memory against speed", SUMMARY, records=("batch_size", "profile")),
    Entry("batch_size", "Largest batch", MEMORY, records=("batch_size",)),
    Entry("memory", "Memory through a training step", MEMORY, records=("profile",)),
    Entry("memory_anatomy", "What the peak is made of", MEMORY, records=("profile",)),
    Entry("memory_kinds", "Which part of the model holds the peak", MEMORY, records=("profile",)),
    Entry("memory_timeline", "Memory operation by operation", MEMORY, records=("profile",)),
    Entry("step_time", "Time of a training step", SPEED, records=("profile",)),
    Entry("throughput", "Throughput", SPEED, records=("profile",)),
    Entry("epoch_time", "Time of the training run", SPEED, records=("epoch",)),
    Entry("perplexity", "Validation perplexity", QUALITY, records=("epoch",)),
    Entry("loss", "Training loss", QUALITY, records=("epoch",)),
    Entry(
        "batch_size_by_length",
        "Largest batch by sequence length",
        LENGTH,
        needs=_swept,
        records=("batch_size",),
    ),
    Entry(
        "throughput_by_length",
        "Throughput by sequence length",
        LENGTH,
        needs=_swept,
        records=("profile",),
    ),
    Entry(
        "memory_by_length",
        "Peak memory by sequence length",
        LENGTH,
        needs=_swept,
        records=("profile",),
    ),
)
TABLES = (
    Entry("summary", "All techniques side by side", SUMMARY),
    Entry("recommended", "Which technique to take", SUMMARY),
    Entry("next_technique", "Which technique next", SUMMARY, records=("batch_size", "profile")),
    Entry(
        "marginal_effects",
        "What one axis changes",
        SUMMARY,
        records=("batch_size", "profile"),
    ),
    Entry("earlier", "Changes since an earlier run", SUMMARY, needs=_compared),
    Entry("memory", "Memory", MEMORY, records=("profile",)),
    Entry("search", "Search for the largest batch", MEMORY, records=("batch_size",)),
    Entry(
        "estimate",
        "Predicted and measured memory",
        MEMORY,
        records=("estimate", "batch_size", "profile"),
        needs=_predicted,
    ),
    Entry("speed", "Speed", SPEED, records=("profile",)),
    Entry("training", "Training runs", QUALITY, records=("epoch",)),
    Entry("sweep", "Sequence lengths", LENGTH, needs=_swept, records=("batch_size", "profile")),
    Entry(
        "corpus",
        "Corpora and tokenizer",
        ORIGIN,
        records=("corpus", "overlap", "sequences", "tokenizer"),
    ),
    Entry("overlap", "Overlap of the corpora", ORIGIN, records=("overlap",)),
    Entry("overlap_pairs", "Documents that overlap most", ORIGIN, records=("overlap",)),
    Entry("provenance", "Provenance of each number", ORIGIN, records=()),
)


def figures(experiment: Experiment) -> list[Entry]:
    """The figures that `experiment` has data for, in the order of the report."""
    return _with_data(FIGURES, experiment)


def tables(experiment: Experiment) -> list[Entry]:
    """The tables that `experiment` has data for, in the order of the report."""
    return _with_data(TABLES, experiment)


def _with_data(entries: tuple[Entry, ...], experiment: Experiment) -> list[Entry]:
    return [entry for entry in entries if entry.needs(experiment)]
