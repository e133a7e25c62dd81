"""Results of the search for the longest sequence."""

from __future__ import annotations

from typing import Literal

from vramlab.results.batch_size import Trial
from vramlab.results.run import RunRecord

UNIT = 64
"""Tokens in whose multiples lengths are searched and told. Kernels compute tiles of so many, and to
the last token a search would take more trials, each the longest step that fits."""
MOST_TOKENS = 2**22
"""The longest sequence to consider: one that is found to be so long is so long at least."""


def units_within(positions: int | None) -> int:
    """The longest sequence to search or predict, in units.

    Args:
        positions: the most tokens that the model takes; None for no bound.
    """
    return min(positions or MOST_TOKENS, MOST_TOKENS) // UNIT


class LengthTrial(Trial):
    """One trial of the search for the longest sequence."""

    length: int
    """Tokens of each sequence."""


class LongestSequenceRecord(RunRecord):
    """The longest sequence that fits into the limit minus the headroom: it was run, and a trial
    with UNIT more tokens did not fit. `sequence_length` is that of the other stages."""

    batch_size: int
    """Sequences per process."""
    longest: int | None = None
    """Tokens, a multiple of UNIT; None where not even one unit fits, or nothing ran."""
    memory_limit: int
    """Bytes that each process may use."""
    headroom: int = 0
    """Bytes of the limit that the search left free."""
    bounded_by: Literal["memory", "model"] = "memory"
    """model: it has no more positions, or the search reached the most that it considers."""
    trials: list[LengthTrial] = []

    def place(self) -> str:
        """Path of the file relative to the experiment's results."""
        return f"longest_sequence/{self.sequence_length}/{self.technique}.json"
