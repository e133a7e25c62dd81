"""What the numbers say, in sentences; none is fixed, each is computed from the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from vramlab.base.host_load import HostLoad
from vramlab.report import origin, pareto, wording
from vramlab.report.budgets import by_budget
from vramlab.report.catalog import FIGURES, Bars
from vramlab.report.certainty import DISAGREEMENT, Certainty
from vramlab.report.fastest_batch import faster_batch
from vramlab.report.language import mark, say, say_count
from vramlab.report.load import SETTINGS, Results
from vramlab.report.longest_sequence import longest
from vramlab.report.metrics import METRICS, ratio
from vramlab.report.superlatives import (
    batch_of,
    energy,
    equal_batch,
    fastest,
    fewest_steps,
    largest_batch,
    least_memory,
    perplexity,
    shortest_training,
    superlative,
    throughput,
)
from vramlab.report.wording import code, codes, integer, listing, memory, number, percent
from vramlab.results.corpus import CorpusRecord
from vramlab.results.epoch import EpochRecord
from vramlab.results.memory import Memory
from vramlab.results.profile import ProfileRecord
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import MOST_UNKNOWN, TokenizerRecord

BUSY = 1.5
"""Processes that want a core, for each core, above which a machine counts as busy: two jobs of the
pipeline at a time make it one."""
FREE = 0.1
"""Share of the cores that others may use beside a measurement that is not shared."""


def warnings(results: Results) -> list[str]:
    """What makes the numbers doubtful, or not compare."""
    found = [*origin.differences(results), busy_machine(results), contradictions(results)]
    return [text for text in found if text]


def summary(results: Results) -> list[str]:
    """The executive summary: which technique for which need, by how much, how sure."""
    parts = [
        largest_batch(results),
        kernel_bound(results),
        longest(results),
        least_memory(results),
        fastest(results),
        throughput(results),
        fastest_batches(results),
        how_sure_of_speed(results),
        f"{perplexity(results)} {how_sure_of_perplexity(results)}",
        unknown_characters(results),
        held_out(results),
        beyond_the_corpus(results),
        fewest_steps(results),
        energy(results),
        memory_pressure(results),
        retried(results),
        repeatability(results),
        undominated(results),
    ]
    return [part.strip() for part in parts if part.strip()]


def unknown_characters(results: Results) -> str:
    """How much of the validation text the tokenizer does not know, where it matters."""
    for tokenizer in results.records(TokenizerRecord):
        unknown = 1 - tokenizer.coverage["validation"]
        if unknown > MOST_UNKNOWN:
            return say(
                "Of the validation characters, {share} are unknown to the tokenizer, so that "
                "perplexity and bits per byte mean little: the model has to predict only that a "
                "character is unknown, not which one it is.",
                share=percent(unknown, 1),
            )
    return ""


def held_out(results: Results) -> str:
    """That a split holds out another share than it was asked for, where that is so."""
    for corpus in results.records(CorpusRecord):
        share, wanted = corpus.held_out, corpus.held_out_wanted
        if share is not None and wanted is not None and abs(share - wanted) > 0.2 * wanted:
            return say(
                _HELD_OUT[corpus.held_out_by], share=percent(share, 1), wanted=percent(wanted, 1)
            )
    return ""


_HELD_OUT = {
    "documents": mark(
        "For validation {share} of the documents are held out instead of {wanted}: equal "
        "texts stay on one side, and the corpus has many or is small."
    ),
    "bytes": mark(
        "For validation {share} of the bytes are held out instead of {wanted}: a document is "
        "never cut, equal ones stay on one side, and the corpus has long ones or is small."
    ),
}


def beyond_the_corpus(results: Results) -> str:
    """That the corpus has fewer sequences than a step of some techniques takes."""
    for stream in results.records(SequencesRecord):
        count = stream.sequences.get(results.lengths[0], 0)
        if stream.split != "train" or not count:
            continue
        larger = [
            run.technique
            for run in results.runs("own")
            if run.profile and _taken(run.profile) > count
        ]
        if larger:
            return say(
                "The training corpus has only {count} sequences, fewer than the largest batch of "
                "{names}: their profiles repeat sequences, and their epochs have one step each.",
                count=integer(count),
                names=codes(larger),
            )
    return ""


def _taken(profile: ProfileRecord) -> int:
    """Sequences of a profiled step; a run that completed has them."""
    return profile.sequences_per_step or profile.batch_size or 0


def breakdown(results: Results) -> str:
    """What most of the baseline's peak is."""
    memory_ = results.run(results.baseline, "own").memory
    if memory_ is None:
        return ""
    shares = {part: size / memory_.peak.allocated for part, size in peak_parts(memory_).items()}
    part, share = max(shares.items(), key=lambda item: item[1])
    return say(
        "Of the peak of {baseline}, {share} is {part}.",
        baseline=code(results.baseline),
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
        "baseline": code(base.technique),
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
            best=code(best),
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
        baseline=code(results.baseline),
        share=percent(share),
    )


def how_sure_of_speed(results: Results) -> str:
    """How far measurements of the same technique's speed differ, which decides what is certain."""
    certainty = Certainty(results)
    if certainty.deviation is None:
        return say(
            "Each speed was measured once, since the trainings have too few steps to measure it "
            "again: a difference may be chance."
        )
    return say(
        "A technique counts as faster only beyond what measurements of one and the same technique "
        "differ by, in its profile and in its training: {spread} here (standard deviation).",
        spread=percent(math.expm1(certainty.deviation), 1),
    )


def contradictions(results: Results) -> str:
    """Which techniques' profile and training do not agree on their speed."""
    found = dict.fromkeys(run.technique for run, _ in Certainty(results).disagreeing())
    if not found:
        return ""
    return say(
        "Profile and training contradict each other on the speed of {names} by more than {factor}: "
        "something else used the machine in one of the two, so their times say little.",
        names=codes(found),
        factor=wording.ratio(DISAGREEMENT),
    )


def busy_machine(results: Results) -> str:
    """That something else used the processor while something was timed, and whose it was.

    The load average is of a minute, and a measurement may take seconds: where the processor times
    were measured and say that nothing else ran by then, it does not count.
    """
    records: list[ProfileRecord | EpochRecord] = [
        *results.records(ProfileRecord),
        *results.records(EpochRecord),
    ]
    loads = [
        (load.load_average / load.cores, load, record.technique)
        for record in records
        if (load := record.host_load) and load.load_average is not None
    ]
    busy = [found for found in loads if found[0] > BUSY and _shared(found[1])]
    if not busy:
        return ""
    share, worst, technique = max(busy, key=lambda found: found[0])
    text = say(
        "The machine was busy in {busy} of {all} measurements, most while {name} ran: on average "
        "{load} processes wanted its {cores} cores. Times are longer than they need be; what is "
        "claimed of speed is only what exceeds the spread between measurements.",
        busy=integer(len(busy)),
        all=integer(len(loads)),
        name=code(technique),
        load=number(share * worst.cores, 2),
        cores=integer(worst.cores),
    )
    return f"{text} {_whose(worst)}".strip()


def _beside(load: HostLoad) -> tuple[float, float] | None:
    """Cores that other jobs of the run and that programs outside it used; None if not known."""
    if load.run_seconds is None or load.other_seconds is None or not load.wall_seconds:
        return None
    jobs = max(load.run_seconds - load.cpu_seconds, 0.0)
    return jobs / load.wall_seconds, load.other_seconds / load.wall_seconds


def _shared(load: HostLoad) -> bool:
    """Whether something else used the processor too; taken for so where that is not known."""
    beside = _beside(load)
    return beside is None or sum(beside) > FREE * load.cores


def _whose(load: HostLoad) -> str:
    """Whether it was this run's own jobs, which can be kept apart, or something else."""
    beside = _beside(load)
    if beside is None:
        return ""
    jobs, others = beside
    values = {"jobs": number(jobs, 2), "others": number(others, 2)}
    if jobs > others:
        return say(
            "Beside it, other jobs of this run used {jobs} cores, and programs outside it "
            "{others}: `--cores 1` keeps the jobs apart.",
            **values,
        )
    return say(
        "Beside it, programs outside this run used {others} cores, and other jobs of it {jobs}.",
        **values,
    )


def how_sure_of_perplexity(results: Results) -> str:
    """How far perplexities differ by the seed alone."""
    metric = METRICS["perplexity"]
    runs = [run for run in results.runs("equal") if run.completed]
    if not runs:
        return ""
    deviations = [sd for run in runs if (sd := metric.spread(run)) is not None]
    if not deviations:
        return say("There is one seed only, so a small difference may be chance.")
    return say(
        "Between seeds it varies with a standard deviation of up to {deviation}; a smaller "
        "difference may be chance.",
        deviation=number(max(deviations)),
    )


def memory_pressure(results: Results) -> str:
    """Which runs were slowed because the allocator had to give blocks back within each step."""
    slowed = [
        part
        for part in _profiles_at_all_lengths(results)
        if part.allocator_retries and part.allocator_retries >= len(part.step_seconds)
    ]
    if not slowed:
        return ""
    return say(
        "So little memory was free that, in each step of {runs}, torch's allocator gave blocks "
        "back and took them anew, for which the GPU waits: a somewhat smaller batch may be faster "
        "for each token.",
        runs=_with_batches(slowed),
    )


def kernel_bound(results: Results) -> str:
    """Which largest batches a CUDA kernel ends, and not memory."""
    bound = {s.technique: None for s in results.searches.values() if s.bounded_by == "kernel"}
    if not bound:
        return ""
    return say(
        "The largest batch of {names} is the largest that a CUDA kernel takes, not the largest "
        "that fits into memory.",
        names=codes(bound),
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
        names=codes(varying),
    )


def _with_batches(parts: Sequence[ProfileRecord | EpochRecord]) -> str:
    """The techniques and batches of profiles and epochs, each once."""
    named = [
        say("{name} (batch {count})", name=code(part.technique), count=integer(part.batch_size))
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
            name=code(best[0]),
        )
    if len(best) == 1:
        return say(
            "At {batch} no other technique that trains as good a model needs less memory, or is "
            "faster for certain, than {name}.",
            batch=equal_batch(results),
            name=code(best[0]),
        )
    if len(best) == len(points):
        return say(
            "At {batch} each technique needs less memory, or is faster for certain, than any "
            "other.",
            batch=equal_batch(results),
        )
    beaten = mark(
        "At {batch} only {names} are worth weighing: every other technique needs no less memory "
        "than one of them and is not faster for certain."
    )
    or_worse = mark(
        "At {batch} only {names} are worth weighing: every other technique needs no less memory "
        "than one of them and is not faster for certain, or trains a worse model."
    )
    text = beaten if all(point.as_good for point in points) else or_worse
    return say(text, batch=equal_batch(results), names=codes(best))


def not_run(results: Results) -> list[str]:
    """The techniques that gave no numbers, grouped by what happened and why."""
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for setting in ("equal", "own"):
        for run in results.runs(setting):
            if run.status != "ok":
                alike = run.status == "skipped" or run.technique == results.baseline
                what = wording.status(run.status)
                if not alike:
                    what = say("{what} at {batch}", what=what, batch=batch_of(run, results))
                groups.setdefault((what, run.reason), {})[run.technique] = None
    return [
        say("{names}: {what}: {why}.", names=codes(names), what=what, why=why.rstrip("."))
        for (what, why), names in groups.items()
    ]


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


def fastest_batches(results: Results) -> str:
    """Which techniques are faster at a smaller batch than their largest."""
    if not any(record.speeds for record in results.batch_speeds.values()):
        return ""
    certainty = Certainty(results)
    found = {name: faster_batch(results, name, certainty) for name in results.techniques}
    parts = [
        say(
            "{name} at a batch of {size}, not {largest} ({times})",
            name=code(name),
            size=integer(faster.batch_size),
            largest=integer(faster.largest),
            times=wording.ratio(faster.ratio),
        )
        for name, faster in found.items()
        if faster
    ]
    if not parts:
        return say("No technique is faster for certain at a smaller batch than its largest.")
    return say("For certain faster at a smaller batch: {batches}.", batches=listing(parts))


def budgets(results: Results) -> str:
    """What the middle budget takes, beside all kept."""
    peak, time = METRICS["peak_mib"], METRICS["step_ms"]
    sentences = []
    for runs in by_budget(results).values():
        budget, middle = min(runs, key=lambda pair: abs(pair[0] - 0.5))
        _, most = runs[-1]
        memory, all_memory = peak.value(middle), peak.value(most)
        slower = ratio(time.value(middle), time.value(most))
        if memory is None or all_memory is None or slower is None or middle is most:
            continue
        sentences.append(
            say(
                "{name}, with a budget of {budget}, peaks at {memory} instead of {most}, in "
                "{times} the time of a step.",
                name=code(middle.technique),
                budget=wording.number(budget, 2),
                memory=peak.text(memory),
                most=peak.text(all_memory),
                times=wording.ratio(slower),
            )
        )
    return " ".join(sentences)


HEADLINES: dict[str, Callable[[Results], str]] = {
    "memory_speed": undominated,
    "batch_size": largest_batch,
    "memory": least_memory,
    "memory_breakdown": breakdown,
    "memory_kinds": largest_kind,
    "memory_timeline": moment_of_peak,
    "step_time": fastest,
    "throughput": throughput,
    "batch_speed": fastest_batches,
    "activation_budget": budgets,
    "epoch_time": shortest_training,
    "perplexity": perplexity,
    "loss": fewest_steps,
    "batch_size_by_length": lambda results: _at_longest(results, largest_batch),
    "throughput_by_length": lambda results: _at_longest(results, throughput),
    "memory_by_length": lambda results: _at_longest(results, least_memory),
}
"""What a figure shows, in a sentence of its own; empty where there are no numbers."""


def headline(figure: str, results: Results) -> str:
    """The sentence that stands over a figure: its own, or which technique is best at its metric."""
    sentence = HEADLINES.get(figure) or superlative(_METRIC_OF[figure])
    return sentence(results) or say("No run completed, so there is nothing to show.")


_METRIC_OF = {e.name: e.drawing.metrics[-1] for e in FIGURES if isinstance(e.drawing, Bars)}
"""The metric whose values a figure of bars writes."""
