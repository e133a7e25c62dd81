"""Techniques that differ in the budget of checkpointing alone: what each asked for, and took."""

from __future__ import annotations

from vramlab.report.load import Results, Run

_ENDS = {"block": 0.0, "none": 1.0}
"""The budgets that two other values of the axis stand for."""


def by_budget(results: Results) -> dict[str, list[tuple[float, Run]]]:
    """Budget and run at the baseline's batch, in order, of each such group of techniques.

    Returns:
        The groups by name: that of the technique without checkpointing, if there is one, else of
        the first. A group has at least two budgets beside block and none.
    """
    groups: dict[str, list[tuple[float, Run]]] = {}
    for run in results.runs("equal"):
        axes = run.search.axes
        budget = axes.checkpointing_budget
        if budget is None:
            budget = _ENDS.get(axes.checkpointing)
        if budget is None or run.memory is None or not run.profile.step_seconds:
            continue
        others = axes.model_dump_json(exclude={"checkpointing", "checkpointing_budget"})
        groups.setdefault(others, []).append((budget, run))
    found = {}
    for runs in groups.values():
        asked = [run for _, run in runs if run.search.axes.checkpointing == "budget"]
        if len(asked) > 1:
            plain = [run for _, run in runs if run.search.axes.checkpointing == "none"]
            name = (plain or asked)[0].technique
            found[name] = sorted(runs, key=lambda pair: pair[0])
    return found
