"""Which technique is best at a metric, in a sentence for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vramlab.config.technique import Setting
from vramlab.report.certainty import Certainty
from vramlab.report.language import mark, say, say_count
from vramlab.report.load import SETTINGS, Results, Run
from vramlab.report.metrics import METRICS, Metric
from vramlab.report.wording import capital, code, codes, integer, percent, ratio


def standing(metric: Metric, run: Run) -> float | None:
    """The value with which a run may be compared: of a training, only if every seed came to its
    end, since the mean of those that did would flatter."""
    return None if metric.needs_epoch and not run.completed else metric.value(run)


def ranking(
    metric: Metric, results: Results, settings: tuple[Setting, ...], length: int | None = None
) -> list[tuple[Run, float]]:
    """The runs that have a value, and their values, best first."""
    runs = (run for setting in settings for run in results.runs(setting, length))
    known = [(run, value) for run in runs if (value := standing(metric, run)) is not None]
    sign = -1 if metric.better == "higher" else 1
    return sorted(known, key=lambda pair: sign * pair[1])


@dataclass(frozen=True)
class Superlative:
    """Names the techniques that are best at a metric; empty where none has a value.

    Those whose values look the same are named together; behind a speed, those that are not slower
    for certain.

    The gaps of its texts: label of the metric; names and value of the best; base, the value of the
    baseline; share of it that the best's is, and times that it is better; batch and steps, where
    the best ran; samples.
    """

    metric: str
    settings: tuple[Setting, ...]
    alone: str
    """Where there is no other value to name: the baseline is one of the best, or has none."""
    beside: str
    """Beside the value of the baseline."""
    open: str = ""
    """Of a speed or a time: where the best is not faster than the baseline for certain."""

    def __call__(self, results: Results, length: int | None = None) -> str:
        """The sentence, of the main sequence length if no other is given."""
        metric = METRICS[self.metric]
        runs = ranking(metric, results, self.settings, length)
        if not runs:
            return ""
        run, value = runs[0]
        best = self._best(runs, results, length)
        values = {
            "label": capital(say(metric.label)),
            "names": codes(best[:1] if self.open else best),
            "value": metric.text(value),
            "baseline": code(results.baseline),
            "batch": batch_of(run, results),
            "steps": _steps_of(run, results) if metric.needs_epoch else "",
            "samples": len(metric.samples(run)),
        }
        tied = ""
        if self.open and best[1:]:
            tied = " " + say("Not slower for certain: {names}.", names=codes(best[1:]))
        base = standing(metric, results.run(results.baseline, "own", length))
        if not base or run.technique == results.baseline:
            return say(self.alone, **values) + tied
        better, worse = (value, base) if metric.better == "higher" else (base, value)
        values |= {
            "name": code(run.technique),
            "base": metric.text(base),
            "share": percent(value / base),
            "times": ratio(better / worse if worse else math.inf),
        }
        if results.baseline in best:
            return say(self.open or self.alone, **values)
        return say(self.beside, **values) + tied

    def _best(
        self, runs: Sequence[tuple[Run, float]], results: Results, length: int | None
    ) -> list[str]:
        """The best technique and those that are as good, each once."""
        text = METRICS[self.metric].text
        (first, value), *others = runs
        certainty = Certainty(results, length) if self.open else None
        names = [first.technique]
        for run, other in others:
            if certainty is None or certainty.deviation is None:
                alike = text(other) == text(value)
            else:
                alike = not certainty.faster(first, run)
            names += [run.technique] if alike else []
        return list(dict.fromkeys(names))


least_memory = Superlative(
    "peak_mib",
    ("equal",),
    mark("At {batch}, the lowest peak is that of {names}: {value}."),
    mark(
        "At {batch}, the lowest peak is that of {names}: {value}, {share} of the {base} of "
        "{baseline}."
    ),
)
fastest = Superlative(
    "step_ms",
    ("equal",),
    mark("At {batch}, the fastest step is that of {names}: {value} ms (median of {samples})."),
    mark(
        "At {batch}, the fastest step is that of {names}: {value} ms (median of {samples}), "
        "{times} as fast as {baseline}."
    ),
    mark(
        "At {batch}, no technique makes a faster step than {baseline} for certain: {value} ms of "
        "{name} against {base} ms (medians of {samples})."
    ),
)
throughput = Superlative(
    "tokens_per_second",
    ("own",),
    mark(
        "With each technique at its own largest batch, the most tokens a second are those of "
        "{names}: {value}."
    ),
    mark(
        "With each technique at its own largest batch, the most tokens a second are those of "
        "{names}: {value}, {times} as many as {baseline}."
    ),
    mark(
        "With each technique at its own largest batch, none processes more tokens a second than "
        "{baseline} for certain: {value} of {name} against {base}."
    ),
)
shortest_training = Superlative(
    "train_seconds",
    SETTINGS,
    mark("The shortest training is that of {names}: {value} s."),
    mark(
        "The shortest training is that of {names}: {value} s at {batch}; {baseline} takes {base} s."
    ),
    mark(
        "No training is shorter than that of {baseline} for certain: {value} s of {name} against "
        "{base} s."
    ),
)
perplexity = Superlative(
    "perplexity",
    ("equal",),
    mark("Trained {steps}, the lowest perplexity is that of {names}: {value}."),
    mark(
        "Trained {steps}, the lowest perplexity is that of {names}: {value}, against {base} of "
        "{baseline}."
    ),
)
_ENERGY = mark(
    "With each technique at its own largest batch, the least energy for a training token is that "
    "of {names}: {value} µJ."
)
energy = Superlative("microjoules_per_token", ("own",), _ENERGY, _ENERGY)


def superlative(name: str) -> Superlative:
    """That of a metric which has no sentences of its own."""
    if METRICS[name].better == "higher":
        alone = mark("{label}: the highest is that of {names}, {value}.")
        beside = mark("{label}: the highest is that of {names}, {value}; {baseline} has {base}.")
    else:
        alone = mark("{label}: the lowest is that of {names}, {value}.")
        beside = mark("{label}: the lowest is that of {names}, {value}; {baseline} has {base}.")
    return Superlative(name, ("equal",), alone, beside)


def largest_batch(results: Results, length: int | None = None) -> str:
    """Which techniques fit the largest batch; several may fit as much."""
    ranked = ranking(METRICS["max_batch_size"], results, ("own",), length)
    runs = [(run, size) for run, size in ranked if size]
    if not runs:
        return say("No technique fits a batch of one sequence.")
    largest = int(runs[0][1])
    best = [run for run, size in runs if size == largest]
    names = [run.technique for run in best]
    size = say_count("{count} sequence", "{count} sequences", largest)
    if any(run.search.bounded_by == "configuration" for run in best):
        size = say("at least {size}", size=size)
    baseline = code(results.baseline)
    if names == [results.baseline]:
        return say("No technique fits more than {baseline}: {size}.", baseline=baseline, size=size)
    if results.baseline in names:
        others = [name for name in names if name != results.baseline]
        return say_count(
            "No technique fits more than {baseline}: {size} ({others} fits as much).",
            "No technique fits more than {baseline}: {size} ({others} fit as much).",
            len(others),
            baseline=baseline,
            size=size,
            others=codes(others),
        )
    base = results.max_batch_size(results.baseline, length)
    if not base:
        return say_count(
            "{names} fits the largest batch: {size}.",
            "{names} fit the largest batch: {size}.",
            len(names),
            names=codes(names),
            size=size,
        )
    return say_count(
        "{names} fits the largest batch: {size}, {times} the {base} of {baseline}.",
        "{names} fit the largest batch: {size}, {times} the {base} of {baseline}.",
        len(names),
        names=codes(names),
        size=size,
        times=ratio(largest / base),
        base=integer(base),
        baseline=baseline,
    )


def fewest_steps(results: Results) -> str:
    """How many optimizer steps a larger batch leaves, which its perplexity pays for."""
    base = results.run(results.baseline, "own")
    runs = ranking(METRICS["steps"], results, ("own",))
    steps = {run.technique: int(run.trained[0].steps) for run, _ in runs}
    if not runs or steps.get(results.baseline) in {None, steps[runs[0][0].technique]}:
        return ""
    best = runs[0][0]
    return say(
        "At its own largest batch, {name} trains in {steps}, {baseline} in {base}; perplexity "
        "{perplexity} against {other}.",
        name=code(best.technique),
        steps=say_count("{count} step", "{count} steps", steps[best.technique]),
        baseline=code(results.baseline),
        base=integer(steps[results.baseline]),
        perplexity=METRICS["perplexity"].shown(best),
        other=METRICS["perplexity"].shown(base),
    )


def equal_batch(results: Results, length: int | None = None) -> str:
    """What the largest batch of the baseline is called."""
    size = results.max_batch_size(results.baseline, length)
    baseline = code(results.baseline)
    if not size:
        return say("the batch of {baseline}", baseline=baseline)
    return say("the batch of {baseline} ({size})", baseline=baseline, size=integer(size))


def batch_of(run: Run, results: Results) -> str:
    """At which batch a run is."""
    if run.setting == "equal":
        return equal_batch(results, run.length)
    return say("its own largest batch")


def _steps_of(run: Run, results: Results) -> str:
    """How many sequences an optimizer step took."""
    step = run.trained[0].sequences_per_step
    if step in {None, run.batch_size}:
        return say("at {batch}", batch=equal_batch(results))
    return say_count("in steps of {count} sequence", "in steps of {count} sequences", step or 0)
