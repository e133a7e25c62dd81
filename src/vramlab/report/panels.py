"""What the figures do alike: a panel for each batch, and what is said of the runs in it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vramlab.config.technique import Setting
from vramlab.report import chart, wording
from vramlab.report.discussion import headline
from vramlab.report.language import mark, say, say_count
from vramlab.report.load import SETTINGS, Results
from vramlab.results.epoch import EpochRecord

SETTING_WORDS: dict[Setting, str] = {
    "equal": mark("at the largest batch of the baseline"),
    "own": mark("at each technique's own largest batch"),
}


def by_setting(
    results: Results, name: str, settings: Sequence[Setting] = SETTINGS, row: float = 0.38
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each batch setting, in it a row for each technique."""
    names = results.measured(results.length)
    height = chart.height(len(names), row)
    figure, panels = chart.panels(headline(name, results), len(settings), height, share_rows=True)
    for axes, setting in zip(panels, settings, strict=True):
        chart.technique_rows(axes, names)
        if len(settings) > 1:
            chart.title(axes, batch_of(results, setting))
    return figure, panels


def batch_of(results: Results, setting: Setting) -> str:
    """At which batch the runs of a panel are."""
    size = results.max_batch_size(results.baseline)
    if setting == "equal" and size:
        return say(
            "at the largest batch of {baseline} ({size})",
            baseline=results.baseline,
            size=wording.integer(size),
        )
    return say(SETTING_WORDS[setting])


def left_out(results: Results, shown: set[str]) -> str:
    """The techniques that a panel lacks, to stand behind its title."""
    missing = [name for name in results.measured(results.length) if name not in shown]
    return "   " + say("(not run: {names})", names=", ".join(missing)) if missing else ""


def over_seeds(results: Results) -> str:
    """What a value of several seeds is; nothing where there is one."""
    seeds = {epoch.seed for epoch in results.records(EpochRecord)}
    if len(seeds) < 2:
        return ""
    return say_count("mean and sd of {count} seed", "mean and sd of {count} seeds", len(seeds))
