"""The figures: one function each, from the results to a drawing."""

from __future__ import annotations

import itertools
import statistics
import textwrap
from collections.abc import Callable, Iterator

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from vramlab.config.technique import Setting
from vramlab.report import chart, pareto, wording
from vramlab.report.discussion import headline, peak_parts
from vramlab.report.language import mark, say, say_count
from vramlab.report.load import SETTINGS, Results, Run
from vramlab.results.epoch import EpochRecord
from vramlab.results.memory import KINDS

SETTING_WORDS: dict[Setting, str] = {
    "equal": mark("at the largest batch of the baseline"),
    "own": mark("at each technique's own largest batch"),
}
UNKNOWN_KIND = mark("not told apart (compiled)")
PARTS = (*KINDS, UNKNOWN_KIND)
"""What the peak is told apart into, in the order of their colours."""
ANATOMY = (0, 4, 5)
"""The places of the three parts of the anatomy among the colours of parts."""
Draw = Callable[[Axes, list[Run]], None]


def memory_speed(results: Results) -> Figure:
    """Peak memory over throughput, one point for each technique and batch setting; the front."""
    # A narrow one has as many names to place on half the width.
    height = 5.4 + (0.6 if chart.narrow() else 0.25) * min(len(results.techniques), 12)
    figure, panels = chart.panels(headline("memory_speed", results), 2, height, columns=1)
    fill, shapes = chart.colours(results), chart.markers(results)
    labels = []
    for axes, setting in zip(panels, SETTINGS, strict=True):
        found = pareto.points(results, setting)
        left_out = _left_out(results, {point.run.technique for point in found})
        chart.title(axes, _batch_of(results, setting) + left_out)
        chart.x_label(axes, say("throughput (tokens/s; further right is faster)"))
        if setting == "equal":
            unit, name = wording.memory_unit(max((p.run.peak or 0 for p in found), default=0))
            sizes = {p.run.technique: (p.run.peak or 0) / unit for p in found}
            chart.y_label(axes, say("peak memory ({unit})", unit=name))
        else:  # each fills the same limit: what differs is how many tokens share it
            sizes = {p.run.technique: p.bytes_per_token / 2**10 for p in found}
            chart.y_label(axes, say("peak memory for a token ({unit})", unit="KiB"))
        if not found:
            chart.blank(axes)
            continue
        places = [(p.tokens_per_second, sizes[p.run.technique]) for p in found]
        for point, (speed, size) in zip(found, places, strict=True):
            name = point.run.technique
            colour = chart.theme().muted if point.dominated else fill[name]
            inside = colour if point.as_good else "none"
            axes.scatter(
                *(speed, size), s=60, facecolors=inside, edgecolors=colour, marker=shapes[name]
            )
        line = [(p.tokens_per_second, sizes[p.run.technique]) for p in pareto.front(found)]
        axes.plot(
            [speed for speed, _ in line],
            [size for _, size in line],
            linestyle="--",
            color=chart.theme().muted,
            linewidth=1,
            zorder=0,
        )
        axes.set_ylim(0, max(size for _, size in places) * 1.3)
        speeds = [speed for speed, _ in places]
        margin = 0.12 * (max(speeds) - min(speeds)) or 0.1 * max(speeds)
        axes.set_xlim(min(speeds) - margin, max(speeds) + margin)
        chart.thousands(axes)
        labels.append((axes, places, [point.run.technique for point in found], line))
    chart.legend(figure, list(_front_handles()), 1)
    for axes, places, names, line in labels:
        chart.label_points(axes, places, names, line)
    return figure


def _front_handles() -> Iterator[Line2D]:
    """What grey, hollow and the line mean."""
    colour = chart.theme().muted
    texts = {
        "": say("the front: no technique that trains as good a model beats these"),
        "o": say("grey: another technique needs no more memory and is no slower"),
        "$\\circ$": say(
            "hollow: not trained to the end, or perplexity at the equal batch more than 1% above "
            "the baseline's"
        ),
    }
    for marker, text in texts.items():
        handle = Line2D([], [], color=colour, marker=marker, linewidth=1)
        handle.set_label(
            textwrap.fill(text.replace(" %", "\N{NO-BREAK SPACE}%"), chart.characters(110))
        )
        handle.set_linestyle("none" if marker else "--")
        yield handle


def batch_size(results: Results) -> Figure:
    """The largest batch of each technique."""
    runs = results.runs("own")
    figure, (axes,) = chart.panels(headline("batch_size", results), 1, chart.height(len(runs)))
    base = results.max_batch_size(results.baseline)

    def label(run: Run, value: float) -> str:
        bound = "≥ " if run.search.bounded_by == "configuration" else ""
        times = f"  ({wording.ratio(value / base)})" if base else ""
        return f"{bound}{wording.integer(value)}{times}"

    chart.technique_rows(axes, [run.technique for run in runs])
    chart.bars(
        axes, results, runs, value=lambda run: run.search.max_batch_size, label=label, room=0.2
    )
    limit = max(run.search.memory_limit for run in runs)
    chart.x_label(
        axes,
        say(
            "largest batch (sequences of {length} tokens) in {memory}",
            length=wording.integer(results.length),
            memory=wording.memory(limit),
        ),
    )
    chart.thousands(axes)
    return figure


def memory(results: Results) -> Figure:
    """Live memory after the forward pass, after the backward pass and at the peak."""
    moments = {"after_forward": 0.35, "after_backward": 0.65, "peak": 1.0}
    hatches = ("////", "xx", "")
    fill = chart.colours(results)
    peaks = [run.peak for setting in SETTINGS for run in results.runs(setting) if run.peak]
    unit, name = wording.memory_unit(max(peaks, default=0))

    def draw(axes: Axes, runs: list[Run]) -> None:
        ends = []
        for row, run in enumerate(runs):
            if run.memory is None:
                chart.missing(axes, row, run)
                continue
            for offset, (moment, share), hatch in zip(
                (-0.26, 0, 0.26), moments.items(), hatches, strict=True
            ):
                size = getattr(run.memory, moment).allocated / unit
                shade = chart.tint(fill[run.technique], share)
                axes.barh(row + offset, size, height=0.24, color=shade, hatch=hatch)
            ends.append(run.memory.peak.allocated / unit)
            chart.end_label(axes, ends[-1], row + 0.26, wording.number(ends[-1]))
        chart.room_for_labels(axes, ends, share=0.15)
        chart.x_label(axes, say("memory in live tensors ({unit})", unit=name))

    figure = _by_setting(results, "memory", draw, row=0.5)
    handles = [
        Patch(facecolor=chart.tint(chart.theme().muted, share), hatch=hatch, label=name)
        for share, hatch, name in zip(
            moments.values(),
            hatches,
            (say("after forward"), say("after backward"), say("peak")),
            strict=True,
        )
    ]
    chart.legend(figure, handles, 3)
    return figure


def memory_anatomy(results: Results) -> Figure:
    """The peak, split into state, what waits for the backward pass, and what comes on top."""
    peaks = [run.peak for setting in SETTINGS for run in results.runs(setting) if run.peak]
    unit, name = wording.memory_unit(max(peaks, default=0))
    names: list[str] = []

    def draw(axes: Axes, runs: list[Run]) -> None:
        ends = []
        for row, run in enumerate(runs):
            if run.memory is None:
                chart.missing(axes, row, run)
                continue
            parts = peak_parts(run.memory)
            names[:] = parts
            starts = itertools.accumulate(parts.values(), initial=0)
            for index, (start, size) in enumerate(zip(starts, parts.values(), strict=False)):
                chart.part(axes, row, start / unit, size / unit, ANATOMY[index])
            ends.append(run.memory.peak.allocated / unit)
            chart.end_label(axes, ends[-1], row, wording.number(ends[-1]))
        chart.room_for_labels(axes, ends, share=0.15)
        chart.x_label(axes, say("peak memory in live tensors ({unit})", unit=name))

    figure = _by_setting(results, "memory_anatomy", draw)
    handles = [
        chart.part_handle(index, say(name)) for index, name in zip(ANATOMY, names, strict=False)
    ]
    chart.legend(figure, handles, 3)
    return figure


def memory_kinds(results: Results) -> Figure:
    """The peak, split by what the bytes belong to."""
    peaks = [run.peak for setting in SETTINGS for run in results.runs(setting) if run.peak]
    unit, name = wording.memory_unit(max(peaks, default=0))
    shown: set[str] = set()

    def draw(axes: Axes, runs: list[Run]) -> None:
        ends = []
        for row, run in enumerate(runs):
            if run.memory is None:
                chart.missing(axes, row, run)
                continue
            parts = run.memory.by_kind or {UNKNOWN_KIND: run.memory.peak.allocated}
            shown.update(kind for kind, size in parts.items() if size)
            starts = itertools.accumulate(parts.values(), initial=0)
            for start, (kind, size) in zip(starts, parts.items(), strict=False):
                chart.part(axes, row, start / unit, size / unit, PARTS.index(kind))
            ends.append(max(run.memory.peak.allocated, sum(parts.values())) / unit)
            label = wording.number(run.memory.peak.allocated / unit)
            chart.end_label(axes, ends[-1], row, label)
        chart.room_for_labels(axes, ends, share=0.15)
        chart.x_label(axes, say("peak memory in live tensors ({unit})", unit=name))

    figure = _by_setting(results, "memory_kinds", draw)
    _legend_of_kinds(figure, shown)
    return figure


def memory_timeline(results: Results) -> Figure:
    """Live memory after each operation of one step, stacked by what it belongs to."""
    runs = [run for run in results.runs("equal") if run.memory and run.memory.timeline]
    columns = 1 if chart.narrow() else min(3, max(1, len(runs)))
    rows = -(-len(runs) // columns) or 1
    title = headline("memory_timeline", results)
    figure, panels = chart.panels(title, rows * columns, 0.9 + 2.2 * rows, columns)
    unit, name = wording.memory_unit(max((run.peak or 0 for run in runs), default=0))
    shown: set[str] = set()
    top = 0.0
    for index, (axes, run) in enumerate(zip(panels, runs, strict=False)):
        timeline = run.memory.timeline if run.memory else []
        kinds = [kind for kind in KINDS if any(moment.by_kind[kind] for moment in timeline)]
        shown.update(kinds)
        axes.stackplot(
            [moment.operation for moment in timeline],
            *([moment.by_kind[kind] / unit for moment in timeline] for kind in kinds),
            colors=[chart.theme().parts[PARTS.index(kind)] for kind in kinds],
            hatch=[chart.HATCHES[PARTS.index(kind)] for kind in kinds],
            lw=0,
        )
        top = max(top, *(sum(moment.by_kind.values()) / unit for moment in timeline))
        chart.title(axes, run.technique)
        axes.set_xlim(0, timeline[-1].operation)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        if index + columns >= len(runs):  # no panel below
            chart.x_label(axes, say("operations of one training step"))
        chart.thousands(axes)
    for axes in panels[: len(runs)]:
        axes.set_ylim(0, 1.05 * top)  # one scale: the techniques are to be compared
    for axes in panels[len(runs) :]:
        axes.set_visible(bool(not runs))
        if not runs:
            chart.blank(axes)
    figure.supylabel(say("memory in live tensors ({unit})", unit=name), fontsize=10)
    _legend_of_kinds(figure, shown)
    return figure


def step_time(results: Results) -> Figure:
    """Every timed step, with the box of the quartiles and the median written beside it."""
    fill = chart.colours(results)

    def draw(axes: Axes, runs: list[Run]) -> None:
        samples = pd.DataFrame(
            [(ms, row, run.technique) for row, run in enumerate(runs) for ms in run.step_ms],
            columns=["ms", "row", "technique"],
        )
        where = {"x": "ms", "y": "row", "orient": "h", "native_scale": True, "ax": axes}
        if len(samples):
            # No outliers in the boxes: every sample is drawn as a dot.
            style = {
                "fill": False,
                "color": chart.theme().muted,
                "linewidth": 1,
                "showfliers": False,
                # In place of seaborn's `vert`, which matplotlib 3.11 deprecates.
                "vert": None,
                "orientation": "horizontal",
            }
            seaborn.boxplot(samples, **where, **style, width=0.6)
            dots = {"hue": "technique", "palette": fill, "size": 3, "legend": False}
            seaborn.swarmplot(samples, **where, **dots, warn_thresh=1)
        for row, run in enumerate(runs):
            if not run.step_ms:
                chart.missing(axes, row, run)
                continue
            median = wording.number(statistics.median(run.step_ms))
            spread = wording.number(statistics.stdev(run.step_ms), 2)
            chart.end_label(axes, max(run.step_ms), row, f" {median} ± {spread}")
        chart.room_for_labels(axes, [max(run.step_ms) for run in runs if run.step_ms], 0.3)
        axes.set_ylabel("")
        chart.x_label(axes, say("time of a training step (ms; median ± sd written)"))

    return _by_setting(results, "step_time", draw)


def throughput(results: Results) -> Figure:
    """Training tokens a second, from the median step."""

    def draw(axes: Axes, runs: list[Run]) -> None:
        chart.bars(
            axes,
            results,
            runs,
            value=lambda run: run.tokens_per_second,
            label=lambda _, speed: wording.short(speed),
        )
        chart.x_label(axes, say("throughput (tokens/s)"))
        chart.thousands(axes)

    return _by_setting(results, "throughput", draw)


def epoch_time(results: Results) -> Figure:
    """Time in training steps of the whole run; between seeds, mean and standard deviation."""

    def label(run: Run, seconds: float) -> str:
        steps = say_count("{count} step", "{count} steps", run.trained[0].steps)
        return f"{wording.number(seconds)}  ({steps})"

    def draw(axes: Axes, runs: list[Run]) -> None:
        chart.bars(
            axes,
            results,
            runs,
            value=lambda run: _mean(run.train_seconds),
            label=label,
            spread=lambda run: _deviation(run.train_seconds),
        )
        chart.x_label(
            axes, "; ".join(filter(None, [say("time of training (s)"), _over_seeds(results)]))
        )

    return _by_setting(results, "epoch_time", draw)


def perplexity(results: Results) -> Figure:
    """Perplexity on the validation corpus; between seeds, mean and standard deviation."""
    fill = chart.colours(results)

    def draw(axes: Axes, runs: list[Run]) -> None:
        values = [value for run in runs for value in run.perplexities]
        for row, run in enumerate(runs):
            if not run.perplexities:
                chart.missing(axes, row, run)
                continue
            mean = statistics.fmean(run.perplexities)
            error = _deviation(run.perplexities)
            colour = fill[run.technique]
            axes.errorbar(mean, row, xerr=error, fmt="D", ms=6, color=colour, capsize=4)
            if error is not None:
                below = [row + 0.3] * len(run.perplexities)
                axes.scatter(run.perplexities, below, s=10, color=colour)
            chart.end_label(axes, mean + (error or 0), row, f" {wording.number(mean, 4)}")
        base = results.run(results.baseline, "own").perplexities
        if base:
            axes.axvline(
                statistics.fmean(base), color=chart.theme().baseline, lw=1, ls=":", zorder=0
            )
            values += base
        if values:
            # From the smallest, not from zero: what matters is the difference.
            span = max(values) - min(values) or 0.02 * max(values)
            axes.set_xlim(min(values) - 0.25 * span, max(values) + 0.6 * span)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        else:
            axes.set_xticks([])
        seeds = _over_seeds(results)
        if seeds:
            chart.x_label(axes, say("validation perplexity ({seeds}; dots: seeds)", seeds=seeds))
        else:
            chart.x_label(axes, say("validation perplexity"))

    return _by_setting(results, "perplexity", draw)


def loss(results: Results) -> Figure:
    """The training loss against tokens and against seconds, a line for each technique and seed."""
    figure, panels = chart.panels(headline("loss", results), 4, 7.0, columns=2)
    fill, dashes = chart.colours(results), chart.dashes(results)
    drawn: dict[str, Line2D] = {}
    for row, setting in enumerate(SETTINGS):
        runs = [run for run in results.runs(setting) if any(e.loss_curve for e in run.epochs)]
        left_out = _left_out(results, {run.technique for run in runs})
        chart.title(panels[2 * row], _batch_of(results, setting) + left_out)
        for axes, attribute in zip(panels[2 * row :], ("tokens", "seconds"), strict=False):
            for epoch in (epoch for run in runs for epoch in run.epochs):
                name = epoch.technique
                (drawn[name],) = axes.plot(
                    [getattr(point, attribute) for point in epoch.loss_curve],
                    [point.loss for point in epoch.loss_curve],
                    color=fill[name],
                    ls=dashes[name],
                    lw=1.4,
                    label=name,
                )
            tokens, seconds = say("training tokens"), say("training time (s)")
            chart.x_label(axes, tokens if attribute == "tokens" else seconds)
            axes.set_ylabel(say("training loss (nats/token)"))
            chart.thousands(axes)
            if not runs:
                chart.blank(axes)
    handles = [drawn[name] for name in results.techniques if name in drawn]
    if handles:
        longest = max(len(name) for name in drawn)
        columns = max(1, 110 // (longest + 9))
        chart.legend(figure, handles, columns)
    return figure


def batch_size_by_length(results: Results) -> Figure:
    """The largest batch over the sequence length."""
    figure, (axes,) = chart.panels(headline("batch_size_by_length", results), 1, 4.2)
    _over_lengths(axes, results, "own", lambda run: run.search.max_batch_size)
    axes.set_yscale("log")
    axes.set_ylabel(say("largest batch (sequences)"))
    chart.thousands(axes, "y")
    axes.legend()
    return figure


def throughput_by_length(results: Results) -> Figure:
    """Training tokens a second over the sequence length."""
    figure, panels = chart.panels(
        headline("throughput_by_length", results), 2, 4.2, share_rows=True
    )
    for axes, setting in zip(panels, SETTINGS, strict=True):
        _over_lengths(axes, results, setting, lambda run: run.tokens_per_second)
        chart.title(axes, say(SETTING_WORDS[setting]))
        axes.set_ylim(bottom=0)
        chart.thousands(axes, "y")
    panels[0].legend()
    panels[0].set_ylabel(say("throughput (tokens/s)"))
    return figure


def memory_by_length(results: Results) -> Figure:
    """Peak memory over the sequence length."""
    figure, panels = chart.panels(headline("memory_by_length", results), 2, 4.2, share_rows=True)
    swept = [n for n in results.techniques if results.swept(n)]
    peaks = [
        results.run(name, setting, length).peak or 0
        for name in swept
        for setting in SETTINGS
        for length in results.lengths
    ]
    unit, unit_name = wording.memory_unit(max(peaks, default=0))
    for axes, setting in zip(panels, SETTINGS, strict=True):
        _over_lengths(
            axes, results, setting, lambda run: None if run.peak is None else run.peak / unit
        )
        chart.title(axes, say(SETTING_WORDS[setting]))
        axes.set_ylim(bottom=0)
    panels[0].legend()
    panels[0].set_ylabel(say("peak memory in live tensors ({unit})", unit=unit_name))
    return figure


FIGURES: dict[str, Callable[[Results], Figure]] = {
    "memory_speed": memory_speed,
    "batch_size": batch_size,
    "memory": memory,
    "memory_anatomy": memory_anatomy,
    "memory_kinds": memory_kinds,
    "memory_timeline": memory_timeline,
    "step_time": step_time,
    "throughput": throughput,
    "epoch_time": epoch_time,
    "perplexity": perplexity,
    "loss": loss,
    "batch_size_by_length": batch_size_by_length,
    "throughput_by_length": throughput_by_length,
    "memory_by_length": memory_by_length,
}
"""By the name in the catalog."""


def _legend_of_kinds(figure: Figure, shown: set[str]) -> None:
    handles = [
        chart.part_handle(index, wording.kind(kind))
        for index, kind in enumerate(PARTS)
        if kind in shown
    ]
    chart.legend(figure, handles, 5)


def _by_setting(results: Results, name: str, draw: Draw, row: float = 0.38) -> Figure:
    """A panel for each batch setting, a row for each technique."""
    names = results.measured(results.length)
    height = chart.height(len(names), row)
    figure, panels = chart.panels(headline(name, results), 2, height, share_rows=True)
    for axes, setting in zip(panels, SETTINGS, strict=True):
        chart.technique_rows(axes, names)
        chart.title(axes, _batch_of(results, setting))
        draw(axes, results.runs(setting))
    return figure


def _over_lengths(
    axes: Axes, results: Results, setting: Setting, value: Callable[[Run], float | None]
) -> None:
    """A line for each swept technique; a length at which it did not run is left out."""
    fill, dashes, shapes = chart.colours(results), chart.dashes(results), chart.markers(results)
    for name in results.techniques:
        if not results.swept(name):
            continue
        runs = [results.run(name, setting, length) for length in results.lengths]
        points = [(run.length, v) for run in runs if (v := value(run)) is not None]
        failed = next((run.status for run in runs if run.status != "ok"), None)
        note = f" ({wording.status(failed)})" if failed else ""
        axes.plot(
            [length for length, _ in points],
            [v for _, v in points],
            color=fill[name],
            ls=dashes[name],
            marker=shapes[name],
            label=name + note,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(results.lengths, list(map(wording.integer, results.lengths)))
    chart.x_label(axes, say("sequence length (tokens)"))
    axes.margins(y=0.1)


def _batch_of(results: Results, setting: Setting) -> str:
    size = results.max_batch_size(results.baseline)
    if setting == "equal" and size:
        return say(
            "at the largest batch of {baseline} ({size})",
            baseline=results.baseline,
            size=wording.integer(size),
        )
    return say(SETTING_WORDS[setting])


def _left_out(results: Results, shown: set[str]) -> str:
    missing = [name for name in results.measured(results.length) if name not in shown]
    return "   " + say("(not run: {names})", names=", ".join(missing)) if missing else ""


def _over_seeds(results: Results) -> str:
    seeds = {epoch.seed for epoch in results.records(EpochRecord)}
    if len(seeds) < 2:
        return ""
    return say_count("mean and sd of {count} seed", "mean and sd of {count} seeds", len(seeds))


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _deviation(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
