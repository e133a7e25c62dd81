"""The figures: those of a template, and a function for each other one."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Iterator

import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vramlab.report import chart, pareto, plots, wording
from vramlab.report.budgets import by_budget
from vramlab.report.catalog import Bars, Entry, Lines, Parts
from vramlab.report.discussion import headline
from vramlab.report.language import say
from vramlab.report.load import SETTINGS, Results
from vramlab.report.metrics import METRICS
from vramlab.report.palette import LIGHT
from vramlab.report.panels import batch_of, by_setting, left_out, over_seeds
from vramlab.report.plots import PARTS
from vramlab.report.wording import MIB
from vramlab.results.memory import KINDS


def memory_speed(results: Results) -> Figure:
    """Peak memory over throughput, one point for each technique and batch setting; the front."""
    # A narrow one has as many names to place on half the width.
    height = 5.4 + (0.6 if chart.narrow() else 0.25) * min(len(results.techniques), 12)
    figure, panels = chart.panels(headline("memory_speed", results), 2, height, columns=1)
    fill, shapes = chart.colours(results), chart.markers(results)
    labels = []
    drawn: set[str] = set()
    for axes, setting in zip(panels, SETTINGS, strict=True):
        found = pareto.points(results, setting)
        ran = {point.run.technique for point in found}
        chart.title(axes, batch_of(results, setting) + left_out(results, ran))
        chart.x_label(axes, say("throughput (tokens/s; further right is faster)"))
        if setting == "equal":
            sizes = {p.run.technique: METRICS["peak_mib"].value(p.run) or 0 for p in found}
            chart.y_label(axes, say("peak memory ({unit})", unit="MiB"))
        else:  # each fills the same limit: what differs is how many tokens share it
            sizes = {p.run.technique: p.bytes_per_token / 2**10 for p in found}
            chart.y_label(axes, say("peak memory for a token ({unit})", unit="KiB"))
        if not found:
            chart.blank(axes)
            continue
        places = [(p.tokens_per_second, sizes[p.run.technique]) for p in found]
        for point, (speed, size) in zip(found, places, strict=True):
            name = point.run.technique
            colour = LIGHT.muted if point.dominated else fill[name]
            inside = colour if point.as_good else "none"
            axes.scatter(
                *(speed, size), s=60, facecolors=inside, edgecolors=colour, marker=shapes[name]
            )
            drawn |= {_GREY} if point.dominated else set()
            drawn |= set() if point.as_good else {_HOLLOW}
        line = [(p.tokens_per_second, sizes[p.run.technique]) for p in pareto.front(found)]
        drawn |= {_LINE} if len(line) > 1 else set()
        axes.plot(
            [speed for speed, _ in line],
            [size for _, size in line],
            linestyle="--",
            color=LIGHT.muted,
            linewidth=1,
            zorder=0,
        )
        axes.set_ylim(0, max(size for _, size in places) * 1.3)
        speeds = [speed for speed, _ in places]
        margin = 0.12 * (max(speeds) - min(speeds)) or 0.1 * max(speeds)
        axes.set_xlim(min(speeds) - margin, max(speeds) + margin)
        chart.thousands(axes)
        labels.append((axes, places, [point.run.technique for point in found], line))
    chart.legend(figure, list(_front_handles(drawn)), 1)
    for axes, places, names, line in labels:
        chart.label_points(axes, places, names, line)
    return figure


_LINE, _GREY, _HOLLOW = "", "o", "$\\circ$"
"""The markers of the legend of `memory_speed`."""


def _front_handles(drawn: Collection[str]) -> Iterator[Line2D]:
    """What grey, hollow and the line mean, of those that are drawn."""
    colour = LIGHT.muted
    texts = {
        _LINE: say("the front: no technique that trains as good a model beats these"),
        _GREY: say("grey: another technique needs no more memory and is not slower for certain"),
        _HOLLOW: say(
            "hollow: not trained to the end, or perplexity at the equal batch more than 1% above "
            "the baseline's"
        ),
    }
    for marker, text in texts.items():
        if marker not in drawn:
            continue
        handle = Line2D([], [], color=colour, marker=marker, linewidth=1)
        handle.set_label(
            textwrap.fill(text.replace(" %", "\N{NO-BREAK SPACE}%"), chart.characters(110))
        )
        handle.set_linestyle("none" if marker else "--")
        yield handle


def memory_timeline(results: Results) -> Figure:
    """Live memory after each operation of one step, stacked by what it belongs to."""
    runs = [run for run in results.runs("equal") if run.memory and run.memory.timeline]
    columns = 1 if chart.narrow() else min(3, max(1, len(runs)))
    rows = -(-len(runs) // columns) or 1
    title = headline("memory_timeline", results)
    figure, panels = chart.panels(title, rows * columns, 0.9 + 2.2 * rows, columns)
    places: dict[str, int] = {}
    top = 0.0
    for index, (axes, run) in enumerate(zip(panels, runs, strict=False)):
        timeline = run.memory.timeline if run.memory else []
        kinds = [kind for kind in KINDS if any(moment.by_kind[kind] for moment in timeline)]
        places |= {kind: PARTS.index(kind) for kind in kinds}
        axes.stackplot(
            [moment.operation for moment in timeline],
            *([moment.by_kind[kind] / MIB for moment in timeline] for kind in kinds),
            colors=[LIGHT.parts[places[kind]] for kind in kinds],
            hatch=[chart.HATCHES[places[kind]] for kind in kinds],
            lw=0,
        )
        top = max(top, *(sum(m.by_kind.values()) / MIB for m in timeline))
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
    figure.supylabel(say("memory in live tensors ({unit})", unit="MiB"), fontsize=10)
    plots.legend_of_parts(figure, places)
    return figure


def step_time(results: Results) -> Figure:
    """Every timed step, with the box of the quartiles and the median written beside it."""
    metric, fill = METRICS["step_ms"], chart.colours(results)
    figure, panels = by_setting(results, "step_time")
    for axes, setting in zip(panels, SETTINGS, strict=True):
        runs = results.runs(setting)
        samples = pd.DataFrame(
            [(ms, row, r.technique) for row, r in enumerate(runs) for ms in metric.samples(r)],
            columns=["ms", "row", "technique"],
        )
        where = {"x": "ms", "y": "row", "orient": "h", "native_scale": True, "ax": axes}
        if len(samples):
            # No outliers in the boxes: every sample is drawn as a dot.
            style = {
                "fill": False,
                "color": LIGHT.muted,
                "linewidth": 1,
                "showfliers": False,
                # In place of seaborn's `vert`, which matplotlib 3.11 deprecates.
                "vert": None,
                "orientation": "horizontal",
            }
            seaborn.boxplot(samples, **where, **style, width=0.6)
            dots = {"hue": "technique", "palette": fill, "size": 3, "legend": False}
            seaborn.swarmplot(samples, **where, **dots, warn_thresh=1)
        ends, texts = [], [""]
        for row, run in enumerate(runs):
            median, spread = metric.value(run), metric.spread(run)
            if median is None:
                chart.missing(axes, row, run)
                continue
            ends.append(max(metric.samples(run)))
            written = f" ± {wording.number(spread, 2)}" if spread is not None else ""
            texts.append(f" {metric.text(median)}{written}")
            chart.end_label(axes, ends[-1], row, texts[-1])
        chart.room_for_labels(axes, ends, max(map(len, texts)))
        axes.set_ylabel("")
        chart.x_label(axes, say("time of a training step (ms; median ± sd written)"))
    return figure


def batch_speed(results: Results) -> Figure:
    """Tokens a second over the batch size, a line for each technique; bars span the rounds."""
    metric, fill = METRICS["tokens_per_second"], chart.colours(results)
    dashes, shapes = chart.dashes(results), chart.markers(results)
    figure, [axes] = chart.panels(headline("batch_speed", results), 1, 4.2)
    drawn = False
    for name in results.techniques:
        record = results.batch_speeds.get(name)
        speeds = [s for s in record.speeds if s.step_seconds] if record else []
        if not speeds:
            continue
        rounds = [metric.read(speed) for speed in speeds]
        means = [sum(values) / len(values) for values in rounds]
        axes.errorbar(
            [speed.batch_size for speed in speeds],
            means,
            yerr=[
                [mean - min(values) for mean, values in zip(means, rounds, strict=True)],
                [max(values) - mean for mean, values in zip(means, rounds, strict=True)],
            ],
            color=fill[name],
            ls=dashes[name],
            marker=shapes[name],
            capsize=3,
            label=name,
        )
        drawn = True
    if drawn:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda size, _: wording.integer(round(size)))
        axes.set_ylim(bottom=0)
        chart.thousands(axes, "y")
        chart.x_label(axes, say("batch (sequences, logarithmic)"))
        chart.y_label(axes, say("throughput (tokens/s)"))
        handles, _ = axes.get_legend_handles_labels()
        chart.legend(figure, handles, 4)
    else:
        chart.blank(axes)
    return figure


def activation_budget(results: Results) -> Figure:
    """Peak and time of a step over the budget of checkpointing, a line for each group."""
    found = by_budget(results)
    figure, panels = chart.panels(headline("activation_budget", results), 2, 4.2)
    fill, shapes = chart.colours(results), chart.markers(results)
    labels = say("peak at the equal batch ({unit})", unit="MiB"), say("time of a step (ms)")
    for axes, name, label in zip(panels, ("peak_mib", "step_ms"), labels, strict=True):
        metric = METRICS[name]
        for group, runs in found.items():
            places = [(budget, value) for budget, run in runs if (value := metric.value(run))]
            axes.plot(
                *zip(*places, strict=True), color=fill[group], marker=shapes[group], label=group
            )
            ends = [place for place in places if place[0] in {0.0, 1.0}]
            if name == "peak_mib" and len(ends) > 1:
                asked = say("as asked for")
                axes.plot(*zip(*ends, strict=True), color=LIGHT.muted, ls="--", lw=1, label=asked)
        if found:
            axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
            axes.set_xlim(-0.05, 1.05)
            chart.thousands(axes, "y")
            chart.x_label(axes, say("budget asked for (0: checkpointing block, 1: none)"))
            chart.y_label(axes, label)
        else:
            chart.blank(axes)
    if found:
        handles, names = panels[0].get_legend_handles_labels()
        chart.legend(figure, list(dict(zip(names, handles, strict=True)).values()), 4)
    return figure


def perplexity(results: Results) -> Figure:
    """Perplexity on the validation corpus; between seeds, mean and standard deviation."""
    metric, fill = METRICS["perplexity"], chart.colours(results)
    base = metric.value(results.run(results.baseline, "own"))
    figure, panels = by_setting(results, "perplexity")
    for axes, setting in zip(panels, SETTINGS, strict=True):
        runs = results.runs(setting)
        values = [value for run in runs for value in metric.samples(run)]
        for row, run in enumerate(runs):
            mean, error, colour = metric.value(run), metric.spread(run), fill[run.technique]
            if mean is None:
                chart.missing(axes, row, run)
                continue
            axes.errorbar(mean, row, xerr=error, fmt="D", ms=6, color=colour, capsize=4)
            if error is not None:
                seeds = metric.samples(run)
                axes.scatter(seeds, [row + 0.3] * len(seeds), s=10, color=colour)
            chart.end_label(axes, mean + (error or 0), row, f" {metric.text(mean)}")
        if base is not None:
            axes.axvline(base, color=LIGHT.baseline, lw=1, ls=":", zorder=0)
            values.append(base)
        if values:
            # From the smallest, not from zero: what matters is the difference.
            span = max(values) - min(values) or 0.02 * max(values)
            axes.set_xlim(min(values) - 0.25 * span, max(values) + 0.6 * span)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        else:
            axes.set_xticks([])
        if of_seeds := over_seeds(results):
            chart.x_label(axes, say("validation perplexity ({seeds}; dots: seeds)", seeds=of_seeds))
        else:
            chart.x_label(axes, say("validation perplexity"))
    return figure


def loss(results: Results) -> Figure:
    """The training loss against tokens and against seconds, a line for each technique and seed."""
    figure, panels = chart.panels(headline("loss", results), 4, 7.0, columns=2)
    fill, dashes = chart.colours(results), chart.dashes(results)
    drawn: dict[str, Line2D] = {}
    for row, setting in enumerate(SETTINGS):
        runs = [run for run in results.runs(setting) if any(e.loss_curve for e in run.epochs)]
        ran = {run.technique for run in runs}
        chart.title(panels[2 * row], batch_of(results, setting) + left_out(results, ran))
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


def draw(entry: Entry, results: Results) -> Figure:
    """The figure of an entry of the catalog."""
    match entry.drawing:
        case Bars():
            return plots.bars(entry.name, entry.drawing, results)
        case Parts():
            return plots.parts(entry.name, entry.drawing, results)
        case Lines():
            return plots.lines(entry.name, entry.drawing, results)
    return OTHERS[entry.name](results)


OTHERS: dict[str, Callable[[Results], Figure]] = {
    "memory_speed": memory_speed,
    "memory_timeline": memory_timeline,
    "step_time": step_time,
    "batch_speed": batch_speed,
    "activation_budget": activation_budget,
    "perplexity": perplexity,
    "loss": loss,
}
"""The figures that are of no template, by the name in the catalog."""
