"""What the figures share: style, colours, panels, and files that are the same byte for byte."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from vramlab.files import atomic_path
from vramlab.report import wording
from vramlab.report.load import Results, Run

WIDTH = 10.0
"""Inches; also the width at which labels were chosen to be readable."""

BASELINE = "#222222"
# The colour-blind-safe sets of Okabe and Ito (2008), then of Tol ("muted", 2021), without those
# too light on white.
PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#882255", "#999933", "#332288", "#44AA99", "#AA4499", "#117733", "#661100", "#6699CC"),
)
MUTED = "#767676"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#111111",
    "legend.frameon": False,
    "svg.hashsalt": "vramlab",
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw and save the figures of the block in the style of the report."""
    with mpl.rc_context(STYLE):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG; without a date, so that the same figure is the same file."""
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)


def colours(results: Results) -> dict[str, str]:
    """One colour for each technique: the same one in every figure."""
    others = [name for name in results.techniques if name != results.baseline]
    cycled = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(others)}
    return {results.baseline: BASELINE} | cycled


def dashes(results: Results) -> dict[str, str]:
    """A line style for each technique, so that lines differ by more than their colour."""
    styles = ("-", "--", "-.", ":")
    return {name: styles[index % len(styles)] for index, name in enumerate(results.techniques)}


def panels(
    headline: str, count: int, height: float, columns: int | None = None, share_rows: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure `height` inches high with `count` panels in rows of `columns` under its headline."""
    title = textwrap.fill(headline.replace("`", ""), 95)
    lines = title.count("\n") + 1
    figure = Figure(figsize=(WIDTH, height + 0.3 * lines), layout="constrained")
    columns = columns or count
    grid = figure.subplots(count // columns, columns, squeeze=False, sharey=share_rows)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure, list(grid.flat)


def height(rows: int, row: float = 0.38) -> float:
    """The height in inches of a figure with `rows` rows of `row` inches."""
    return 1.1 + row * max(rows, 2)


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
        color=MUTED,
        style="italic",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def blank(axes: Axes) -> None:
    """Say across a panel that there is nothing to draw in it."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.text(
        0.5,
        0.5,
        "no run came through",
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=MUTED,
        style="italic",
    )


def tint(colour: str, share: float) -> str:
    """`colour` mixed with white: the whole colour at 1, white at 0."""
    red, green, blue = (1 - share * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def bars(
    axes: Axes,
    results: Results,
    runs: Sequence[Run],
    *,
    value: Callable[[Run], float | None],
    label: Callable[[Run, float], str],
    spread: Callable[[Run], float | None] = lambda _: None,
    room: float = 0.38,
) -> None:
    """A horizontal bar for each run from zero, its value written at its end.

    `room` is the share of the width that stays free for what is written.
    """
    fill = colours(results)
    ends = []
    for row, run in enumerate(runs):
        length = value(run)
        if length is None:
            missing(axes, row, run)
            continue
        error = spread(run)
        axes.barh(
            row,
            length,
            height=0.62,
            color=fill[run.technique],
            xerr=error,
            error_kw={"ecolor": MUTED, "capsize": 3, "lw": 1.2},
        )
        ends.append(length + (error or 0))
        end_label(axes, ends[-1], row, label(run, length))
    room_for_labels(axes, ends, room)


def end_label(axes: Axes, x: float, y: float, text: str) -> None:
    """Write `text` just right of a point."""
    axes.annotate(
        text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", color="#333333"
    )


def room_for_labels(axes: Axes, ends: Sequence[float], share: float) -> None:
    """Start the value axis at zero and leave a share of its width free behind the longest bar."""
    axes.set_xlim(0, max(ends, default=1.0) / (1 - share) or 1.0)
    if not ends:
        axes.set_xticks([])


def thousands(axes: Axes, which: str = "x") -> None:
    """Write whole ticks with thousands separators, large ones as k or M."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: wording.short(value)))


def label_points(axes: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str]) -> None:
    """Write a label beside each point so that it covers neither a point nor another label.

    Greedy: the most crowded points first, each label at the free place nearest to its point, tied
    to it by a thin line where that is not right beside it. Set the limits of the axes before.
    """
    figure = axes.get_figure(root=True)
    if figure is None or not points:
        return
    figure.draw_without_rendering()  # fixes the layout
    scale = figure.dpi / 72
    centers = [tuple(map(float, axes.transData.transform(point))) for point in points]
    taken = [_box(x, y, 9 * scale, 9 * scale) for x, y in centers]
    frame = axes.get_window_extent()
    nearness = [sorted(math.dist(a, b) for b in centers)[:4] for a in centers]
    for index in sorted(range(len(points)), key=lambda i: nearness[i]):
        note = axes.annotate(
            texts[index],
            points[index],
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "lw": 0.7, "color": MUTED, "shrinkA": 0, "shrinkB": 3},
        )
        note.set_in_layout(False)
        extent = Text.get_window_extent(note)  # of the words, without the line
        x, y = centers[index]
        best = (math.inf, 0.0, 0.0, extent)
        for distance, dx, dy in _places(extent.width, extent.height, scale):
            box = _box(x + dx, y + dy, extent.width + 2 * scale, extent.height)
            inside = Bbox.intersection(box, frame)
            outside = _area(box) - (_area(inside) if inside else 0)
            covered = sum(_area(o) for b in taken if (o := Bbox.intersection(box, b)))
            best = min(best, (covered + outside + distance, dx, dy, box), key=lambda b: b[0])
        _, dx, dy, box = best
        note.set_position((dx / scale, dy / scale))
        if note.arrow_patch is not None:  # beside its point a label needs no line
            note.arrow_patch.set_visible(
                bool(
                    abs(dx) > 12 * scale + extent.width / 2
                    or abs(dy) > 12 * scale + extent.height / 2
                )
            )
        taken.append(box)


def _places(width: float, height: float, scale: float) -> Iterator[tuple[float, float, float]]:
    """Distance and centre of each place for a label around its point, in pixels."""
    for distance in (8, 16, 26, 38, 52, 68):
        for angle in range(0, 360, 30):
            across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            gap = distance * scale
            yield distance, across * (gap + width / 2), up * (gap + height / 2)


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def _area(box: Bbox) -> float:
    return float(box.width * box.height)
