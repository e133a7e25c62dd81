"""What later stages read of a search for the largest batch.

Apart from the search's own record, so that a new field of that reruns no profile and no epoch.
"""

from __future__ import annotations

from pydantic import ConfigDict

from vramlab.results.run import RunRecord


class LargestBatch(RunRecord):
    """The part of a search's record that is its answer."""

    model_config = ConfigDict(extra="ignore")

    max_batch_size: int | None = None
    """Sequences of one process."""

    @property
    def of_all_processes(self) -> int | None:
        """Sequences of all processes together."""
        return None if self.max_batch_size is None else self.max_batch_size * self.processes

    def place(self) -> str:
        """Path of the file below the results of the experiment."""
        return f"batch_size/{self.sequence_length}/{self.technique}.json"
