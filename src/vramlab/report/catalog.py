"""Which tables and figures a configuration leads to: their names, titles and categories.

The Snakefile reads this before anything has run, so it imports nothing heavy. The caption of an
entry is `workflow/report/<name>.rst`; the function that makes it is in `tables.TABLES` or
`figures.FIGURES` under the same name.
"""

from __future__ import annotations

from dataclasses import dataclass

from vramlab.config.experiment import Experiment


@dataclass(frozen=True)
class Entry:
    """A table or a figure of the report."""

    name: str
    """Stem of its files."""
    title: str
    category: str
    """Heading that it stands under."""
    sweep: bool = False
    """Whether it needs several sequence lengths."""


MEMORY, SPEED, QUALITY = "Memory", "Speed", "Model quality"
SUMMARY, LENGTH, ORIGIN = "Summary", "Sequence length", "Data and provenance"
CATEGORIES = (SUMMARY, MEMORY, SPEED, QUALITY, LENGTH, ORIGIN)
"""In the order of the report."""

FIGURES = (
    Entry("memory_speed", "Memory against speed", SUMMARY),
    Entry("batch_size", "Largest batch", MEMORY),
    Entry("memory", "Memory through a training step", MEMORY),
    Entry("memory_anatomy", "What the peak is made of", MEMORY),
    Entry("memory_kinds", "Which part of the model holds the peak", MEMORY),
    Entry("memory_timeline", "Memory operation by operation", MEMORY),
    Entry("step_time", "Time of a training step", SPEED),
    Entry("throughput", "Throughput", SPEED),
    Entry("epoch_time", "Time of the training run", SPEED),
    Entry("perplexity", "Validation perplexity", QUALITY),
    Entry("loss", "Training loss", QUALITY),
    Entry("batch_size_by_length", "Largest batch by sequence length", LENGTH, sweep=True),
    Entry("throughput_by_length", "Throughput by sequence length", LENGTH, sweep=True),
    Entry("memory_by_length", "Peak memory by sequence length", LENGTH, sweep=True),
)
TABLES = (
    Entry("summary", "All techniques side by side", SUMMARY),
    Entry("memory", "Memory", MEMORY),
    Entry("search", "Search for the largest batch", MEMORY),
    Entry("estimate", "Predicted and measured memory", MEMORY),
    Entry("speed", "Speed", SPEED),
    Entry("training", "Training runs", QUALITY),
    Entry("sweep", "Sequence lengths", LENGTH, sweep=True),
    Entry("corpus", "Corpora and tokenizer", ORIGIN),
    Entry("overlap", "Overlap of the corpora", ORIGIN),
    Entry("overlap_pairs", "Documents that overlap most", ORIGIN),
    Entry("provenance", "Provenance of each number", ORIGIN),
)


def figures(experiment: Experiment) -> list[Entry]:
    """The figures that `experiment` has data for, in the order of the report."""
    return _with_data(FIGURES, experiment)


def tables(experiment: Experiment) -> list[Entry]:
    """The tables that `experiment` has data for, in the order of the report."""
    return _with_data(TABLES, experiment)


def _with_data(entries: tuple[Entry, ...], experiment: Experiment) -> list[Entry]:
    swept = len(experiment.lengths) > 1
    return [entry for entry in entries if swept or not entry.sweep]
