"""An SVG of matplotlib, shortened, in colours that follow the reader's ground."""

from __future__ import annotations

import itertools
import re

from vramlab.report.palette import IN_THE_DARK

_COLOUR = re.compile(r"(fill|stroke): (#[0-9a-f]{6})(?:; )?")
_POINT = re.compile(r"([ML]?) ?(-?[\d.]+) (-?[\d.]+) ")
_STRAIGHT = re.compile(r' d="([MLz\d. -]+)"')
_CURVED = re.compile(r' d="[^"]*"')
_PLACE = re.compile(r' transform="translate\((-?[\d.]+) 0\)"(?=/>)')
_STYLED = re.compile(r' style="([^"]*)"')


def shorten(svg: str) -> str:
    """The same picture in a third of the bytes, with its colours for a dark ground.

    Coordinates are rounded to a tenth of a point and the points of a line that say nothing more
    are left out: on a screen of 96 pixels to the inch, twice enlarged, that is a quarter of a
    pixel. Colours become attributes, which programs that know no media queries show as they are
    and which the rules of one style sheet replace where the reader prefers dark.

    Args:
        svg: as matplotlib writes it, with texts as paths.
    """
    # Texts are paths: between the tags there are comments and indents only.
    svg = re.sub(r"<!-- .*? -->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = re.sub(r"> +<", "><", svg).replace(" />", "/>")
    svg = _STRAIGHT.sub(lambda found: f' d="{_line(found[1])}"', svg)
    svg = _CURVED.sub(lambda found: _rounded(found[0]), svg)
    svg = _PLACE.sub(lambda found: f' x="{_short(float(found[1]))}"', svg)
    svg = re.sub(r' [xy]="[^"]*"|translate\([^)]*\)', lambda found: _rounded(found[0], 2), svg)
    svg = re.sub(r"DejaVuSans-(?:(B)old-)?", lambda found: found[1] or "R", svg)
    svg = re.sub(r'<g id="(?:line2d|patch|text|[xy]tick)_\d+">', "<g>", svg)
    svg = _STYLED.sub(lambda found: _attributes(found[1]), svg)
    return svg.replace("</style>", f"{_dark(svg)}</style>", 1)


def _line(path: str) -> str:
    """A path of straight lines: its corners as steps from the one before, in tenths of a point."""
    parts = []
    for piece in re.findall(r"M[^M]*", " ".join(path.split()) + " "):
        corners: list[tuple[int, int]] = []
        for _, x, y in _POINT.findall(piece):
            point = round(10 * float(x)), round(10 * float(y))
            if corners and corners[-1] == point:
                continue
            if len(corners) > 1 and _between(corners[-2], corners[-1], point):
                corners.pop()
            corners.append(point)
        steps = " ".join(
            f"{_tenths(x - x0)} {_tenths(y - y0)}"
            for (x0, y0), (x, y) in itertools.pairwise(corners)
        )
        (x, y), close = corners[0], "z" if "z" in piece else ""
        parts.append(f"M{_tenths(x)} {_tenths(y)}l{steps or '0 0'}{close}")
    return "".join(parts).replace(" -", "-")


def _between(one: tuple[int, int], middle: tuple[int, int], two: tuple[int, int]) -> bool:
    """Whether `middle` lies on the way from `one` to `two`, which is level or upright."""
    return any(
        one[at] == middle[at] == two[at]
        and (middle[1 - at] - one[1 - at]) * (two[1 - at] - middle[1 - at]) > 0
        for at in (0, 1)
    )


def _tenths(value: int) -> str:
    return _short(value / 10)


def _short(value: float) -> str:
    """A number to one decimal, without zeros that say nothing: 0.50 is .5."""
    text = f"{value:.1f}".removesuffix(".0")
    return {"-0": "0"}.get(text, text).replace("0.", ".", 1) if abs(value) < 1 else text


def _rounded(text: str, places: int = 1) -> str:
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
