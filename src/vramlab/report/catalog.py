"""Which tables and figures a configuration leads to: their names, titles and captions.

The Snakefile reads this before anything has run, so it imports nothing heavy. The function that
makes a table is in `tables.TABLES` under the same name; a figure is drawn by the template that it
names, or by a function in `figures.OTHERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vramlab.config.experiment import Experiment
from vramlab.config.technique import Setting
from vramlab.report.language import mark


@dataclass(frozen=True)
class Bars:
    """A row for each technique, with a bar for each metric; the value of the last is written."""

    metrics: tuple[str, ...]
    axis: str
    """What the value axis says."""
    note: Literal["", "ratio", "steps"] = ""
    """What is written behind a value: how many times the baseline's it is, or optimizer steps."""
    settings: tuple[Setting, ...] = ("equal", "own")
    """The batches; a panel for each."""


@dataclass(frozen=True)
class Parts:
    """A row for each technique, with the peak stacked of its parts."""

    parts: Literal["moments", "kinds"]
    """moments: before, during and after the forward pass of a step; kinds: of memory, such as
    gradients."""
    axis: str
    settings: tuple[Setting, ...] = ("equal", "own")


@dataclass(frozen=True)
class Lines:
    """A metric over the sequence length, with a line for each technique."""

    metric: str
    axis: str
    logarithmic: bool = False
    settings: tuple[Setting, ...] = ("equal", "own")


@dataclass(frozen=True)
class Entry:
    """A table or a figure of the report."""

    name: str
    """Stem of its files."""
    title: str
    category: str
    """Heading that it stands under."""
    caption: str
    """A paragraph of plain prose, without markup."""
    needs: Callable[[Experiment], bool] = lambda _: True
    """Whether a configuration produces data for it."""
    records: tuple[str, ...] = ("batch_size", "profile", "epoch")
    """The stages whose result files it is made from."""
    drawing: Bars | Parts | Lines | None = None
    """The template of a figure that has one."""
    less_headroom: bool = False
    """Whether its caption speaks of the headroom, so that the page says how much it was."""


# `mark` returns its text; `make texts` finds it there, and `say` translates it later.
MEMORY, SPEED, QUALITY = mark("Memory"), mark("Speed"), mark("Model quality")
SUMMARY, LENGTH, ORIGIN = mark("Summary"), mark("Sequence length"), mark("Data and provenance")
KINDS = {"figures": mark("figure"), "tables": mark("table"), "page": mark("page")}
"""What Snakemake's report calls the files of each folder."""
AS_CSV = mark("Tables as CSV")
WHOLE_REPORT = mark("The whole report")
ON_ONE_PAGE = mark("The whole report on one page.")
TITLE = mark("Memory-saving training techniques, measured")
"""The title of a report whose configuration gives none."""
CATEGORIES = (SUMMARY, MEMORY, SPEED, QUALITY, LENGTH, ORIGIN)
"""In the order of the report."""


def _swept(experiment: Experiment) -> bool:
    return len(experiment.lengths) > 1


def _predicted(experiment: Experiment) -> bool:
    return experiment.estimate.in_report


def _at_several_batches(experiment: Experiment) -> bool:
    return experiment.measure.speed_points > 0


def _with_longest(experiment: Experiment) -> bool:
    return experiment.measure.longest_sequence > 0


def _with_budgets(experiment: Experiment) -> bool:
    techniques = experiment.techniques.values()
    return sum(t.checkpointing_budget is not None for t in techniques) > 1


def _compared(experiment: Experiment) -> bool:
    return bool(experiment.report.compare)


FIGURES = (
    Entry(
        "memory_speed",
        mark("Memory against speed"),
        SUMMARY,
        mark(
            "Peak memory in live tensors over throughput, a point for each technique: down is less "
            "memory, right is faster. A point is grey if another technique needs no more memory "
            "and is not slower for certain; the line joins the others. The lower panel shows what "
            "the memory saved buys, where each technique fills the same limit: memory is given per "
            "token. In both panels a point is hollow if the perplexity at the equal batch, the "
            "baseline's largest, is more than 1% above the baseline's: at its own, a technique "
            "makes fewer steps."
        ),
    ),
    Entry(
        "batch_size",
        mark("Largest batch"),
        MEMORY,
        mark(
            "The largest batch that fits into the allowed memory: it ran several full steps, "
            "optimizer included, and a batch larger by one sequence ran out of memory. Both had "
            "the limit less the headroom of the search. In brackets: times the baseline's."
        ),
        records=("batch_size",),
        drawing=Bars(
            ("max_batch_size",),
            mark("largest batch (sequences of {length} tokens) in {memory}"),
            note="ratio",
            settings=("own",),
        ),
        less_headroom=True,
    ),
    Entry(
        "memory",
        mark("Memory through a training step"),
        MEMORY,
        mark(
            "Bytes in live tensors after the forward pass, after the backward pass and at the peak "
            "of one training step, at both batches."
        ),
        records=("profile",),
        drawing=Bars(
            ("after_forward_mib", "after_backward_mib", "peak_mib"),
            mark("memory in live tensors ({unit})"),
        ),
    ),
    Entry(
        "memory_breakdown",
        mark("What the peak is made of"),
        MEMORY,
        mark(
            "The peak split at the moments of a step: the model and the optimizer's state, held "
            "before the step starts; what the forward pass keeps for the backward pass "
            "(activations, logits); and what comes on top while computing. The three add up to the "
            "peak. A technique that recomputes moves bytes from the second part into time."
        ),
        records=("profile",),
        drawing=Parts("moments", mark("peak memory in live tensors ({unit})")),
    ),
    Entry(
        "memory_kinds",
        mark("Which part of the model holds the peak"),
        MEMORY,
        mark(
            "The peak split by what the bytes belong to: the parameters, the optimizer state, the "
            "gradients, the activations of each kind of module (in the backward pass, their "
            "gradients too), the logits with the loss, and the rest. Residual stands for the sums "
            "between the modules; other for temporary tensors of the optimizer and what the "
            "process holds beside the model. The number is the peak measured on its own; a "
            "technique whose parts do not reach it is one whose library takes memory that torch's "
            "dispatcher does not see. Compiled code hides its parts."
        ),
        records=("profile",),
        drawing=Parts("kinds", mark("peak memory in live tensors ({unit})")),
    ),
    Entry(
        "memory_timeline",
        mark("Memory operation by operation"),
        MEMORY,
        mark(
            "Live memory after each operation of one training step, at the batch of the baseline "
            "only, in the colours of the figure of the peak's parts. The panels share the scale of "
            "memory; each has as many operations as its technique's step. The forward pass fills "
            "memory with what the backward pass needs, the loss head puts the logits on top, the "
            "backward pass empties it while the gradients grow. A technique that recomputes shows "
            "teeth, one for each block. Beside each profile of a GPU lies torch's own snapshot of "
            "the same step, for its memory viewer (pytorch.org/memory-viz)."
        ),
        records=("profile",),
    ),
    Entry(
        "step_time",
        mark("Time of a training step"),
        SPEED,
        mark(
            "Each dot is one timed training step after the warm-up; the box spans the quartiles, "
            "the line is the median. The steps of a technique come from one process, so the spread "
            "does not show how another run would differ."
        ),
        records=("profile",),
    ),
    Entry(
        "throughput",
        mark("Throughput"),
        SPEED,
        mark("Training tokens a second: the batch's tokens over the median time of a step."),
        records=("profile",),
        drawing=Bars(("tokens_per_second",), mark("throughput (tokens/s)")),
    ),
    Entry(
        "batch_speed",
        mark("Throughput by batch size"),
        SPEED,
        mark(
            "Training tokens a second at several batches of each technique, its largest one at the "
            "right end of its line. Each size was timed in several rounds, the sizes in turn; a "
            "bar spans the rounds. A line that falls towards its end is that of a technique whose "
            "largest batch is not its fastest."
        ),
        needs=_at_several_batches,
        records=("batch_speed",),
    ),
    Entry(
        "activation_budget",
        mark("Memory and time by the budget of checkpointing"),
        SPEED,
        mark(
            "What the budget buys: the peak of a step and its time at the equal batch, over the "
            "share of the blocks' saved bytes that was asked for. Techniques of one line differ in "
            "the budget alone; checkpointing block stands at 0, none at 1. On the dashed line the "
            "peak would follow the budget exactly."
        ),
        needs=_with_budgets,
        records=("batch_size", "profile"),
    ),
    Entry(
        "epoch_time",
        mark("Time of the training run"),
        SPEED,
        mark(
            "Time in training steps and data loading of the whole run, evaluation apart, with the "
            "number of optimizer steps. With several seeds: mean and standard deviation."
        ),
        records=("epoch",),
        drawing=Bars(("train_seconds",), mark("time of training (s)"), note="steps"),
    ),
    Entry(
        "perplexity",
        mark("Validation perplexity"),
        QUALITY,
        mark(
            "Perplexity on the whole validation corpus after training, lower is better; the axis "
            "does not start at zero, the dotted line is the baseline's at its own batch. A larger "
            "batch makes fewer optimizer steps in an epoch, so techniques compare at equal "
            "batches; at their own, the perplexity shows what a larger batch costs when nothing "
            "else is adjusted. With several seeds: each seed, mean and standard deviation."
        ),
        records=("epoch",),
    ),
    Entry(
        "loss",
        mark("Training loss"),
        QUALITY,
        mark(
            "Training loss against tokens and against seconds, at both batches, a line for each "
            "seed. Lines that lie on each other learn alike per token; the shorter line in time is "
            "the faster technique."
        ),
        records=("epoch",),
    ),
    Entry(
        "batch_size_by_length",
        mark("Largest batch by sequence length"),
        LENGTH,
        mark("The largest batch at each sequence length, both axes logarithmic."),
        needs=_swept,
        records=("batch_size",),
        drawing=Lines(
            "max_batch_size", mark("largest batch (sequences)"), logarithmic=True, settings=("own",)
        ),
    ),
    Entry(
        "throughput_by_length",
        mark("Throughput by sequence length"),
        LENGTH,
        mark(
            "Training tokens a second at each sequence length. Equal: at the largest batch of the "
            "baseline at that length."
        ),
        needs=_swept,
        records=("profile",),
        drawing=Lines("tokens_per_second", mark("throughput (tokens/s)")),
    ),
    Entry(
        "memory_by_length",
        mark("Peak memory by sequence length"),
        LENGTH,
        mark(
            "Peak of the bytes in live tensors at each sequence length. Equal: at the largest "
            "batch of the baseline at that length."
        ),
        needs=_swept,
        records=("profile",),
        drawing=Lines("peak_mib", mark("peak memory in live tensors ({unit})")),
    ),
)
TABLES = (
    Entry(
        "summary",
        mark("All techniques side by side"),
        SUMMARY,
        mark(
            "A row for each technique and batch: equal is the largest batch of the baseline, own "
            "that of the technique; the baseline's are the same run. Peak is in live tensors; the "
            "step times come from the timed steps after the warm-up; training is the whole run, "
            "and with several seeds mean and standard deviation (sd)."
        ),
    ),
    Entry(
        "recommended",
        mark("Which technique to take"),
        SUMMARY,
        mark(
            "For each need the measured technique that serves it best, of those whose perplexity "
            "is at most 1% above the baseline's at the same batch. Between memory and speed is "
            "the technique after which more speed begins to cost much more memory. A need is left "
            "out where the measurements do not decide it: where the lead is no larger than what "
            "measurements of one technique differ by. The file recommended.yaml beside this "
            "report has them as entries of a configuration."
        ),
    ),
    Entry(
        "next_technique",
        mark("Which technique next"),
        SUMMARY,
        mark(
            "From the baseline, the measured technique that changes one axis and gains most, then"
            " the next such change on top of it, until none gains; a step counts as faster where "
            "it is so for certain. Largest batch, and peak and speed at the batch of the "
            "baseline, are over the baseline's; at least and at most are the range in which the "
            "speed lies. The last row of a goal lists the values of other axes that were not "
            "measured on top of it. An axis that means something only beside another, such as a "
            "window, changes with it as one step."
        ),
    ),
    Entry(
        "marginal_effects",
        mark("What one axis changes"),
        SUMMARY,
        mark(
            "Each measured pair of techniques that differs in one axis only, at the batch of the "
            "baseline: how many times as large the largest batch, the peak and the tokens a second "
            "become by that change. At least and at most are the range in which the speed lies, of "
            "profile and training together: where it has 1 in it, the change is neither faster nor "
            "slower for certain. An axis that means something only beside another, as a window "
            "does beside attention, changes with it as one step."
        ),
    ),
    Entry(
        "earlier",
        mark("Changes since an earlier run"),
        SUMMARY,
        mark(
            "What was made otherwise in an earlier run, then the mean of each quantity that both "
            "runs measured. A change is more than the spread if the means are farther apart than "
            "twice the standard error of their difference; of what was measured once, or at "
            "another batch size, that is not known."
        ),
        needs=_compared,
    ),
    Entry(
        "memory",
        mark("Memory"),
        MEMORY,
        mark(
            "Bytes in live tensors at the moments of a training step; peak reserved is what torch "
            "held at the peak, fragmentation included. Then what the peak is made of, where that "
            "is known: parameters, optimizer state and gradients; activations by the part of the "
            "model that made them (residual: the sums between the parts); and other, which is what "
            "the optimizer takes for a while and what the process holds beside the model."
        ),
        records=("profile",),
    ),
    Entry(
        "search",
        mark("Search for the largest batch"),
        MEMORY,
        mark(
            "Every batch that the search tried, in order. Peak and reserved are empty where memory "
            "ran out. Each had the limit less the headroom of the search, so that the batch fits "
            "in a long run as well."
        ),
        records=("batch_size",),
        less_headroom=True,
    ),
    Entry(
        "longest_sequence",
        mark("Longest sequence"),
        MEMORY,
        mark(
            "The longest sequence that fits into the allowed memory less the headroom, in "
            "multiples of 64 tokens: it ran several full steps, and one of 64 tokens more ran out "
            "of memory. Beside it, what was predicted without running anything. ≥ stands where the "
            "search looks no further."
        ),
        needs=_with_longest,
        records=("longest_sequence", "estimate"),
        less_headroom=True,
    ),
    Entry(
        "length_search",
        mark("Search for the longest sequence"),
        MEMORY,
        mark(
            "Every length that the search tried, in order. Peak and reserved are empty where "
            "memory ran out."
        ),
        needs=_with_longest,
        records=("longest_sequence",),
    ),
    Entry(
        "estimate",
        mark("Predicted and measured memory"),
        MEMORY,
        mark(
            "What was predicted without running anything, beside what was measured: the largest "
            "batch, and the peak at the baseline's largest batch. Where a prediction is off by "
            "more than 1%, a note says why."
        ),
        needs=_predicted,
        records=("estimate", "batch_size", "profile"),
    ),
    Entry(
        "speed",
        mark("Speed"),
        SPEED,
        mark(
            "Statistics of the timed steps (sd: sample standard deviation) and, where the device "
            "reports energy, what a training token takes. MFU is the share of the device's peak "
            "that the model's own operations reach, 6 for each weight and 12 for attention; HFU "
            'counts what is computed again as well. "Same bits again" says whether the first '
            "steps, done twice from the same seed, gave the same losses and weights."
        ),
        records=("profile",),
    ),
    Entry(
        "batch_speed",
        mark("Speed by batch size"),
        SPEED,
        mark(
            "Tokens a second at several batches of each technique, from the largest downwards: the "
            "mean of several rounds and its spread (sd), and how often the allocator had to free "
            "its cached blocks. Memory ran out where there is no speed."
        ),
        needs=_at_several_batches,
        records=("batch_speed",),
    ),
    Entry(
        "training",
        mark("Training runs"),
        QUALITY,
        mark("Every training run: one row for each technique, batch and seed."),
        records=("epoch",),
    ),
    Entry(
        "sweep",
        mark("Sequence lengths"),
        LENGTH,
        mark("The techniques that were measured at several sequence lengths."),
        needs=_swept,
        records=("batch_size", "profile"),
    ),
    Entry(
        "corpus",
        mark("Corpora and tokenizer"),
        ORIGIN,
        mark("What was downloaded, kept and dropped, and how the tokenizer fits both."),
        records=("corpus", "overlap", "sequences", "tokenizer"),
    ),
    Entry(
        "overlap",
        mark("Overlap of the corpora"),
        ORIGIN,
        mark(
            "What validation shares with training, and each corpus with itself, after the quality "
            "filter. Words are compared without case and punctuation. A near copy is alike in its "
            "5-word shingles (MinHash), an excerpt has most of its distinct 13-grams in training "
            "documents; each document counts once, under the surest kind. A perplexity measured on "
            "text that was trained on is too low."
        ),
        records=("overlap",),
    ),
    Entry(
        "overlap_pairs",
        mark("Documents that overlap most"),
        ORIGIN,
        mark(
            "The validation documents that overlap most with the training corpus, each with the "
            "training document that is most like it or has most of its 13-grams, worst first. "
            "Numbers count the documents of the filtered corpora from 1. The Jaccard similarity is "
            "an estimate and is left out where it is low; a small share of n-grams is often a "
            "quotation, a preface or a licence."
        ),
        records=("overlap",),
    ),
    Entry(
        "provenance",
        mark("Provenance of each number"),
        ORIGIN,
        mark(
            "The device, versions, commit and settings behind each result file. Files with the "
            "same config digest were made with the same settings of their stage."
        ),
        records=(),
    ),
)


def figures(experiment: Experiment) -> list[Entry]:
    """The figures that `experiment` has data for, in the order of the report."""
    return _with_data(FIGURES, experiment)


def tables(experiment: Experiment) -> list[Entry]:
    """The tables that `experiment` has data for, in the order of the report."""
    return _with_data(TABLES, experiment)


def _with_data(entries: tuple[Entry, ...], experiment: Experiment) -> list[Entry]:
    return [entry for entry in entries if entry.needs(experiment)]
