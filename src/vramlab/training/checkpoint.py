"""Checkpoints to resume an interrupted run with bit-for-bit the same result.

Each checkpoint is written to a temporary file and renamed; the previous one is kept. A file starts
with the SHA-256 of its content; if that does not match, the previous checkpoint is used. Loading
never executes code (`weights_only`). Each rank writes its own files, and all ranks resume from the
newest step for which every rank has an intact checkpoint.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from vramlab.base.files import atomic_path, write_text
from vramlab.training.parallel import SINGLE, Ranks

log = logging.getLogger(__name__)

State = dict[str, Any]
_DIGEST_BYTES = 32


class Checkpoints:
    """The two newest checkpoints of one run."""

    def __init__(self, folder: Path, identity: str, ranks: Ranks = SINGLE) -> None:
        """`identity` is a digest of the run; checkpoints with another identity are ignored."""
        of_rank = f"-{ranks.rank}" if ranks.rank else ""
        self.newest = folder / f"newest{of_rank}.pt"
        self.previous = folder / f"previous{of_rank}.pt"
        self.identity = identity
        self.ranks = ranks
        self._resumptions = folder / f"resumptions{of_rank}.json"

    def save(self, state: State) -> None:
        """Write a checkpoint of plain values and tensors."""
        buffer = io.BytesIO()
        torch.save({"identity": self.identity, **state}, buffer)
        content = buffer.getvalue()
        with atomic_path(self.newest) as temporary:
            temporary.write_bytes(hashlib.sha256(content).digest() + content)
            if self.newest.exists():
                self.newest.replace(self.previous)

    def load(self, device: torch.device) -> State | None:
        """The newest intact checkpoint of this run; None if there is none.

        With several ranks: the newest that all ranks have, loaded to the CPU.
        """
        if self.ranks.count == 1:
            return next(self._intact(device), None)
        states = {state["steps"]: state for state in self._intact(torch.device("cpu"))}
        common = set.intersection(*map(set, self.ranks.gather(list(states))))
        return states[max(common)] if common else None

    def _intact(self, device: torch.device) -> Iterator[State]:
        """The usable checkpoints of this run and rank, newest first."""
        for path in (self.newest, self.previous):
            if not path.exists():
                continue
            content = path.read_bytes()
            digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
            if hashlib.sha256(content).digest() != digest:
                log.warning("%s is damaged and is not used", path)
                continue
            try:
                state: State = torch.load(
                    io.BytesIO(content), map_location=device, weights_only=True
                )
            except UnpicklingError as error:  # intact, but holds more than plain values and tensors
                log.warning("%s is refused and is not used: %s", path, error)
                continue
            if state.pop("identity", None) == self.identity:
                yield state
            else:
                log.warning("%s is of another configuration or code and is not used", path)

    def count_resumption(self, saved: int) -> int:
        """Count one more resumption, and save the count immediately.

        It has its own file: the run may be stopped again before it writes the next checkpoint.

        Args:
            saved: the count that the checkpoint holds.

        Returns:
            The new count.
        """
        count = max(saved, self._counted()) + 1
        write_text(self._resumptions, json.dumps({"identity": self.identity, "count": count}))
        return count

    def forget_resumptions(self) -> None:
        """Reset the count: the run starts from the beginning."""
        self._resumptions.unlink(missing_ok=True)

    def _counted(self) -> int:
        try:
            known = json.loads(self._resumptions.read_text(encoding="utf-8"))
            return int(known["count"]) if known["identity"] == self.identity else 0
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError):  # a damaged count must not fail the run
            log.warning("%s is damaged and is not used", self._resumptions)
            return 0
