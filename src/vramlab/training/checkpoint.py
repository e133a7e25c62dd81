"""Checkpoints from which a stopped run goes on, bit for bit.

The newest is written to a temporary name and then renamed, and the one before it is kept. Each file
starts with the SHA-256 of the rest; what does not match is damaged, and the previous one is taken.
Nothing in a checkpoint is run as code (`weights_only`). Of several processes each has files of its
own, and all go on from the newest step that every one of them has whole.
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
    """The newest checkpoint of one run, and the one before it, in a folder of their own."""

    def __init__(self, folder: Path, identity: str, ranks: Ranks = SINGLE) -> None:
        """`identity` names the run; a checkpoint of another identity is not used."""
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
        """The newest checkpoint of this run that is whole; None where there is none.

        Of several processes: the newest that all of them have, on the CPU.
        """
        if self.ranks.count == 1:
            return next(self._whole(device), None)
        states = {state["steps"]: state for state in self._whole(torch.device("cpu"))}
        common = set.intersection(*map(set, self.ranks.gather(list(states))))
        return states[max(common)] if common else None

    def _whole(self, device: torch.device) -> Iterator[State]:
        """The checkpoints of this run and process that can be used, the newest first."""
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
            except UnpicklingError as error:  # whole, but more than plain values and tensors
                log.warning("%s is refused and is not used: %s", path, error)
                continue
            if state.pop("identity", None) == self.identity:
                yield state
            else:
                log.warning("%s is of another configuration or code and is not used", path)

    def count_resumption(self, saved: int) -> int:
        """Count that the run goes on once more, and write it down at once.

        The checkpoint alone would forget it, were the run stopped again before it writes another.

        Args:
            saved: the count that the checkpoint holds.

        Returns:
            The count with this time.
        """
        count = max(saved, self._counted()) + 1
        write_text(self._resumptions, json.dumps({"identity": self.identity, "count": count}))
        return count

    def forget_resumptions(self) -> None:
        """Count from none: the run begins anew."""
        self._resumptions.unlink(missing_ok=True)

    def _counted(self) -> int:
        try:
            known = json.loads(self._resumptions.read_text(encoding="utf-8"))
            return int(known["count"]) if known["identity"] == self.identity else 0
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError):  # no reason to end a run
            log.warning("%s is damaged and is not used", self._resumptions)
            return 0
