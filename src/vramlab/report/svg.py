"""An SVG of matplotlib, shortened, in colours that follow the reader's ground."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter

from vramlab.report.palette import IN_THE_DARK

_COLOUR = re.compile(r"(fill|stroke): (#[0-9a-f]{6})(?:; )?")
_GLYPH = re.compile(r'(<path id="[^"]*") d="([^"]*)" transform="scale\(0.015625\)"')
_PATH = re.compile(r' d="([A-Z][^"]*)"')
_PLACE = re.compile(r' transform="translate\((-?[\d.]+) 0\)"(?=/>)')
_STYLED = re.compile(r' style="([^"]*)"')
_POINTS = {"M": 1, "L": 1, "Q": 2, "C": 3, "z": 0}
"""How many points a command of a path takes; the last is where it ends."""
Point = tuple[int, int]


def shorten(svg: str) -> str:
    """The same picture in a third of the bytes, with its colours for a dark ground.

    Coordinates are rounded to a tenth of a point, a quarter of a pixel on a screen of 96 pixels to
    the inch that shows them twice as large, and points that say nothing after that are left out.
    Colours become attributes, which programs that know no media queries show as they are
    and which the rules of one style sheet replace where the reader prefers dark.

    Args:
        svg: as matplotlib writes it, with texts as paths.
    """
    # Texts are paths: between the tags there are comments and indents only.
    svg = re.sub(r"<!-- .*? -->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = re.sub(r"> +<", "><", svg).replace(" />", "/>")
    # Letters are drawn in 4096 parts of their size: 512 are enough, and shorter to write.
    svg = _GLYPH.sub(
        lambda found: f'{found[1]} d="{_path(found[2], 1 / 8, str)}" transform="scale(.125)"', svg
    )
    svg = _PATH.sub(lambda found: f' d="{_path(found[1], 10, _tenths)}"', svg)
    svg = _PLACE.sub(lambda found: f' x="{_tenths(round(10 * float(found[1])))}"', svg)
    svg = re.sub(r' [xy]="[^"]*"|translate\([^)]*\)', lambda found: _rounded(found[0], 2), svg)
    svg = re.sub(r"DejaVuSans-(?:(B)old-)?", lambda found: found[1] or "R", svg)
    svg = re.sub(r'<g id="(?:line2d|patch|text|[xy]tick)_\d+">', "<g>", svg)
    svg = _STYLED.sub(lambda found: _attributes(found[1]), svg)
    return svg.replace("</style>", f"{_dark(svg)}</style>", 1)


def _path(path: str, scale: float, write: Callable[[int], str]) -> str:
    """A path whose points are counted from the last one, in whole steps of 1 / `scale`."""
    parts, start, at = [], (0, 0), (0, 0)
    for command, group in itertools.groupby(_commands(path, scale), key=itemgetter(0)):
        runs = [points for _, points in group]
        if command == "L":
            runs = _corners(at, [end for (end,) in runs])
        for index, points in enumerate(runs):
            steps = [
                coordinate - base
                for point in points
                for coordinate, base in zip(point, at, strict=True)
            ]
            # Behind a letter the next of its kind needs none; behind an m it would be a line.
            letter = command.lower() if index == 0 or command in "Mz" else " "
            parts.append(letter + " ".join(map(write, steps)))
            at = points[-1] if points else start
            start = at if command == "M" else start
    return "".join(parts).replace(" -", "-")


def _commands(path: str, scale: float) -> Iterator[tuple[str, list[Point]]]:
    """The commands of a path, each with its points, rounded."""
    command = ""
    words = iter(path.split())
    for word in words:
        if word in _POINTS:
            command, x = word, next(words) if _POINTS[word] else ""
        else:  # a command that repeats is written once
            x = word
        points = []
        for index in range(_POINTS[command]):
            x = next(words) if index else x
            points.append((round(scale * float(x)), round(scale * float(next(words)))))
        yield command, points


def _corners(at: Point, ends: Sequence[Point]) -> list[list[Point]]:
    """The ends of lines without those that one would not see: no longer than nothing, or on the
    way of a line that is level or upright."""
    kept = [at]
    for end in ends:
        if end == kept[-1]:
            continue
        if len(kept) > 1 and _between(kept[-2], kept[-1], end):
            kept.pop()
        kept.append(end)
    return [[end] for end in kept[1:]] or [[at]]


def _between(one: Point, middle: Point, two: Point) -> bool:
    return any(
        one[axis] == middle[axis] == two[axis]
        and (middle[1 - axis] - one[1 - axis]) * (two[1 - axis] - middle[1 - axis]) > 0
        for axis in (0, 1)
    )


def _tenths(value: int) -> str:
    """Tenths as a decimal without zeros that say nothing: -5 is -.5, 10 is 1."""
    whole, tenth = divmod(abs(value), 10)
    sign = "-" if value < 0 else ""
    return f"{sign}{whole or ''}.{tenth}" if tenth else f"{sign}{whole}"


def _rounded(text: str, places: int) -> str:
    return re.sub(rf"(\.\d{{{places}}})\d+", r"\1", text)


def _attributes(style: str) -> str:
    """Colours as attributes; the rest of a style stays one, as a rule of matplotlib's is above
    attributes."""
    colours = "".join(f' {name}="{colour}"' for name, colour in _COLOUR.findall(style))
    rest = _COLOUR.sub("", style).rstrip("; ")
    return colours + (f' style="{rest}"' if rest else "")


def _dark(svg: str) -> str:
    """The rules that turn the colours of a file into those for a dark ground."""
    used = dict.fromkeys(re.findall(r' (fill|stroke)="(#[0-9a-f]{6})"', svg))
    rules = "".join(
        f'[{name}="{colour}"]{{{name}:{IN_THE_DARK[colour]}}}'
        for name, colour in used
        if colour in IN_THE_DARK
    )
    return f"@media (prefers-color-scheme: dark){{{rules}}}"
