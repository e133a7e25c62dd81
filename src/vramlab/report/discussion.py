"""What the numbers say, in sentences; none is fixed, each is computed from the results."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from vramlab.report import wording
from vramlab.report.load import SETTINGS, Results, Run
from vramlab.report.wording import listing, memory, number, plural, ratio, short
from vramlab.results.runs import Memory

Value = Callable[[Run], float | None]


def summary(results: Results) -> list[str]:
    """The executive summary: which technique for which need, by how much, how sure."""
    parts = [
        largest_batch(results),
        least_memory(results),
        f"{fastest(results)} {how_sure_of_speed(results)}",
        throughput(results),
        f"{perplexity(results)} {how_sure_of_perplexity(results)}",
        fewest_steps(results),
        energy(results),
        repeatability(results),
        undominated(results),
    ]
    return [part.strip() for part in parts if part.strip()]


def largest_batch(results: Results, length: int | None = None) -> str:
    """Which technique fits the largest batch."""
    runs = results.runs("own", length)
    found = {r.technique: r.search.max_batch_size for r in runs if r.search.max_batch_size}
    if not found:
        return "No technique fits a batch of one sequence."
    largest = max(found.values())
    best = [name for name, size in found.items() if size == largest]
    bounded = any(r.search.bounded_by == "configuration" for r in runs if r.technique in best)
    size = ("at least " if bounded else "") + plural(largest, "sequence")
    if results.baseline in best:
        others = [name for name in best if name != results.baseline]
        beside = f" ({_names(others)} {_fits(others)} as much)" if others else ""
        return f"No technique fits more than {_name(results.baseline)}: {size}{beside}."
    text = f"{_names(best)} {_fits(best)} the largest batch: {size}"
    if base := found.get(results.baseline):
        text += f", {ratio(largest / base)} the {base:,} of {_name(results.baseline)}"
    return text + "."


def least_memory(results: Results, length: int | None = None) -> str:
    """Which technique needs the least memory at the baseline's batch."""
    runs = _measured(results.runs("equal", length), lambda run: run.peak)
    if not runs:
        return ""
    best, low = min(runs, key=lambda pair: pair[1])
    text = (
        f"At {_equal_batch(results, length)}, {_name(best.technique)} peaks lowest: {memory(low)}"
    )
    base = results.run(results.baseline, "own", length).peak
    if base and best.technique != results.baseline:
        text += f", {low / base:.0%} of the {memory(base)} of {_name(results.baseline)}"
    return text + "."


def anatomy(results: Results) -> str:
    """What most of the baseline's peak is."""
    memory_ = results.run(results.baseline, "own").memory
    if memory_ is None:
        return ""
    shares = {part: size / memory_.peak.allocated for part, size in peak_parts(memory_).items()}
    part, share = max(shares.items(), key=lambda item: item[1])
    return f"Of the peak of {_name(results.baseline)}, {share:.0%} is {part}."


def peak_parts(memory: Memory) -> dict[str, int]:
    """The bytes at the peak, split at the moments of the step; they add up to the peak."""
    before, forward = memory.before.allocated, memory.after_forward.allocated
    return {
        "model and optimizer state": before,
        "what the forward pass keeps for the backward pass": max(0, forward - before),
        "what comes on top while computing": memory.peak.allocated - max(before, forward),
    }


def largest_kind(results: Results) -> str:
    """What holds most of the baseline's peak, and what is left of that where it is least."""
    runs = [run for run in results.runs("equal") if run.memory and run.memory.by_kind]
    base = next((run for run in runs if run.technique == results.baseline), None)
    if base is None or base.memory is None:
        return ""
    kinds = base.memory.by_kind
    kind = max(kinds, key=lambda name: kinds[name])
    share = kinds[kind] / sum(kinds.values())
    text = f"At the peak of {_name(base.technique)}, {share:.0%} is {kind}: {memory(kinds[kind])}"
    sizes = {run.technique: run.memory.by_kind[kind] for run in runs if run.memory}
    best = min(sizes, key=lambda name: sizes[name])
    if best != base.technique:
        text += f"; {_name(best)} needs {memory(sizes[best])} for it at the same batch"
    return text + "."


def moment_of_peak(results: Results) -> str:
    """How far the baseline's step is when it needs most."""
    memory_ = results.run(results.baseline, "own").memory
    if memory_ is None or not memory_.timeline:
        return ""
    peak = max(memory_.timeline, key=lambda moment: sum(moment.by_kind.values()))
    share = peak.operation / max(1, memory_.timeline[-1].operation)
    return f"{_name(results.baseline)} needs most after {share:.0%} of a step's operations."


def fastest(results: Results) -> str:
    """Which technique has the shortest step at the baseline's batch."""
    runs = _by_speed(results)
    if not runs:
        return ""
    best, quick = runs[0]
    text = (
        f"At {_equal_batch(results)}, {_name(best.technique)} is the fastest: "
        f"{number(quick)} ms a step (median of {len(best.step_ms)})"
    )
    base = results.run(results.baseline, "own").step_median_ms
    if base and best.technique != results.baseline:
        text += f", {ratio(base / quick)} as fast as {_name(results.baseline)}"
    return text + "."


def how_sure_of_speed(results: Results) -> str:
    """How clearly the fastest technique leads the next one, from all timed steps."""
    runs = _by_speed(results)
    if len(runs) < 2:
        return ""
    (best, _), (second, slower) = runs[:2]
    share = superiority(best.step_ms, second.step_ms)
    return (
        f"Its lead over the next, {_name(second.technique)} ({number(slower)} ms), is "
        f"{_certainty(share)}: it wins {share:.0%} of the pairs of their timed steps."
    )


def throughput(results: Results, length: int | None = None) -> str:
    """Which technique is the fastest at its own largest batch."""
    runs = _measured(results.runs("own", length), lambda run: run.tokens_per_second)
    if not runs:
        return ""
    best, speed = max(runs, key=lambda pair: pair[1])
    text = (
        f"With each technique at its own largest batch, {_name(best.technique)} processes the most "
        f"tokens: {short(speed)} a second"
    )
    base = results.run(results.baseline, "own", length).tokens_per_second
    if base and best.technique != results.baseline:
        text += f", {ratio(speed / base)} as many as {_name(results.baseline)}"
    return text + "."


def shortest_training(results: Results) -> str:
    """Which technique goes through the training corpus in the least time."""
    runs = [run for setting in SETTINGS for run in results.runs(setting) if run.train_seconds]
    if not runs:
        return ""
    best = min(runs, key=lambda run: statistics.fmean(run.train_seconds))
    text = (
        f"{_name(best.technique)} trains in the least time: "
        f"{number(statistics.fmean(best.train_seconds))} s"
    )
    base = results.run(results.baseline, "own").train_seconds
    if base and best.technique != results.baseline:
        text += f" at {_where(best, results)}; {_name(results.baseline)} takes "
        text += f"{number(statistics.fmean(base))} s"
    return text + "."


def perplexity(results: Results) -> str:
    """Which technique has the lowest perplexity at the baseline's batch."""
    runs = [run for run in results.runs("equal") if run.perplexities]
    if not runs:
        return ""
    best = min(runs, key=lambda run: statistics.fmean(run.perplexities))
    lowest = number(statistics.fmean(best.perplexities), 4)
    text = (
        f"Trained {_steps_of(best, results)}, {_name(best.technique)} has the lowest perplexity: "
        f"{lowest}"
    )
    base = results.run(results.baseline, "own").perplexities
    if base and best.technique != results.baseline:
        other = number(statistics.fmean(base), 4)
        text += ", the same to these digits as" if other == lowest else f", against {other} of"
        text += f" {_name(results.baseline)}"
    return text + "."


def how_sure_of_perplexity(results: Results) -> str:
    """How far perplexities differ by the seed alone."""
    runs = [run.perplexities for run in results.runs("equal") if run.perplexities]
    if not runs:
        return ""
    deviations = [statistics.stdev(values) for values in runs if len(values) > 1]
    if not deviations:
        return "There is one seed only, so a small difference may be chance."
    return (
        f"Between seeds it varies with a standard deviation of up to {number(max(deviations))}; "
        "a smaller difference may be chance."
    )


def fewest_steps(results: Results) -> str:
    """How many optimizer steps a larger batch leaves, which is what its perplexity pays for."""
    steps = {run.technique: run.trained[0].steps for run in results.runs("own") if run.trained}
    base = steps.get(results.baseline)
    if base is None:
        return ""
    fewest = min(steps, key=lambda name: steps[name])
    if steps[fewest] == base:
        return ""
    perplexities = [
        statistics.fmean(results.run(name, "own").perplexities)
        for name in (fewest, results.baseline)
        if results.run(name, "own").perplexities
    ]
    text = (
        f"At its own largest batch, {_name(fewest)} trains in {plural(steps[fewest], 'step')}, "
        f"{_name(results.baseline)} in {base:,}"
    )
    if len(perplexities) == 2:
        text += f"; perplexity {number(perplexities[0], 4)} against {number(perplexities[1], 4)}"
    return text + "."


def energy(results: Results) -> str:
    """Which technique needs the least energy for a token, where the device reports it."""
    runs = _measured(results.runs("own"), lambda run: run.microjoules_per_token)
    if not runs:
        return ""
    best, least = min(runs, key=lambda pair: pair[1])
    return (
        f"At its own largest batch, {_name(best.technique)} needs the least energy: "
        f"{number(least)} µJ for a training token."
    )


def repeatability(results: Results) -> str:
    """Which techniques do not compute the same bits from the same seed, and why that is."""
    runs = [run for setting in SETTINGS for run in results.runs(setting)]
    known = [run for run in runs if run.profile.repeatable is not None]
    if not known:
        return ""
    varying = dict.fromkeys(run.technique for run in known if not run.profile.repeatable)
    if not varying:
        return "Every technique that ran repeats bit for bit from the same seed on this device."
    them = _names(varying)
    return (
        f"From the same seed, {them} {'does' if len(varying) == 1 else 'do'} not repeat bit for "
        "bit in every run: a kernel adds in the order in which its threads happen to come, or "
        "memory was so short that a library took another algorithm. All others that ran repeat."
    )


def undominated(results: Results) -> str:
    """The techniques that no other one beats in both largest batch and speed."""
    points = [
        (run.technique, run.search.max_batch_size, run.tokens_per_second)
        for run in results.runs("equal")
        if run.search.max_batch_size is not None and run.tokens_per_second is not None
    ]
    best = [
        name
        for name, batch, speed in points
        if not any(b >= batch and s >= speed and (b, s) != (batch, speed) for _, b, s in points)
    ]
    if not points:
        return ""
    if len(points) == 1:
        return f"Only {_name(best[0])} was measured, so there is nothing to weigh it against."
    if len(best) == 1:
        return f"No other technique fits a larger batch or steps faster than {_name(best[0])}."
    if len(best) == len(points):
        return "No technique is beaten in both largest batch and step time by another."
    return (
        f"Only {_names(best)} are worth weighing: every other technique fits no larger batch and "
        "makes no faster step than one of them."
    )


def not_run(results: Results) -> list[str]:
    """The techniques that gave no numbers, grouped by what happened and why."""
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for setting in ("equal", "own"):
        for run in results.runs(setting):
            if run.status != "ok":
                alike = run.status == "skipped" or run.technique == results.baseline
                where = "" if alike else f" at {_where(run, results)}"
                key = wording.status(run.status) + where, run.reason
                groups.setdefault(key, {})[run.technique] = None
    return [f"{_names(names)}: {what}: {why.rstrip('.')}." for (what, why), names in groups.items()]


def devices(results: Results) -> list[str]:
    """The devices that numbers were measured on; more than one makes them incomparable."""
    found = (record.provenance.device for record in results.files.values())
    return [
        f"{device.name} ({memory(device.memory_bytes)})"
        + (f", compute capability {device.capability}" if device.capability else "")
        + (f", CUDA {device.cuda}" if device.cuda else "")
        + (f", driver {device.driver}" if device.driver else "")
        for device in dict.fromkeys(device for device in found if device)
    ]


def superiority(faster: Sequence[float], slower: Sequence[float]) -> float:
    """The share of all pairs of samples in which `faster` takes less time; a tie counts half.

    The common-language effect size of McGraw and Wong (1992), in the form for ordinal data of
    Vargha and Delaney (2000).
    """
    wins = sum((a < b) + (a == b) / 2 for a in faster for b in slower)
    return wins / (len(faster) * len(slower))


def _certainty(share: float) -> str:
    if share >= 0.95:
        return "clear"
    return "likely real" if share >= 0.75 else "not certain"


def _by_speed(results: Results) -> list[tuple[Run, float]]:
    runs = _measured(results.runs("equal"), lambda run: run.step_median_ms)
    return sorted(runs, key=lambda pair: pair[1])


def _measured(runs: Sequence[Run], value: Value) -> list[tuple[Run, float]]:
    pairs = ((run, value(run)) for run in runs)
    return [(run, number) for run, number in pairs if number is not None]


def _equal_batch(results: Results, length: int | None = None) -> str:
    size = results.max_batch_size(results.baseline, length)
    return f"the batch of {_name(results.baseline)}" + (f" ({size:,})" if size else "")


def _steps_of(run: Run, results: Results) -> str:
    """How many sequences an optimizer step took."""
    step = run.trained[0].sequences_per_step
    if step in {None, run.batch_size}:
        return f"at {_equal_batch(results)}"
    return f"in steps of {plural(step or 0, 'sequence')}"


def _where(run: Run, results: Results) -> str:
    return _equal_batch(results) if run.setting == "equal" else "its own largest batch"


def _name(technique: str) -> str:
    return f"`{technique}`"


def _names(techniques: Sequence[str] | dict[str, None]) -> str:
    return listing(map(_name, techniques))


def _fits(techniques: Sequence[str]) -> str:
    return "fits" if len(techniques) == 1 else "fit"


def _at_longest(results: Results, sentence: Callable[[Results, int], str]) -> str:
    longest = results.lengths[-1]
    text = sentence(results, longest)
    return f"At {longest:,} tokens, {text[0].lower()}{text[1:]}" if text else ""


HEADLINES: dict[str, Callable[[Results], str]] = {
    "memory_speed": undominated,
    "batch_size": largest_batch,
    "memory": least_memory,
    "memory_anatomy": anatomy,
    "memory_kinds": largest_kind,
    "memory_timeline": moment_of_peak,
    "step_time": fastest,
    "throughput": throughput,
    "epoch_time": shortest_training,
    "perplexity": perplexity,
    "loss": fewest_steps,
    "batch_size_by_length": lambda results: _at_longest(results, largest_batch),
    "throughput_by_length": lambda results: _at_longest(results, throughput),
    "memory_by_length": lambda results: _at_longest(results, least_memory),
}
"""What each figure of the catalog shows, in a sentence; empty where there are no numbers."""


def headline(figure: str, results: Results) -> str:
    """The sentence that stands over a figure."""
    return HEADLINES[figure](results) or "No run came through, so there is nothing to show."
