"""The part of the search's result that later stages read.

It is separate from the search's own record, so a new field there reruns no profile or epoch.
"""

from __future__ import annotations

from pydantic import ConfigDict

from vramlab.results.run import RunRecord


class LargestBatch(RunRecord):
    """The largest batch that a search found."""

    model_config = ConfigDict(extra="ignore")

    max_batch_size: int | None = None
    """Sequences per process."""

    @property
    def of_all_processes(self) -> int | None:
        """Sequences over all processes."""
        return None if self.max_batch_size is None else self.max_batch_size * self.processes

    def place(self) -> str:
        """Path of the file relative to the experiment's results."""
        return f"batch_size/{self.sequence_length}/{self.technique}.json"
