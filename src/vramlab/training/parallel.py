"""One training step on several processes: who takes part, and how the model is spread over them.

Sources: Li et al., 2020 (arXiv:2006.15704) for `ddp`; Rajbhandari et al., 2020 (arXiv:1910.02054)
and Zhao et al., 2023 (arXiv:2304.11277) for `fsdp`. Both are torch's own.
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

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes that take a training step together, and which of them this one is.

    Where `count` is 1, nothing here talks to another process, or costs anything.
    """

    rank: int = 0
    """Number of this process, from 0."""
    count: int = 1
    """Number of all of them."""

    def add(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes, and return it."""
        if self.count > 1:
            distributed.all_reduce(tensor)
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over all processes; the tensor itself where there is one."""
        return self.add(tensor) / self.count if self.count > 1 else tensor

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank; they are sent as pickles."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def from_first(self, value: T) -> T:
        """The value that the process of rank 0 gives; it is sent as a pickle."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def any(self, *questions: bool) -> tuple[bool, ...]:
        """Of each question, whether some process says yes; waits for the hosts, not for a GPU."""
        if self.count == 1:
            return questions
        votes = torch.tensor(questions, dtype=torch.uint8)
        distributed.all_reduce(votes, distributed.ReduceOp.MAX)
        return tuple(map(bool, votes.tolist()))

    def share(self, indices: Indices, padding: int) -> Indices:
        """This process's part of the rows of a batch; the parts differ by one row at most.

        Args:
            indices: the rows of all processes.
            padding: what stands for a row of padding alone. A process for which no row is left
                takes it, since all must take part in each step.
        """
        if self.count == 1:
            return indices
        part = np.array_split(indices, self.count)[self.rank]
        return part if len(part) else np.array([padding])

    def most(self, sequences: int) -> int:
        """The sequences of the largest share of a batch."""
        return -(-sequences // self.count)

    def seed(self, seed: int) -> int:
        """A seed for what must differ between processes, such as dropout; rank 0 takes `seed`."""
        if self.rank == 0:
            return seed
        mixed = np.random.SeedSequence([seed % 2**64, self.rank]).generate_state(1)
        return int(mixed[0])  # 32 bits: of more, torch's generator for the CPU takes no notice


SINGLE = Ranks()
"""The one process of a technique that is not parallel."""


def ranks_of(technique: Technique) -> Ranks:
    """The processes that this one was started with by vramlab.stages.launch.

    Raises:
        RuntimeError: the technique is parallel, and this process was started alone.
    """
    if technique.parallel == "none":
        return SINGLE
    if not distributed.is_initialized():
        raise RuntimeError(f"parallel {technique.parallel} needs processes that were launched")
    return Ranks(distributed.get_rank(), distributed.get_world_size())


def processes_of(technique: Technique, gpus: int) -> int:
    """Number of processes that a technique takes on a machine of so many GPUs; at least 1."""
    return max(gpus, 1) if technique.processes == "all" else technique.processes


class LossModule(nn.Module):
    """The model and its loss head as one module, so that a tied embedding is inside it."""

    def __init__(self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        """`loss` takes inputs and targets, each [batch, time], and calls `model`."""
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The summed loss, a scalar."""
        return self._loss(inputs, targets)


def _ddp(loss: LossModule, device: torch.device) -> nn.Module:
    """Gradients live in the buckets that are sent, so that there is one copy of them."""
    with warnings.catch_warnings():  # torch 2.13 has another name for it, which 2.8 does not know
        warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
        return DistributedDataParallel(
            loss,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            broadcast_buffers=False,  # the positions are constants
        )


def _fsdp(loss: LossModule, device: torch.device) -> nn.Module:
    """Each block is gathered for itself, the embedding and the last norm with the root."""
    # Here, since the import takes most of a second: single processes do without it.
    from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415

    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for block in loss.model.get_submodule("blocks").children():
        fully_shard(block, mesh=mesh)
    fully_shard(loss, mesh=mesh)  # it changes the module itself
    return loss


PARALLEL: dict[str, Callable[[LossModule, torch.device], nn.Module]] = {"ddp": _ddp, "fsdp": _fsdp}
"""What spreads the model over the processes, for each value of the `parallel` axis but none."""


@contextlib.contextmanager
def no_sync(wrapped: nn.Module | None, last: bool) -> Iterator[None]:
    """Add up the gradients of a micro-batch here only, unless it is the last of a step.

    FSDP sends each: what it has not sent it would have to keep whole.
    """
    if last or not isinstance(wrapped, DistributedDataParallel):
        yield
        return
    with wrapped.no_sync():
        yield


def local(value: Any) -> Any:
    """The same nest of dictionaries and lists, with this process's share of each spread tensor."""
    if isinstance(value, Mapping):
        return {key: local(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(local, value))
    # A share may be a view of padded storage, which would be saved as well.
    return value.to_local().detach().clone() if hasattr(value, "to_local") else value


def load_model(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `local` gave of a model's state."""
    own = model.state_dict()
    model.load_state_dict({name: _spread_like(own[name], value) for name, value in state.items()})


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load what `local` gave of an optimizer's state."""
    parameters: Iterable[Tensor] = (p for g in optimizer.param_groups for p in g["params"])
    states = {
        index: {name: _spread_like(parameter, value) for name, value in values.items()}
        for index, parameter in enumerate(parameters)
        if (values := state["state"].get(index)) is not None
    }
    optimizer.load_state_dict({**state, "state": states})


def _spread_like(parameter: Tensor, value: Any) -> Any:
    """A share as a part of a tensor that is spread as `parameter` is; a scalar is no share."""
    if not hasattr(parameter, "to_local") or not isinstance(value, Tensor) or value.dim() == 0:
        return value
    from torch.distributed.tensor import DTensor  # noqa: PLC0415  see _fsdp

    spread: Any = parameter
    return DTensor.from_local(
        value.to(spread.to_local().device),
        spread.device_mesh,
        spread.placements,
        run_check=False,
        shape=spread.shape,
        stride=spread.stride(),
    )
