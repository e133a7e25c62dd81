"""Data-parallel training steps: the process group, and how DDP or FSDP distributes the model.

How it works: each rank gets its rows of a micro-batch and computes the sum of its own losses.
Dividing by the mean number of tokens per rank makes the gradients, which DDP and FSDP average over
the ranks, those of the mean loss over all tokens. All ranks must run the same collective operations
in the same order, so a rank without rows runs the step on one row of padding, which adds nothing to
the loss. DDP replicates the model and all-reduces the gradients once per step (`no_sync` before the
last micro-batch). FSDP shards parameters, gradients and optimizer state: tensors become DTensors,
and a checkpoint stores only the local shard (`local`, `load_model`, `load_optimizer`).

Sources: Li et al., 2020 (arXiv:2006.15704) for `ddp`; Rajbhandari et al., 2020 (arXiv:1910.02054)
and Zhao et al., 2023 (arXiv:2304.11277) for `fsdp`. Both implementations are torch's.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from vramlab.config.technique import Technique
from vramlab.data.sequences import Indices
from vramlab.model.language_model import LanguageModel

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The process group of a training step, and the rank of this process in it.

    If `count` is 1, no method communicates.
    """

    rank: int = 0
    """Rank of this process, from 0."""
    count: int = 1
    """World size."""

    def add(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes, and return it."""
        if self.count > 1:
            distributed.all_reduce(tensor)
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over all processes; the tensor itself where there is one."""
        return self.add(tensor) / self.count if self.count > 1 else tensor

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank; they are pickled."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def from_first(self, value: T) -> T:
        """The value of rank 0; it is pickled."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is true in any process; does not synchronise with the GPU."""
        if self.count == 1:
            return flags
        votes = torch.tensor(flags, dtype=torch.uint8)
        distributed.all_reduce(votes, distributed.ReduceOp.MAX)
        return tuple(map(bool, votes.tolist()))

    def share(self, indices: Indices, padding: int) -> Indices:
        """This rank's rows of a batch; the numbers of rows differ by at most one.

        Args:
            indices: the rows of all processes.
            padding: index of a row that holds only padding. A rank without rows uses it, because
                every rank must take part in each step.
        """
        if self.count == 1:
            return indices
        part = np.array_split(indices, self.count)[self.rank]
        return part if len(part) else np.array([padding])

    def most(self, sequences: int) -> int:
        """The largest number of sequences that any rank gets of a batch."""
        return -(-sequences // self.count)

    def seed(self, seed: int) -> int:
        """A seed for what must differ between ranks, such as dropout; that of rank 0 is `seed`."""
        if self.rank == 0:
            return seed
        mixed = np.random.SeedSequence([seed % 2**64, self.rank]).generate_state(1)
        return int(mixed[0])  # torch's CPU generator ignores all but the low 32 bits


SINGLE = Ranks()
"""The group of a technique that is not parallel: one process."""


def ranks_of(technique: Technique) -> Ranks:
    """The process group that vramlab.stages.launch started for this process.

    Raises:
        RuntimeError: the technique is parallel, and this process was started alone.
    """
    if technique.parallel == "none":
        return SINGLE
    if not distributed.is_initialized():
        raise RuntimeError(
            f"parallel {technique.parallel} needs the processes that vramlab.stages.launch starts"
        )
    return Ranks(distributed.get_rank(), distributed.get_world_size())


class LossModule(nn.Module):
    """Model and loss head in one module, so that DDP and FSDP see both uses of the tied weight."""

    def __init__(self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        """`loss` takes inputs and targets, each [batch, time], and calls `model`."""
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The summed loss, a scalar."""
        return self._loss(inputs, targets)


def _ddp(loss: LossModule, device: torch.device) -> nn.Module:
    """Gradients are views of the all-reduce buckets, so they are stored only once."""
    with warnings.catch_warnings():  # deprecated in torch 2.13; torch 2.8 lacks the new name
        warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
        return DistributedDataParallel(
            loss,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            broadcast_buffers=False,  # the positions are constants
        )


def _fsdp(loss: LossModule, device: torch.device) -> nn.Module:
    """Each block is one FSDP unit; the embedding and the last norm belong to the root unit."""
    # Imported here: it takes most of a second, and a single process does not need it.
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415

    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    assert isinstance(loss.model, LanguageModel)
    for block in loss.model.decoder_blocks():
        fully_shard(block, mesh=mesh)
    fully_shard(loss, mesh=mesh)  # in place
    return loss


PARALLEL: dict[str, Callable[[LossModule, torch.device], nn.Module]] = {"ddp": _ddp, "fsdp": _fsdp}
"""Wraps the model, for each value of the `parallel` axis except none."""


@contextlib.contextmanager
def no_sync(wrapped: nn.Module | None, last: bool) -> Iterator[None]:
    """Skip the all-reduce of gradients, except for the last micro-batch of a step.

    FSDP reduces each micro-batch: otherwise each rank would hold unsharded gradients.
    """
    if last or not isinstance(wrapped, DistributedDataParallel):
        yield
        return
    with wrapped.no_sync():
        yield


def local(value: Any) -> Any:
    """A nested structure with each DTensor replaced by a copy of this rank's shard."""
    if isinstance(value, Mapping):
        return {key: local(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(local, value))
    # Cloned: a shard may be a view of a padded storage, and the padding would be saved too.
    return value.to_local().detach().clone() if hasattr(value, "to_local") else value


def load_model(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a model's state that `local` returned."""
    own = model.state_dict()
    sharded = {name: _sharded_like(own[name], value) for name, value in state.items()}
    model.load_state_dict(own | sharded)


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimizer's state that `local` returned."""
    parameters: Iterable[Tensor] = (p for g in optimizer.param_groups for p in g["params"])
    states = {
        index: {name: _sharded_like(parameter, value) for name, value in values.items()}
        for index, parameter in enumerate(parameters)
        if (values := state["state"].get(index)) is not None
    }
    optimizer.load_state_dict({**state, "state": states})


def _sharded_like(parameter: Tensor, value: Any) -> Any:
    """A local shard as a DTensor with the layout of `parameter`; other values unchanged."""
    if not hasattr(parameter, "to_local") or not isinstance(value, Tensor) or value.dim() == 0:
        return value
    from torch.distributed.tensor import DTensor  # noqa: PLC0415  see _fsdp

    like: Any = parameter
    return DTensor.from_local(
        value.to(like.to_local().device),
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )
