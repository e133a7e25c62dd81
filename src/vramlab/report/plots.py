"""The three templates of figures: bars, stacked parts, and lines over the sequence length."""

from __future__ import annotations

import itertools

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vramlab.config.technique import Setting
from vramlab.report import chart, wording
from vramlab.report.catalog import Bars, Lines, Parts
from vramlab.report.discussion import headline, peak_parts
from vramlab.report.language import mark, say, say_count
from vramlab.report.load import Results, Run
from vramlab.report.metrics import METRICS, Metric
from vramlab.report.palette import LIGHT, tint
from vramlab.report.panels import SETTING_WORDS, by_setting, over_seeds
from vramlab.report.wording import MIB
from vramlab.results.memory import KINDS

UNKNOWN_KIND = mark("not told apart (compiled)")
PARTS = (*KINDS, UNKNOWN_KIND)
"""The kinds of memory, in the order of their colours."""
MOMENTS = (0, 4, 5)
"""The places of the parts by moments among those colours: what lasts is dark."""
_BARS = {
    1: ((0.0, 0.62, 1.0, ""),),
    3: ((-0.26, 0.24, 0.35, "////"), (0.0, 0.24, 0.65, "xx"), (0.26, 0.24, 1.0, "")),
}
"""By the number of bars in a row: offset and height, share of the colour, hatch."""


def bars(name: str, drawing: Bars, results: Results) -> Figure:
    """A row for each technique with a bar for each metric, the value of the last at its end."""
    metrics = [METRICS[metric] for metric in drawing.metrics]
    shapes = _BARS[len(metrics)]
    unit = metrics[-1].unit
    fill = chart.colours(results)
    figure, panels = by_setting(
        results, name, drawing.settings, row=0.38 if len(metrics) == 1 else 0.5
    )
    for axes, setting in zip(panels, drawing.settings, strict=True):
        ends, texts = [], [""]
        for row, run in enumerate(results.runs(setting)):
            values = [metric.value(run) for metric in metrics]
            if values[-1] is None:
                chart.missing(axes, row, run)
                continue
            error = metrics[-1].spread(run) if metrics[-1].needs_epoch else None
            for value, (offset, height, share, hatch) in zip(values, shapes, strict=True):
                axes.barh(
                    row + offset,
                    value or 0,
                    height=height,
                    color=tint(fill[run.technique], share),
                    hatch=hatch,
                    xerr=error,
                    error_kw={"ecolor": LIGHT.muted, "capsize": 3, "lw": 1.2},
                )
            ends.append(values[-1] + (error or 0))
            written = wording.number(values[-1]) if unit == "MiB" else metrics[-1].text(values[-1])
            texts.append(_bound(metrics[-1], run) + written + _note(drawing, run, results))
            chart.end_label(axes, ends[-1], row + shapes[-1][0], texts[-1])
        chart.room_for_labels(axes, ends, max(map(len, texts)))
        label = say(
            drawing.axis,
            unit=unit,
            length=wording.integer(results.length),
            memory=wording.memory(max(run.search.memory_limit for run in results.runs(setting))),
        )
        seeds = over_seeds(results) if metrics[-1].needs_epoch else ""
        chart.x_label(axes, "; ".join(filter(None, [label, seeds])))
        if max(ends, default=0) >= 1e3:
            chart.thousands(axes)
    if len(metrics) > 1:
        grey = LIGHT.muted
        handles = [
            Patch(facecolor=tint(grey, share), hatch=hatch, label=say(metric.label))
            for metric, (*_, share, hatch) in zip(metrics, shapes, strict=True)
        ]
        chart.legend(figure, handles, len(handles))
    return figure


def _bound(metric: Metric, run: Run) -> str:
    """Before a batch that no limit of memory ended."""
    return "≥ " if metric.search and run.search.bounded_by == "configuration" else ""


def _note(drawing: Bars, run: Run, results: Results) -> str:
    if drawing.note == "steps":
        return f"  ({say_count('{count} step', '{count} steps', run.trained[0].steps)})"
    metric = METRICS[drawing.metrics[-1]]
    value, base = metric.value(run), metric.value(results.run(results.baseline, run.setting))
    return f"  ({wording.ratio(value / base)})" if drawing.note and value and base else ""


def parts(name: str, drawing: Parts, results: Results) -> Figure:
    """A row for each technique with its peak stacked of parts, the whole written at its end."""
    shown: dict[str, int] = {}
    figure, panels = by_setting(results, name, drawing.settings)
    for axes, setting in zip(panels, drawing.settings, strict=True):
        ends, texts = [], [""]
        for row, run in enumerate(results.runs(setting)):
            if run.memory is None:
                chart.missing(axes, row, run)
                continue
            if drawing.parts == "moments":
                sizes = peak_parts(run.memory)
                places = dict(zip(sizes, MOMENTS, strict=True))
            else:
                sizes = run.memory.by_kind or {UNKNOWN_KIND: run.memory.peak.allocated}
                places = {kind: PARTS.index(kind) for kind in sizes}
            for (part, size), end in zip(
                sizes.items(), itertools.accumulate(sizes.values()), strict=True
            ):
                start = (end - size) / MIB
                chart.part(axes, row, start, size / MIB, places[part])
            shown |= {part: places[part] for part, size in sizes.items() if size}
            peak = run.memory.peak.allocated
            ends.append(max(peak, sum(sizes.values())) / MIB)
            texts.append(wording.number(peak / MIB))
            chart.end_label(axes, ends[-1], row, texts[-1])
        chart.room_for_labels(axes, ends, max(map(len, texts)))
        chart.x_label(axes, say(drawing.axis, unit="MiB"))
    legend_of_parts(figure, shown)
    return figure


def legend_of_parts(figure: Figure, places: dict[str, int]) -> None:
    """A legend of the parts of memory, each by the place of its colour."""
    ordered = sorted(places.items(), key=lambda item: item[1])
    chart.legend(figure, [chart.part_handle(place, say(name)) for name, place in ordered], 5)


def lines(name: str, drawing: Lines, results: Results) -> Figure:
    """A metric over the sequence length, with a line for each technique that was swept."""
    metric = METRICS[drawing.metric]
    swept = [technique for technique in results.techniques if results.swept(technique)]
    figure, panels = chart.panels(
        headline(name, results), len(drawing.settings), 4.2, share_rows=True
    )
    for axes, setting in zip(panels, drawing.settings, strict=True):
        for technique in swept:
            _line(axes, results, metric, (technique, setting))
        axes.set_xscale("log", base=2)
        axes.set_xticks(results.lengths, list(map(wording.integer, results.lengths)))
        chart.x_label(axes, say("sequence length (tokens)"))
        axes.margins(y=0.1)
        if drawing.logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        chart.thousands(axes, "y")
        if len(drawing.settings) > 1:
            chart.title(axes, say(SETTING_WORDS[setting]))
    panels[0].legend()
    panels[0].set_ylabel(say(drawing.axis, unit=metric.unit))
    return figure


def _line(axes: Axes, results: Results, metric: Metric, which: tuple[str, Setting]) -> None:
    """The line of a technique at a batch setting; a length at which it did not run is left out."""
    technique, setting = which
    runs = [results.run(technique, setting, length) for length in results.lengths]
    points = [(run.length, v) for run in runs if (v := metric.value(run)) is not None]
    failed = next((run.status for run in runs if run.status != "ok"), None)
    axes.plot(
        [length for length, _ in points],
        [value for _, value in points],
        color=chart.colours(results)[technique],
        ls=chart.dashes(results)[technique],
        marker=chart.markers(results)[technique],
        label=technique + (f" ({wording.status(failed)})" if failed else ""),
    )
