"""Every figure is drawn whatever ran, the same each time, and nothing in it covers another."""

import itertools

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from matplotlib.path import Path as Line
from matplotlib.text import Text
from matplotlib.ticker import MultipleLocator
from report import made_up

from vramlab.report import catalog, chart, figures, language, palette, plots, webpage

ENTRIES = {entry.name: entry for entry in catalog.FIGURES}


def drawn(name, results, narrow=False):
    with chart.style(narrow=narrow):
        figure = figures.draw(ENTRIES[name], results)
        figure.draw_without_rendering()
    return figure


def words(figure):
    """All visible texts but the ticks of the value axes."""
    found = [text for axes in figure.axes for text in (*axes.texts, axes.title, axes._left_title)]
    found += [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        low, high = sorted(axes.get_ylim())
        found += [t for t in axes.get_yticklabels() if low <= t.get_position()[1] <= high]
    found += [axis.label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    found += [figure._suptitle, figure._supxlabel, figure._supylabel]
    return [text for text in found if isinstance(text, Text) and text.get_text().strip()]


def test_png_and_svg_of_every_figure(case, tmp_path):
    config, results = case
    for entry in catalog.figures(config):
        with chart.style():
            figure = figures.draw(entry, results)
            for suffix in (".png", ".svg"):
                chart.save(figure, tmp_path / f"{entry.name}{suffix}")
        pixels = matplotlib.image.imread(tmp_path / f"{entry.name}.png")
        assert pixels.shape[1] == 1500
        assert 0.005 < np.mean(pixels[..., :3].min(axis=-1) < 0.9) < 0.6
        assert "<svg" in (tmp_path / f"{entry.name}.svg").read_text()


@pytest.mark.parametrize("suffix", [".png", ".svg"])
@pytest.mark.parametrize("name", ["memory_speed", "step_time", "loss"])
def test_the_same_results_give_the_same_bytes(two, tmp_path, name, suffix):
    paths = [tmp_path / f"{n}{suffix}" for n in ("one", "two")]
    for path in paths:
        with chart.style():
            chart.save(figures.draw(ENTRIES[name], two), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("code", ["en", "pl"])
@pytest.mark.parametrize("narrow", [False, True])
def test_nothing_covers_another_or_leaves_its_place(case, code, narrow):
    config, results = case
    for entry in catalog.figures(config):
        with language.use(code):
            figure = drawn(entry.name, results, narrow)
        assert_no_text_covers_another_or_leaves(figure, entry.name)
        assert_legends_are_inside(figure, entry.name)
        assert_names_are_as_long_as_their_panels(figure, entry.name)


def assert_no_text_covers_another_or_leaves(figure, name):
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in words(figure)]
    for (a, one), (b, two) in itertools.combinations(boxes, 2):
        across = min(one.x1, two.x1) - max(one.x0, two.x0)
        up = min(one.y1, two.y1) - max(one.y0, two.y0)
        assert across <= 2 or up <= 2, f"{name}: {a!r} covers {b!r}"
    for text, box in boxes:
        assert box.x0 >= -1, f"{name}: {text!r} is cut off on the left"
        assert box.x1 <= figure.bbox.x1 + 1, f"{name}: {text!r} is cut off on the right"


def assert_legends_are_inside(figure, name):
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, name
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, name


def assert_names_are_as_long_as_their_panels(figure, name):
    """Those of axes: longer ones would reach under the panel beside, or above it."""
    for axes in (axes for axes in figure.axes if axes.get_visible()):
        panel, room = axes.get_window_extent(), figure.dpi / 10
        for label in (axis.label for axis in (axes.xaxis, axes.yaxis) if axis.label.get_text()):
            box, text = label.get_window_extent(), f"{name}: {label.get_text()!r}"
            assert box.width <= panel.width + room or label is axes.yaxis.label, text
            assert box.height <= panel.height + room or label is axes.xaxis.label, text


def test_a_legend_has_as_many_columns_as_fit(results):
    wide, narrow = (drawn("memory_kinds", results, form).legends[0] for form in (False, True))
    assert wide._ncols == 5
    assert 1 < narrow._ncols < 5


@pytest.mark.parametrize("names", [["sdpa", "chunked"], None])
@pytest.mark.parametrize("narrow", [False, True])
def test_names_stand_clear_of_the_front_and_the_points(tmp_path, names, narrow):
    config = made_up.experiment(names, baseline=(names or ["fp32"])[0])
    results = made_up.make_results(tmp_path, config)
    for axes in drawn("memory_speed", results, narrow).axes:
        (line,) = [line for line in axes.lines if line.get_gid() != chart.TIE]
        front = axes.transData.transform_path(line.get_path())
        points = [axes.transData.transform(dot.get_offsets()[0]) for dot in axes.collections]
        assert len(points) == len(axes.texts)
        assert len(points) > 1 < len(front)
        for note in axes.texts:
            box = Text.get_window_extent(note)
            assert not front.intersects_bbox(box, filled=False), note.get_text()
            assert not any(box.contains(*point) for point in points), note.get_text()


@pytest.mark.parametrize("names", [["fp32"], ["sdpa", "chunked"], None])
def test_the_legend_of_the_front_tells_what_is_drawn(tmp_path, names):
    """A front of one technique has no line, and its legend told of one."""
    config = made_up.experiment(names, baseline=(names or ["fp32"])[0])
    figure = drawn("memory_speed", made_up.make_results(tmp_path, config))
    told = {text.get_text().split(":")[0] for box in figure.legends for text in box.get_texts()}
    lines = [line for axes in figure.axes for line in axes.lines if line.get_gid() != chart.TIE]
    dots = [dot for axes in figure.axes for dot in axes.collections]
    grey = matplotlib.colors.to_rgba(palette.LIGHT.muted)
    assert ("the front" in told) is any(len(line.get_xdata()) > 1 for line in lines)
    assert ("grey" in told) is any(tuple(dot.get_edgecolors()[0]) == grey for dot in dots)
    assert ("hollow" in told) is any(len(dot.get_facecolors()) == 0 for dot in dots)


def test_a_name_goes_round_the_line():
    def placed(line):
        with chart.style():
            figure, (axes,) = chart.panels("", 1, 4)
            axes.set(xlim=(0, 2), ylim=(0, 2))
            chart.label_points(axes, [(1, 1)], ["a name"], line)
            figure.draw_without_rendering()
            box = Text.get_window_extent(axes.texts[0])
            ends = [axes.transData.transform(end) for end in line]
            crossed = len(line) > 1 and Line(ends).intersects_bbox(box, filled=False)
            return axes.transData.inverted().transform(box.get_points().mean(axis=0)), crossed

    free, _ = placed([])
    through = [(1, 1), tuple(2 * free - 1)]  # from the point beyond the middle of its free label
    elsewhere, crossed = placed(through)
    assert not np.allclose(free, elsewhere)
    assert not crossed


def test_a_name_that_another_point_is_near_to_is_tied_to_its_own():
    with chart.style(narrow=True):
        _, (axes,) = chart.panels("", 1, 4)
        axes.set(xlim=(0, 10), ylim=(0, 2))
        row = [(4.6, 1), (5, 1), (5.4, 1), (1, 0.5)]
        chart.label_points(axes, row, ["a", "a_long_name_between_two", "b", "far_from_all"])
    ties = [line.get_xydata()[1] for line in axes.lines if line.get_gid() == chart.TIE]
    assert any(np.allclose(end, (5, 1)) for end in ties)
    assert not any(np.allclose(end, (1, 0.5)) for end in ties)


def test_no_line_strikes_a_number_through(results):
    figure = drawn("perplexity", results)
    axes = figure.axes[0]
    (base,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    note = next(text for text in axes.texts if text.get_text().strip() == "477.3")
    box = Text.get_window_extent(note)
    base.set_xdata([axes.transData.inverted().transform(((box.x0 + box.x1) / 2, 0))[0]] * 2)
    shown = []
    for visible in (True, False):
        base.set_visible(visible)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        shown.append(np.asarray(canvas.buffer_rgba())[::-1])  # from the bottom, as the boxes
    rows, columns = slice(int(box.y0) + 1, int(box.y1)), slice(int(box.x0), int(box.x1))
    assert not np.array_equal(*shown)
    assert np.array_equal(*(pixels[rows, columns] for pixels in shown))


@pytest.mark.parametrize(
    ("largest", "step", "ticks"),
    [
        (9_000, 2_500, ["0", "2,500", "5,000", "7,500"]),
        (16_000, 2_500, ["0", "2.5k", "5k", "7.5k", "10k", "12.5k", "15k"]),
        (1_600_000, 250_000, ["0", "0.25M", "0.5M", "0.75M", "1M", "1.25M", "1.5M"]),
    ],
)
def test_the_ticks_of_an_axis_have_one_unit(largest, step, ticks):
    with chart.style():
        figure, (axes,) = chart.panels("", 1, 4)
        axes.set_xlim(0, largest)
        axes.xaxis.set_major_locator(MultipleLocator(step))
        chart.thousands(axes)
        figure.draw_without_rendering()
    shown = [t for t in axes.get_xticklabels() if 0 <= t.get_position()[0] <= largest]
    assert [text.get_text() for text in shown] == ticks


def test_the_ticks_of_a_logarithmic_axis_are_written_in_full():
    with chart.style():
        figure, (axes,) = chart.panels("", 1, 4)
        axes.set(yscale="log", ylim=(50, 20_000))
        chart.thousands(axes, "y")
        figure.draw_without_rendering()
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert {"100", "1,000", "10,000"} <= set(shown)


def test_hollow_says_at_which_batch_a_model_is_judged(results):
    (legend,) = drawn("memory_speed", results).legends
    assert "equal batch" in legend.get_texts()[-1].get_text()


@pytest.mark.parametrize(
    "name",
    [
        "batch_size",
        "memory",
        "memory_breakdown",
        "memory_kinds",
        "step_time",
        "throughput",
        "epoch_time",
    ],
)
def test_a_skipped_technique_is_a_word_and_no_bar(results, name):
    figure = drawn(name, results)
    row = results.techniques.index("flash")
    for axes in figure.axes:
        notes = [text for text in axes.texts if text.get_text() == "skipped"]
        assert [text.xy[1] for text in notes] == [row]
        bars = [p for p in axes.patches if isinstance(p, Rectangle)]
        assert not [b for b in bars if abs(b.get_y() + b.get_height() / 2 - row) < 0.5]


def test_bars_are_as_long_as_the_numbers(two):
    (axes,) = drawn("batch_size", two).axes
    assert [bar.get_width() for bar in axes.patches] == [728, 944]
    assert [text.get_text() for text in axes.texts] == ["728  (1.00×)", "944  (1.30×)"]


def test_the_bars_of_the_kinds_add_up_to_the_peak(results):
    axes, _ = drawn("memory_kinds", results).axes
    runs = results.runs("equal")
    for row, run in enumerate(runs):
        bars = [b for b in axes.patches if abs(b.get_y() + b.get_height() / 2 - row) < 0.5]
        ends = [bar.get_x() + bar.get_width() for bar in bars]
        if run.memory:
            assert max(ends) == pytest.approx(run.memory.peak.allocated / 2**20)
        else:
            assert not bars


def test_a_timeline_for_each_technique_that_ran(results):
    shown = [axes.get_title("left") for axes in drawn("memory_timeline", results).axes]
    ran = [run.technique for run in results.runs("equal") if run.memory]
    assert [name for name in shown if name] == ran


def test_error_bars_only_with_several_seeds(results, two):
    with_errors = drawn("epoch_time", results).axes[0]
    assert len(with_errors.collections) == len(with_errors.patches) > 0
    assert len(drawn("epoch_time", two).axes[0].collections) == 0


def test_a_technique_keeps_its_colour(results):
    fill = chart.colours(results)
    assert len(set(fill.values())) == len(fill)
    equal, own = drawn("throughput", results).axes
    shown = [name for name in results.techniques if name not in {"flash", "math"}]
    assert [_hex(bar) for bar in equal.patches] == [fill[name] for name in shown]
    ran = [name for name in results.techniques if name not in {"flash", "tf32"}]
    assert [_hex(bar) for bar in own.patches] == [fill[name] for name in ran]


def luminance(colour):
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, two):
    dark, light = sorted(map(luminance, (one, two)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_the_ground(theme):
    for text in (theme.text, theme.muted):
        assert contrast(text, theme.ground) >= 4.5
    for mark in (theme.baseline, *theme.palette):
        assert contrast(mark, theme.ground) >= 3, mark
    assert len(theme.parts) == len(chart.HATCHES) == len(set(chart.HATCHES)) == len(plots.PARTS)


def test_the_page_has_the_ground_of_the_figures():
    for theme in (palette.LIGHT, palette.DARK):
        ground = theme.ground if theme.ground != "#ffffff" else "#fff"
        assert f"--ground: {ground};" in webpage.to_html(webpage.Page("T"))


def test_techniques_differ_by_more_than_their_colour(results):
    assert len(set(chart.markers(results).values())) == len(results.techniques)


def test_a_new_technique_changes_no_other_ones_colour(results, two):
    few, many = chart.colours(two), chart.colours(results)
    assert few["fp32"] == many["fp32"] == palette.LIGHT.baseline


def test_a_figure_grows_with_its_rows(results, two):
    assert drawn("memory", results).get_figheight() > drawn("memory", two).get_figheight()


def _hex(patch):
    red, green, blue = (round(255 * part) for part in patch.get_facecolor()[:3])
    return f"#{red:02X}{green:02X}{blue:02X}"


def test_the_line_of_a_technique_goes_through_its_batches(results):
    [axes] = figures.batch_speed(results).axes
    handles, names = axes.get_legend_handles_labels()
    drawn = dict(zip(names, handles, strict=True))
    assert "flash" not in drawn, "it did not run"
    line = drawn["chunked"].lines[0]
    assert list(line.get_xdata()) == [5184, 3888]
    speeds = results.batch_speeds["chunked"].speeds
    rates = [sum(s.tokens / t for t in s.step_seconds) / 3 for s in speeds]
    assert list(line.get_ydata()) == pytest.approx(rates)
