"""What the numbers say, in sentences; none is fixed, each is computed from the results."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from vramlab.report import pareto, wording
from vramlab.report.language import mark, say, say_count
from vramlab.report.load import SETTINGS, Results, Run
from vramlab.report.wording import integer, listing, memory, number, percent, ratio, short
from vramlab.results.epoch import EpochRecord
from vramlab.results.memory import Memory
from vramlab.results.profile import ProfileRecord

Value = Callable[[Run], float | None]


def summary(results: Results) -> list[str]:
    """The executive summary: which technique for which need, by how much, how sure."""
    parts = [
        largest_batch(results),
        least_memory(results),
        f"{fastest(results)} {how_sure_of_speed(results)}",
        f"{throughput(results)} {how_sure_of_throughput(results)}",
        f"{perplexity(results)} {how_sure_of_perplexity(results)}",
        fewest_steps(results),
        energy(results),
        scarcity(results),
        retried(results),
        repeatability(results),
        undominated(results),
    ]
    return [part.strip() for part in parts if part.strip()]


def largest_batch(results: Results, length: int | None = None) -> str:
    """Which technique fits the largest batch."""
    runs = results.runs("own", length)
    found = {r.technique: r.search.max_batch_size for r in runs if r.search.max_batch_size}
    if not found:
        return say("No technique fits a batch of one sequence.")
    largest = max(found.values())
    best = [name for name, size in found.items() if size == largest]
    size = say_count("{count} sequence", "{count} sequences", largest)
    if any(r.search.bounded_by == "configuration" for r in runs if r.technique in best):
        size = say("at least {size}", size=size)
    baseline = _name(results.baseline)
    if results.baseline in best:
        others = [name for name in best if name != results.baseline]
        if not others:
            return say(
                "No technique fits more than {baseline}: {size}.", baseline=baseline, size=size
            )
        return say_count(
            "No technique fits more than {baseline}: {size} ({others} fits as much).",
            "No technique fits more than {baseline}: {size} ({others} fit as much).",
            len(others),
            baseline=baseline,
            size=size,
            others=_names(others),
        )
    base = found.get(results.baseline)
    if base is None:
        return say_count(
            "{names} fits the largest batch: {size}.",
            "{names} fit the largest batch: {size}.",
            len(best),
            names=_names(best),
            size=size,
        )
    return say_count(
        "{names} fits the largest batch: {size}, {times} the {base} of {baseline}.",
        "{names} fit the largest batch: {size}, {times} the {base} of {baseline}.",
        len(best),
        names=_names(best),
        size=size,
        times=ratio(largest / base),
        base=integer(base),
        baseline=baseline,
    )


def least_memory(results: Results, length: int | None = None) -> str:
    """Which technique needs the least memory at the baseline's batch."""
    runs = _measured(results.runs("equal", length), lambda run: run.peak)
    if not runs:
        return ""
    best, low = min(runs, key=lambda pair: pair[1])
    values = {
        "batch": _equal_batch(results, length),
        "name": _name(best.technique),
        "low": memory(low),
    }
    base = results.run(results.baseline, "own", length).peak
    if base and best.technique != results.baseline:
        return say(
            "At {batch}, {name} peaks lowest: {low}, {share} of the {base} of {baseline}.",
            **values,
            share=percent(low / base),
            base=memory(base),
            baseline=_name(results.baseline),
        )
    return say("At {batch}, {name} peaks lowest: {low}.", **values)


def anatomy(results: Results) -> str:
    """What most of the baseline's peak is."""
    memory_ = results.run(results.baseline, "own").memory
    if memory_ is None:
        return ""
    shares = {part: size / memory_.peak.allocated for part, size in peak_parts(memory_).items()}
    part, share = max(shares.items(), key=lambda item: item[1])
    return say(
        "Of the peak of {baseline}, {share} is {part}.",
        baseline=_name(results.baseline),
        share=percent(share),
        part=say(part),
    )


def peak_parts(memory: Memory) -> dict[str, int]:
    """The bytes at the peak, split at the moments of the step; they add up to the peak.

    By their names in English.
    """
    before, forward = memory.before.allocated, memory.after_forward.allocated
    return {
        mark("model and optimizer state"): before,
        mark("what the forward pass keeps for the backward pass"): max(0, forward - before),
        mark("what comes on top while computing"): memory.peak.allocated - max(before, forward),
    }


def largest_kind(results: Results) -> str:
    """What holds most of the baseline's peak, and what is left of that where it is least."""
    runs = [run for run in results.runs("equal") if run.memory and run.memory.by_kind]
    base = next((run for run in runs if run.technique == results.baseline), None)
    if base is None or base.memory is None:
        return ""
    kinds = base.memory.by_kind
    kind = max(kinds, key=lambda name: kinds[name])
    values = {
        "baseline": _name(base.technique),
        "share": percent(kinds[kind] / sum(kinds.values())),
        "kind": wording.kind(kind),
        "size": memory(kinds[kind]),
    }
    sizes = {run.technique: run.memory.by_kind[kind] for run in runs if run.memory}
    best = min(sizes, key=lambda name: sizes[name])
    if best != base.technique:
        return say(
            "At the peak of {baseline}, {share} is {kind}: {size}; at that of {best}, with the "
            "same batch, it is {least}.",
            **values,
            best=_name(best),
            least=memory(sizes[best]),
        )
    return say("At the peak of {baseline}, {share} is {kind}: {size}.", **values)


def moment_of_peak(results: Results) -> str:
    """How far the baseline's step is when it needs most."""
    memory_ = results.run(results.baseline, "own").memory
    if memory_ is None or not memory_.timeline:
        return ""
    peak = max(memory_.timeline, key=lambda moment: sum(moment.by_kind.values()))
    share = peak.operation / max(1, memory_.timeline[-1].operation)
    return say(
        "{baseline} needs most after {share} of a step's operations.",
        baseline=_name(results.baseline),
        share=percent(share),
    )


def fastest(results: Results) -> str:
    """Which technique has the shortest step at the baseline's batch."""
    runs = _by_speed(results)
    if not runs:
        return ""
    best, quick = runs[0]
    values = {
        "batch": _equal_batch(results),
        "name": _name(best.technique),
        "ms": number(quick),
        "samples": len(best.step_ms),
    }
    base = results.run(results.baseline, "own").step_median_ms
    if base and best.technique != results.baseline:
        return say(
            "At {batch}, {name} is the fastest: {ms} ms a step (median of {samples}), {times} as "
            "fast as {baseline}.",
            **values,
            times=ratio(base / quick),
            baseline=_name(results.baseline),
        )
    return say("At {batch}, {name} is the fastest: {ms} ms a step (median of {samples}).", **values)


def how_sure_of_speed(results: Results) -> str:
    """How clearly the fastest technique leads the next one: its steps, and its whole training."""
    runs = _by_speed(results)
    if len(runs) < 2:
        return ""
    (best, _), (second, slower) = runs[:2]
    lead = _lead(best, second, say("{ms} ms", ms=number(slower)))
    times = [run.train_seconds for run in (best, second)]
    if not all(times) or statistics.fmean(times[0]) <= statistics.fmean(times[1]):
        return lead
    against = say(
        "The whole training says otherwise: {seconds} s against {other} s of {second}.",
        seconds=number(statistics.fmean(times[0])),
        other=number(statistics.fmean(times[1])),
        second=_name(second.technique),
    )
    return f"{lead} {against}"


def _lead(best: Run, second: Run, value: str) -> str:
    """How clearly one run is faster than another, for each token of their timed steps."""
    pair = [[ms / (run.step_tokens or 1) for ms in run.step_ms] for run in (best, second)]
    share = superiority(*pair)
    return say(
        "Its lead over the next, {second} ({value}), is {certainty} in these runs: it wins {share} "
        "of the pairs of their timed steps.",
        second=_name(second.technique),
        value=value,
        certainty=_certainty(share),
        share=percent(share),
    )


def throughput(results: Results, length: int | None = None) -> str:
    """Which technique is the fastest at its own largest batch."""
    runs = _measured(results.runs("own", length), lambda run: run.tokens_per_second)
    if not runs:
        return ""
    best, speed = max(runs, key=lambda pair: pair[1])
    values = {"name": _name(best.technique), "speed": short(speed)}
    base = results.run(results.baseline, "own", length).tokens_per_second
    if base and best.technique != results.baseline:
        return say(
            "With each technique at its own largest batch, {name} processes the most tokens: "
            "{speed} a second, {times} as many as {baseline}.",
            **values,
            times=ratio(speed / base),
            baseline=_name(results.baseline),
        )
    return say(
        "With each technique at its own largest batch, {name} processes the most tokens: "
        "{speed} a second.",
        **values,
    )


def how_sure_of_throughput(results: Results) -> str:
    """How clearly the technique with the most tokens a second leads the next one."""
    runs = _measured(results.runs("own"), lambda run: run.tokens_per_second)
    if len(runs) < 2:
        return ""
    (best, _), (second, speed) = sorted(runs, key=lambda pair: -pair[1])[:2]
    return _lead(best, second, say("{speed} a second", speed=short(speed)))


def shortest_training(results: Results) -> str:
    """Which technique goes through the training corpus in the least time."""
    runs = [run for setting in SETTINGS for run in results.runs(setting) if run.came_through]
    if not runs:
        return ""
    best = min(runs, key=lambda run: statistics.fmean(run.train_seconds))
    values = {
        "name": _name(best.technique),
        "seconds": number(statistics.fmean(best.train_seconds)),
    }
    base = results.run(results.baseline, "own")
    if base.came_through and best.technique != results.baseline:
        return say(
            "{name} trains in the least time: {seconds} s at {batch}; {baseline} takes {slower} s.",
            **values,
            batch=_where(best, results),
            baseline=_name(results.baseline),
            slower=number(statistics.fmean(base.train_seconds)),
        )
    return say("{name} trains in the least time: {seconds} s.", **values)


def perplexity(results: Results) -> str:
    """Which technique has the lowest perplexity at the baseline's batch."""
    runs = [run for run in results.runs("equal") if run.came_through]
    if not runs:
        return ""
    best = min(runs, key=lambda run: statistics.fmean(run.perplexities))
    lowest = number(statistics.fmean(best.perplexities), 4)
    values = {
        "where": _steps_of(best, results),
        "name": _name(best.technique),
        "lowest": lowest,
        "baseline": _name(results.baseline),
    }
    base = results.run(results.baseline, "own")
    if not base.came_through or best.technique == results.baseline:
        return say("Trained {where}, {name} has the lowest perplexity: {lowest}.", **values)
    other = number(statistics.fmean(base.perplexities), 4)
    if other == lowest:
        return say(
            "Trained {where}, {name} has the lowest perplexity: {lowest}, the same to these digits "
            "as {baseline}.",
            **values,
        )
    return say(
        "Trained {where}, {name} has the lowest perplexity: {lowest}, against {other} of "
        "{baseline}.",
        **values,
        other=other,
    )


def how_sure_of_perplexity(results: Results) -> str:
    """How far perplexities differ by the seed alone."""
    runs = [run.perplexities for run in results.runs("equal") if run.came_through]
    if not runs:
        return ""
    deviations = [statistics.stdev(values) for values in runs if len(values) > 1]
    if not deviations:
        return say("There is one seed only, so a small difference may be chance.")
    return say(
        "Between seeds it varies with a standard deviation of up to {deviation}; a smaller "
        "difference may be chance.",
        deviation=number(max(deviations)),
    )


def fewest_steps(results: Results) -> str:
    """How many optimizer steps a larger batch leaves, which is what its perplexity pays for."""
    runs = [run for run in results.runs("own") if run.came_through]
    steps = {run.technique: run.trained[0].steps for run in runs}
    base = steps.get(results.baseline)
    if base is None:
        return ""
    fewest = min(steps, key=lambda name: steps[name])
    if steps[fewest] == base:
        return ""
    perplexities = [
        statistics.fmean(results.run(name, "own").perplexities)
        for name in (fewest, results.baseline)
    ]
    values = {
        "name": _name(fewest),
        "steps": say_count("{count} step", "{count} steps", steps[fewest]),
        "baseline": _name(results.baseline),
        "base": integer(base),
    }
    return say(
        "At its own largest batch, {name} trains in {steps}, {baseline} in {base}; perplexity "
        "{perplexity} against {other}.",
        **values,
        perplexity=number(perplexities[0], 4),
        other=number(perplexities[1], 4),
    )


def energy(results: Results) -> str:
    """Which technique needs the least energy for a token, where the device reports it."""
    runs = _measured(results.runs("own"), lambda run: run.microjoules_per_token)
    if not runs:
        return ""
    best, least = min(runs, key=lambda pair: pair[1])
    return say(
        "At its own largest batch, {name} needs the least energy: {energy} µJ for a training "
        "token.",
        name=_name(best.technique),
        energy=number(least),
    )


def scarcity(results: Results) -> str:
    """Which runs were slowed because the allocator had to give blocks back within each step."""
    slowed = [
        part
        for part in _profiles_at_all_lengths(results)
        if part.allocator_retries and part.allocator_retries >= len(part.step_seconds)
    ]
    if not slowed:
        return ""
    return say(
        "So little memory was spare that, in each step of {runs}, torch's allocator gave blocks "
        "back and took them anew, for which the GPU waits: a somewhat smaller batch may be faster "
        "for each token.",
        runs=_with_batches(slowed),
    )


def retried(results: Results) -> str:
    """Which runs took steps again that had run out of memory."""
    epochs = [e for setting in SETTINGS for run in results.runs(setting) for e in run.epochs]
    parts: list[ProfileRecord | EpochRecord] = [*_profiles_at_all_lengths(results), *epochs]
    short = [part for part in parts if part.retried_steps]
    if not short:
        return ""
    return say(
        "Steps of {runs} ran out of memory and were taken again from an empty allocator, which "
        "changes no number but time: a run this close to the limit may fail where this one did "
        "not.",
        runs=_with_batches(short),
    )


def repeatability(results: Results) -> str:
    """Which techniques do not compute the same bits from the same seed, and why that is."""
    known = [p for p in _profiles_at_all_lengths(results) if p.repeatable is not None]
    if not known:
        return ""
    varying = dict.fromkeys(profile.technique for profile in known if not profile.repeatable)
    if not varying:
        return say(
            "Every technique that ran repeats bit for bit from the same seed on this device."
        )
    return say_count(
        "From the same seed, {names} does not repeat bit for bit in every run: a kernel adds in "
        "the order in which its threads happen to come, or memory was so short that a library took "
        "another algorithm. All others that ran repeat.",
        "From the same seed, {names} do not repeat bit for bit in every run: a kernel adds in "
        "the order in which its threads happen to come, or memory was so short that a library took "
        "another algorithm. All others that ran repeat.",
        len(varying),
        names=_names(varying),
    )


def _with_batches(parts: Sequence[ProfileRecord | EpochRecord]) -> str:
    """The techniques and batches of profiles and epochs, each once."""
    named = [
        say("{name} (batch {count})", name=_name(part.technique), count=integer(part.batch_size))
        for part in parts
        if part.batch_size
    ]
    return listing(dict.fromkeys(named))


def _profiles_at_all_lengths(results: Results) -> list[ProfileRecord]:
    return [
        run.profile
        for length in results.lengths
        for setting in SETTINGS
        for run in results.runs(setting, length)
    ]


def undominated(results: Results) -> str:
    """The front of the figure: those that none beats in both memory and speed."""
    points = pareto.points(results, "equal")
    front = {point.run.technique for point in pareto.front(points)}
    best = [p.run.technique for p in points if p.run.technique in front]
    if not best:
        return say("No technique trained a model to its end.") if points else ""
    if len(points) == 1:
        return say(
            "Only {name} was measured, so there is nothing to weigh it against.",
            name=_name(best[0]),
        )
    if len(best) == 1:
        return say(
            "At {batch} no other technique that trains as good a model needs less memory or steps "
            "faster than {name}.",
            batch=_equal_batch(results),
            name=_name(best[0]),
        )
    if len(best) == len(points):
        return say(
            "At {batch} no technique is beaten in both memory and step time by another.",
            batch=_equal_batch(results),
        )
    beaten = mark(
        "At {batch} only {names} are worth weighing: every other technique needs no less memory "
        "and makes no faster step than one of them."
    )
    or_worse = mark(
        "At {batch} only {names} are worth weighing: every other technique needs no less memory "
        "and makes no faster step than one of them, or trains a worse model."
    )
    text = beaten if all(point.as_good for point in points) else or_worse
    return say(text, batch=_equal_batch(results), names=_names(best))


def not_run(results: Results) -> list[str]:
    """The techniques that gave no numbers, grouped by what happened and why."""
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for setting in ("equal", "own"):
        for run in results.runs(setting):
            if run.status != "ok":
                alike = run.status == "skipped" or run.technique == results.baseline
                what = wording.status(run.status)
                if not alike:
                    what = say("{what} at {batch}", what=what, batch=_where(run, results))
                groups.setdefault((what, run.reason), {})[run.technique] = None
    return [
        say("{names}: {what}: {why}.", names=_names(names), what=what, why=why.rstrip("."))
        for (what, why), names in groups.items()
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
        return say("clear")
    return say("likely") if share >= 0.75 else say("not certain")


def _by_speed(results: Results) -> list[tuple[Run, float]]:
    runs = _measured(results.runs("equal"), lambda run: run.step_median_ms)
    return sorted(runs, key=lambda pair: pair[1])


def _measured(runs: Sequence[Run], value: Value) -> list[tuple[Run, float]]:
    pairs = ((run, value(run)) for run in runs)
    return [(run, number) for run, number in pairs if number is not None]


def _equal_batch(results: Results, length: int | None = None) -> str:
    size = results.max_batch_size(results.baseline, length)
    baseline = _name(results.baseline)
    if not size:
        return say("the batch of {baseline}", baseline=baseline)
    return say("the batch of {baseline} ({size})", baseline=baseline, size=integer(size))


def _steps_of(run: Run, results: Results) -> str:
    """How many sequences an optimizer step took."""
    step = run.trained[0].sequences_per_step
    if step in {None, run.batch_size}:
        return say("at {batch}", batch=_equal_batch(results))
    return say_count("in steps of {count} sequence", "in steps of {count} sequences", step or 0)


def _where(run: Run, results: Results) -> str:
    return _equal_batch(results) if run.setting == "equal" else say("its own largest batch")


def _name(technique: str) -> str:
    return f"`{technique}`"


def _names(techniques: Sequence[str] | dict[str, None]) -> str:
    return listing(map(_name, techniques))


def _at_longest(results: Results, sentence: Callable[[Results, int], str]) -> str:
    longest = results.lengths[-1]
    text = sentence(results, longest)
    if not text:
        return ""
    return say(
        "At {length} tokens, {sentence}",
        length=integer(longest),
        sentence=text[0].lower() + text[1:],
    )


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
    return HEADLINES[figure](results) or say("No run came through, so there is nothing to show.")
