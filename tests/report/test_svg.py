"""A shortened SVG shows the same picture, and has a dark colour for each light one."""

import io
import re

import numpy as np
import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG
from report import made_up

from vramlab.report import catalog, chart, figures, palette, svg

POINTS = {"m": 1, "l": 1, "q": 2, "c": 3}


def absolute(path):
    """The ends of the commands of a path that is counted from point to point."""
    ends, at, start = [], np.zeros(2), np.zeros(2)
    for letter, numbers in re.findall(r"([mlqcz])([^mlqcz]*)", path):
        values = np.array(re.findall(r"-?(?:\d+\.\d+|\.\d+|\d+)", numbers), float)
        if letter == "z":
            at = start
        for step in values.reshape(-1, POINTS.get(letter, 1), 2):
            at = at + step[-1]
            ends.append(at)
            start = at if letter == "m" else start
    return np.array(ends)


def shortened(path):
    found = re.search(r' d="([^"]*)"', svg.shorten(f'<svg><path id="a" d="{path} "/></svg>'))
    return found[1]


def test_a_path_goes_where_it_went():
    path = "M 10.04 20.26 L 30.01 40.52 L 5 6 Q 7 8 9.96 12.04 C 1 2 3 4 -5.55 0.04 z M 1 2 L 3 5"
    ends = [(10, 20.3), (30, 40.5), (5, 6), (10, 12), (-5.55, 0), (1, 2), (3, 5)]
    assert absolute(shortened(path)) == pytest.approx(np.array(ends), abs=0.051)


def test_rounding_does_not_add_up():
    xs = np.cumsum(np.full(500, 0.3333))
    path = "M 0 0 " + " ".join(f"L {x} {5 * (n % 2)}" for n, x in enumerate(xs))
    assert absolute(shortened(path))[-1][0] == pytest.approx(xs[-1], abs=0.051)


def test_points_that_one_would_not_see_are_left_out():
    steps = "M 0 0 L 10 0 L 10.01 0.02 L 20 0 L 30 0 L 30 9 L 30 5"
    assert absolute(shortened(steps)).tolist() == [[0, 0], [30, 0], [30, 9], [30, 5]]


def test_a_line_to_itself_stays_a_point():
    assert absolute(shortened("M 3 4 L 3 4")).tolist() == [[3, 4], [3, 4]]


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """Each figure as matplotlib writes it, and shortened."""
    config = made_up.experiment()
    results = made_up.make_results(tmp_path_factory.mktemp("results"), config)
    found = {}
    with chart.style():
        for entry in catalog.figures(config):
            text = io.StringIO()
            figure = figures.draw(entry, results)
            chart.lay_out(figure)
            FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
            found[entry.name] = text.getvalue(), svg.shorten(text.getvalue())
    return found


def test_every_colour_has_a_dark_one(every):
    for name, (_, short) in every.items():
        sheet = re.search(r"<style.*?</style>", short)[0]
        body = short.replace(sheet, "")
        assert not re.search(r'style="[^"]*#[0-9a-f]{6}', body), name
        used = set(re.findall(r'(fill|stroke)="(#[0-9a-f]+)"', body))
        assert {colour for _, colour in used} >= {palette.LIGHT.ground, palette.LIGHT.text}
        for kind, colour in used:
            rule = f'[{kind}="{colour}"]{{{kind}:{palette.IN_THE_DARK[colour]}}}'
            assert rule in sheet, f"{name}: {colour}"
        assert "@media (prefers-color-scheme: dark)" in sheet


def test_nothing_is_lost_but_bytes(every):
    for name, (long, short) in every.items():
        assert short.count("<path") == long.count("<path"), name
        assert short.count("<use") == long.count("<use"), name
        assert len(short) < 0.65 * len(long), name


def test_a_light_colour_has_one_dark_counterpart():
    pairs = zip(palette._shades(palette.LIGHT), palette._shades(palette.DARK), strict=True)
    assert set(pairs) == set(palette.IN_THE_DARK.items())
