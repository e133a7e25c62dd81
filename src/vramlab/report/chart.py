"""What the figures share: style, colours, panels, and files that are the same byte for byte."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import textalloc
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import Formatter, ScalarFormatter
from matplotlib.transforms import Bbox

from vramlab.base.files import atomic_path
from vramlab.report import svg, wording
from vramlab.report.language import numeral, say
from vramlab.report.load import Results, Run
from vramlab.report.palette import LIGHT

WIDTH, NARROW = 10.0, 5.2
"""Inches; the narrow one is for phones, whose screens would make the text of the other tiny."""
HATCHES = (
    *("", "//", "xx", "\\\\", "--", "||", "++", "////", "\\\\\\\\", "----", "++++", "xxxx", "||||"),
)
"""Of parts that stand beside each other, so that they differ by more than their colour; of
lines alone, since a file holds every dot of a dotted one."""
TIE = "tie"
"""The `gid` of the line between a label and its point."""
Pixels = npt.NDArray[np.float64]
"""Points on the canvas, a row each."""

_narrow: ContextVar[bool] = ContextVar("narrow", default=False)


def narrow() -> bool:
    """Whether figures are drawn for a narrow screen now: panels below each other."""
    return _narrow.get()


def characters(wide: int) -> int:
    """How many characters fit on a line where `wide` fit into a wide figure."""
    return int(wide * NARROW / WIDTH) if narrow() else wide


_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 10,
    "text.color": LIGHT.text,
    "figure.facecolor": LIGHT.ground,
    "figure.dpi": 150,
    "axes.facecolor": LIGHT.ground,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LIGHT.muted,
    "axes.labelcolor": LIGHT.text,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # where it is anyhow; else each drawing looks for ticks above
    "axes.titlecolor": LIGHT.muted,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT.grid,
    "grid.linewidth": 0.8,
    "hatch.linewidth": 0.6,
    "hatch.color": LIGHT.ground,
    "xtick.color": LIGHT.muted,
    "ytick.color": LIGHT.muted,
    "xtick.labelcolor": LIGHT.text,
    "ytick.labelcolor": LIGHT.text,
    "legend.frameon": False,
    "svg.hashsalt": "vramlab",
}


@contextmanager
def style(narrow: bool = False) -> Iterator[None]:
    """Draw and save the figures of the block, wide or narrow."""
    width = _narrow.set(narrow)
    try:
        with mpl.rc_context(_STYLE):
            yield
    finally:
        _narrow.reset(width)


def lay_out(figure: Figure) -> None:
    """Give the panels their places for good; what is added later moves nothing.

    A third of the time of a figure goes into this, and each drawing of it would do it again.
    """
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG; without a date, so that the same figure is the same file."""
    lay_out(figure)
    # Not by `savefig`, which draws everything once more to lay it out.
    with atomic_path(path) as temporary:
        figure.set_dpi(mpl.rcParams["figure.dpi"])  # which an SVG leaves at its own
        if path.suffix == ".svg":
            FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
                temporary, metadata={"Date": None}
            )
            temporary.write_text(svg.shorten(temporary.read_text("utf-8")), "utf-8")
        else:
            FigureCanvasAgg(figure).print_png(  # type: ignore[no-untyped-call]
                temporary, metadata={"Software": None}
            )


def colours(results: Results) -> dict[str, str]:
    """One colour for each technique: the same one in every figure."""
    others = [name for name in results.techniques if name != results.baseline]
    palette = LIGHT.palette
    cycled = {name: palette[index % len(palette)] for index, name in enumerate(others)}
    return {results.baseline: LIGHT.baseline} | cycled


def markers(results: Results) -> dict[str, str]:
    """A marker for each technique, so that points differ by more than their colour."""
    shapes = "osD^vP<X>phd*8"
    return {name: shapes[index % len(shapes)] for index, name in enumerate(results.techniques)}


def dashes(results: Results) -> dict[str, str]:
    """A line style for each technique, so that lines differ by more than their colour."""
    styles = ("-", "--", "-.", ":")
    return {name: styles[index % len(styles)] for index, name in enumerate(results.techniques)}


class _Ticks(ScalarFormatter):
    """Ticks as the report's language writes numbers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return numeral(super().__call__(x, pos))


def panels(
    headline: str, count: int, height: float, columns: int | None = None, share_rows: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows of `columns` under its headline.

    It is `height` inches high beside that; a narrow one has its panels below each other, each as
    high as before.
    """
    title = textwrap.fill(headline.replace("`", ""), characters(95))
    lines = title.count("\n") + 1
    columns = columns or count
    if narrow():
        height, columns = height * columns, 1
    size = (NARROW if narrow() else WIDTH, height + 0.3 * lines)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(count // columns, columns, squeeze=False, sharey=share_rows)
    for axes in grid.flat:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_Ticks(useOffset=False))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11 if narrow() else 12, fontweight="bold")
    return figure, list(grid.flat)


def height(rows: int, row: float = 0.38) -> float:
    """The height in inches of a figure with `rows` rows of `row` inches."""
    return 1.1 + row * max(rows, 2)


def x_label(axes: Axes, text: str) -> None:
    """Name the value axis, on as many lines as its panel needs."""
    axes.set_xlabel(textwrap.fill(text, 38 if narrow() else 112 // _columns(axes)))


def y_label(axes: Axes, text: str) -> None:
    """Name the vertical axis of a panel of several, on as many lines as its height needs."""
    figure, place = axes.get_figure(root=True), axes.get_subplotspec()
    assert figure is not None and place is not None
    inches = figure.get_figheight() / place.get_geometry()[0] - 1.5  # less titles, ticks, legend
    axes.set_ylabel(textwrap.fill(text, max(12, int(inches / 0.095))))


def title(axes: Axes, text: str) -> None:
    """Write the title of a panel, on as many lines as it needs."""
    axes.set_title(textwrap.fill(text, 58 if narrow() else 124 // _columns(axes)))


def _columns(axes: Axes) -> int:
    place = axes.get_subplotspec()
    return place.get_geometry()[1] if place else 1


def technique_rows(axes: Axes, techniques: Sequence[str]) -> None:
    """Give each technique a row, the first on top; only the values have grid lines."""
    axes.set_yticks(range(len(techniques)), techniques)
    axes.set_ylim(len(techniques) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def missing(axes: Axes, row: int, run: Run) -> None:
    """Say in a row why there is no value."""
    axes.annotate(
        wording.status(run.status),
        (0, row),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=LIGHT.muted,
        style="italic",
        bbox={"facecolor": LIGHT.ground, "edgecolor": "none", "pad": 1},
    )


def blank(axes: Axes) -> None:
    """Say across a panel that there is nothing to draw in it."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(
        0.5,
        0.5,
        say("no run came through"),
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=LIGHT.muted,
        style="italic",
    )


def part(axes: Axes, row: float, start: float, length: float, index: int) -> None:
    """A part of a bar that adds up, in the colour and hatch of its place in the legend."""
    axes.barh(row, length, left=start, height=0.62, **_part_style(index))


def part_handle(index: int, label: str) -> Patch:
    """The entry of the legend for a part of a bar."""
    return Patch(label=label, **_part_style(index))


def _part_style(index: int) -> dict[str, Any]:
    return {
        "facecolor": LIGHT.parts[index],
        "edgecolor": LIGHT.ground,
        "linewidth": 0.5,
        "hatch": HATCHES[index],
    }


def legend(figure: Figure, handles: Sequence[Artist], columns: int) -> None:
    """A legend below the panels, with as many columns as fit, up to `columns`."""
    for count in range(columns if handles else 0, 0, -1):
        box = figure.legend(handles=list(handles), loc="outside lower center", ncols=count)
        if count == 1 or box.get_window_extent().width <= figure.bbox.width:
            return
        box.remove()


def end_label(axes: Axes, x: float, y: float, text: str) -> None:
    """Write `text` just right of a point."""
    axes.annotate(
        text,
        (x, y),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        color=LIGHT.text,
        # A line may run below: it is not to strike the number through.
        bbox={"facecolor": LIGHT.ground, "edgecolor": "none", "pad": 0},
    )


def room_for_labels(axes: Axes, ends: Sequence[float], characters: int) -> None:
    """Start the value axis at zero and leave room for a text behind the longest bar."""
    share = 0.05 + 0.011 * characters * (2 if narrow() else _columns(axes))
    axes.set_xlim(0, max(ends, default=1.0) / (1 - min(share, 0.5)) or 1.0)
    if not ends:
        axes.set_xticks([])


class _Thousands(Formatter):
    """Whole ticks with thousands separators; large ones as k or M, all of them if one is."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self.format_ticks([x])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """The texts of all ticks of an axis."""
        assert isinstance(self.axis, Axis)
        if self.axis.get_scale() == "log":  # from 10 to 100,000 no unit reads well
            return list(map(wording.integer, values))
        low, high = sorted(self.axis.get_view_interval())
        largest = max((abs(at) for at in values if low <= at <= high), default=None)
        return [wording.short(value, largest) for value in values]


def thousands(axes: Axes, which: str = "x") -> None:
    """Write the ticks of an axis as `_Thousands` says."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(_Thousands())


def label_points(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    line: Sequence[tuple[float, float]] = (),
) -> None:
    """Write a label beside each point so that it covers no point, no other label and no `line`.

    The most crowded points choose first. A label that could be taken for that of another point is
    tied to its own by a thin line. Set the limits of the axes before.
    """
    figure = axes.get_figure(root=True)
    if figure is None or not points:
        return
    lay_out(figure)
    centers = axes.transData.transform(points)
    gaps = np.sort(np.linalg.norm(centers[:, None] - centers, axis=-1))
    order = sorted(range(len(points)), key=lambda i: tuple(gaps[i, :4]))
    across, up = np.transpose(points)
    pixels = figure.dpi / 72  # in a point
    unit = pixels / axes.get_window_extent().width
    avoided: dict[str, Any] = {}
    if line:
        avoided = {"x_lines": [[x for x, _ in line]], "y_lines": [[y for _, y in line]]}
    _, _, notes, ties = textalloc.allocate(
        axes,
        across[order],
        up[order],
        [texts[i] for i in order],
        x_scatter=across,
        y_scatter=up,
        **avoided,
        textsize=9,
        textcolor=LIGHT.text,
        scatter_sizes=cast(Any, [4 * pixels] * len(points)),
        margin=1.5 * unit,
        min_distance=6 * unit,
        max_distance=130 * unit,
        nbr_candidates=2000,
        linecolor=LIGHT.muted,
        linewidth=0.7,
        plot_kwargs={"gid": TIE},
    )
    for i, note, tie in zip(
        order, cast(list[Text], notes), cast(list[Line2D | None], ties), strict=True
    ):
        note.set_in_layout(False)
        # Where all is crowded, the ground's colour behind the letters keeps them legible.
        note.set_bbox({"facecolor": LIGHT.ground, "edgecolor": "none", "pad": 0.5, "alpha": 0.8})
        if tie and not _strays(note.get_window_extent(), centers, i, 12 * pixels):
            tie.remove()


def _strays(box: Bbox, points: Pixels, own: int, limit: float) -> bool:
    """Whether a label is farther than `limit` from its own point, or could be another's."""
    gaps = np.linalg.norm(np.maximum(0, np.maximum(box.min - points, points - box.max)), axis=1)
    others = np.delete(gaps, own)
    return bool(gaps[own] > limit or (others < 1.5 * gaps[own]).any())
