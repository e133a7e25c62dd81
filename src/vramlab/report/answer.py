"""The answer that the report begins with: which technique to take, and what each costs."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, replace

from vramlab.report import discussion, pareto, wording
from vramlab.report.certainty import Certainty
from vramlab.report.choice import entry
from vramlab.report.fastest_batch import faster_batch
from vramlab.report.language import say, say_count
from vramlab.report.load import Results, Run
from vramlab.report.markup import plain
from vramlab.report.metrics import METRICS, ratio
from vramlab.report.superlatives import batch_of
from vramlab.report.wording import code, codes, integer, listing, memory, percent

_NARROW = 1.05
"""Times that the ends of a range are apart below which it is not told."""
_WIDE = 1.5
"""Times that they are apart above which the range does not say that two speeds are alike."""
_COLUMNS = 98
"""Width of the answer in a terminal."""


@dataclass(frozen=True)
class Answer:
    """What to take for one need, in a sentence."""

    text: str
    entry: str = ""
    """The technique as an entry of a configuration; empty where none is recommended."""
    technique: str | None = None
    """Its name; None where none is recommended."""


@dataclass(frozen=True)
class _Facts:
    """What the sentences are made of."""

    results: Results
    advice: pareto.Advice
    certainty: Certainty

    @property
    def baseline(self) -> str:
        return code(self.results.baseline)


def conditions(results: Results) -> str:
    """On which device, with how much memory, at which length the answers hold.

    It is the first line of the page and of the terminal: where no GPU was measured, it says so.
    """
    devices = {
        device.name: device.kind
        for record in results.searches.values()
        if (device := record.provenance.device)
    }
    limits = {search.memory_limit for search in results.searches.values()}
    if not devices or not limits:
        return ""
    values = {
        "device": listing(devices),
        "memory": listing(map(memory, sorted(limits))),
        "length": integer(results.length),
    }
    if "cpu" in devices.values():
        return say(
            "Measured on a CPU ({device}), which is no answer for a GPU, with {memory} allowed, at "
            "{length} tokens:",
            **values,
        )
    return say("Measured on {device} with {memory} allowed, at {length} tokens:", **values)


def answers(results: Results) -> list[Answer]:
    """What to take for memory, for speed and between them, with what each costs."""
    return _answers(results) or [
        Answer(say("No technique gave numbers to choose by; see “Not run” below."))
    ]


def _answers(results: Results) -> list[Answer]:
    """The same; none where there is no technique to take."""
    advice = pareto.recommended(results)
    if advice.run("memory") is None and advice.run("speed") is None:
        return []
    facts = _Facts(results, advice, Certainty(results))
    parts = [sentence(facts) for sentence in (_memory, _speed, _balance)]
    return [_with_fastest_batch(part, facts) for part in parts if part is not None]


def in_terminal(results: Results) -> str:
    """The answers as plain text, with the entries, and why techniques gave no numbers."""
    lines = [conditions(results)]
    found = _answers(results)
    for answer in found:
        lines += textwrap.wrap(plain(answer.text), _COLUMNS)
        lines += [f"    {answer.entry}"] if answer.entry else []
    if not found:
        lines.append(say("No technique gave numbers to choose by."))
    if failures := discussion.not_run(results):
        lines.append(say("Not run, or not to the end:"))
        for failure in failures:
            lines += textwrap.wrap(
                plain(failure), _COLUMNS, initial_indent="  ", subsequent_indent="    "
            )
    return "\n".join(line for line in lines if line) + "\n"


def _with_fastest_batch(answer: Answer, facts: _Facts) -> Answer:
    """The answer with the batch to take, where a smaller one than the largest is faster."""
    if answer.technique is None:
        return answer
    faster = faster_batch(facts.results, answer.technique, facts.certainty)
    if faster is None:
        return answer
    text = say(
        "Take a batch of {size}, not {largest}: {times} as fast.",
        size=integer(faster.batch_size),
        largest=integer(faster.largest),
        times=_range(faster.ratio, *faster.range),
    )
    return replace(answer, text=f"{answer.text} {text}")


def _memory(facts: _Facts) -> Answer | None:
    run = facts.advice.run("memory")
    if run is None:
        return None
    if len(facts.results.measured(facts.results.length)) == 1:
        return Answer(
            say(
                "Only {name} was measured: there is no other to compare it with.",
                name=facts.baseline,
            )
        )
    if run.technique == facts.results.baseline:
        return Answer(
            say(
                "No technique that trains as good a model fits a larger batch than {baseline}.",
                baseline=facts.baseline,
            )
        )
    also = facts.advice.run("speed")
    if also is not None and also.technique == run.technique:
        template = say(
            "Take {name}, for memory as for speed: {batch}; at the same batch {time}, {quality}."
        )
    else:
        template = say("Take {name}: {batch}; at the same batch {time}, {quality}.")
    return Answer(_filled(template, run, facts), entry(run), run.technique)


def _speed(facts: _Facts) -> Answer | None:
    run = facts.advice.run("speed")
    if "speed" in facts.advice.withheld:
        return Answer(_no_fastest(facts))
    if run is None or _same(facts, "memory", "speed"):
        return None
    tied = next(r.tied for r in facts.advice.found if r.need == "speed")
    if run.technique == facts.results.baseline:
        return Answer(
            say("For speed {name} itself: all others are slower.", name=facts.baseline),
            entry(run),
            run.technique,
        )
    base = facts.results.run(facts.results.baseline, "equal")
    found = facts.certainty.compare(run, base)
    assert found is not None  # it is recommended only where it is faster for certain
    text = say(
        "For speed {name}: {times} the tokens a second of {baseline}, at {where}; {batch}; at the "
        "same batch {quality}.",
        name=code(run.technique),
        times=_range(found.ratio, *found.range),
        baseline=facts.baseline,
        where=batch_of(run, facts.results),
        batch=_batch(run, facts),
        quality=_quality(run, facts),
    )
    if tied:
        names = codes(tied_run.technique for tied_run in tied)
        text += " " + say("Perhaps as fast, by these measurements: {names}.", names=names)
    return Answer(text, entry(run), run.technique)


def _balance(facts: _Facts) -> Answer | None:
    run = facts.advice.run("balance")
    if run is None:
        return None
    if any(_same(facts, "balance", need) for need in ("memory", "speed")):
        return None
    template = say("Between the two {name}: {batch}; at the same batch {time}, {quality}.")
    return Answer(_filled(template, run, facts), entry(run), run.technique)


def _same(facts: _Facts, need: str, other: str) -> bool:
    runs = facts.advice.run(need), facts.advice.run(other)
    return None not in runs and len({run.technique for run in runs if run}) == 1


def _filled(template: str, run: Run, facts: _Facts) -> str:
    return template.format(
        name=code(run.technique),
        batch=_batch(run, facts),
        time=_time(run, facts),
        quality=_quality(run, facts),
    )


def _no_fastest(facts: _Facts) -> str:
    deviation = facts.certainty.deviation
    if deviation is None:
        return say(
            "For speed: not known. Each technique's speed was measured once, since a training has "
            "too few steps to measure it again."
        )
    return say(
        "For speed: no technique is faster than {baseline} for certain. The speed of one and the "
        "same technique differs by {spread} from measurement to measurement here.",
        baseline=facts.baseline,
        spread=percent(math.expm1(deviation)),
    )


def _batch(run: Run, facts: _Facts) -> str:
    """How many times the batch of the baseline fits."""
    size, base = (
        facts.results.max_batch_size(name) for name in (run.technique, facts.results.baseline)
    )
    times = ratio(size, base)
    if times is None or size is None or base is None:
        return say_count(
            "a batch of {count} sequence", "a batch of {count} sequences", int(size or 0)
        )
    if size == base:
        return say("the same largest batch ({size})", size=integer(size))
    return say(
        "{times} the batch ({size} sequences instead of {base})",
        times=wording.ratio(times),
        size=integer(size),
        base=integer(base),
    )


def _time(run: Run, facts: _Facts) -> str:
    """What a step of the same batch takes, in times of the baseline's."""
    runs = (facts.results.run(name, "equal") for name in (run.technique, facts.results.baseline))
    found = facts.certainty.compare(*runs)
    if found is None:
        return say("a step of unknown time")
    if found.error is None:
        return say(
            "{times} the time of a step, measured once", times=wording.ratio(1 / found.ratio)
        )
    low, high = (1 / value for value in reversed(found.range))
    if not found.certain:
        values = {"low": wording.number(low, 2), "high": wording.ratio(float(f"{high:.2g}"))}
        if high > _WIDE * low:
            return say("the time of a step not certain here ({low} to {high})", **values)
        return say("about the same time of a step ({low} to {high})", **values)
    return say("{times} the time of a step", times=_range(1 / found.ratio, low, high))


def _range(value: float, low: float, high: float) -> str:
    """A ratio, and between what it lies where that is not narrow: 2.0× (1.9 to 2.1).

    An end that differs from 1 is not rounded to 1, which would say that it may be alike.
    """
    if high < _NARROW * low:
        return wording.ratio(value)
    digits = 3 if wording.number(1, 2) in {wording.number(v, 2) for v in (low, high)} else 2
    texts = [wording.number(v, digits) for v in (value, low, high)]
    return say("{value}× ({low} to {high})", value=texts[0], low=texts[1], high=texts[2])


def _quality(run: Run, facts: _Facts) -> str:
    """How good a model it trains at the same batch, beside the baseline's."""
    metric = METRICS["perplexity"]
    base = facts.results.run(facts.results.baseline, "equal")
    own, other = metric.value(facts.results.run(run.technique, "equal")), metric.value(base)
    if own is None or other is None:
        return say("its perplexity is not known")
    change = own / other - 1
    values = {"own": metric.text(own), "base": metric.text(other)}
    if change < -pareto.TOLERANCE:
        return say("a lower perplexity ({own} against {base})", **values)
    return say(
        "perplexity unchanged within {tolerance} ({own} against {base})",
        tolerance=percent(pareto.TOLERANCE),
        **values,
    )
