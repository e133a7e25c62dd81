"""Which part of a training step each live byte belongs to, operation by operation.

How it works: a dispatch mode sees each operation of a step and counts each new storage once, until
it is freed. In the forward pass, hooks on the modules say which module runs, and the storage
belongs to that one. In the backward pass no module runs, but autograd numbers the nodes of its
graph in the order in which the forward pass made them; the hooks noted which numbers belong to
which module, and the node that runs now tells whose storage it is. A gradient of a parameter counts
as gradient, whoever made it. On CUDA an operation's kernels also take scratch memory that they give
back before it ends: the highest count of torch's allocator within the operation shows it, and it is
`other`. What no operation of torch's dispatcher makes (workspaces of libraries, the inside of
compiled code) is not seen here.
"""

from __future__ import annotations

import bisect
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import set_checkpoint_early_stop

from vramlab.memory.counter import Counter
from vramlab.model.attention import SelfAttention
from vramlab.model.decoder import Block, Transformer
from vramlab.results.memory import KINDS, Moment
from vramlab.training.learner import Learner
from vramlab.training.step import Phase

MOMENTS = 200
"""Most moments of a timeline."""
_HEAD = "logits and loss"
_MODULES: tuple[tuple[type[nn.Module], str], ...] = (
    (SelfAttention, "attention"),
    (nn.LayerNorm, "norm"),
    (nn.Sequential, "feed-forward"),
    (Block, "residual"),
    (Transformer, "embedding"),
)


@dataclass
class Scratch:
    """Bytes that were allocated inside a block and freed before its end."""

    size: int = 0


@contextlib.contextmanager
def scratch_of(device: torch.device) -> Iterator[Scratch]:
    """Measure the scratch memory of the operations inside the block; 0 on a CPU."""
    found = Scratch()
    if device.type != "cuda":
        yield found
        return
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    yield found
    lasting = max(before, torch.cuda.memory_allocated(device))
    found.size = torch.cuda.max_memory_allocated(device) - lasting


class Breakdown(Counter):
    """Counts the live bytes of one step, by kind; made before the step, entered around it."""

    def __init__(
        self, learner: Learner, optimizer: torch.optim.Optimizer, outside: int | None = None
    ) -> None:
        """`outside`: bytes that the device holds now; what is not the model's counts as other."""
        super().__init__(sys.maxsize, learner.device.type)
        self.moments: list[dict[str, int]] = []
        self.at_peak: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._learner = learner
        self._by_kind = dict.fromkeys(KINDS, 0)
        self._kind_of: dict[int, str] = {}
        self._modules: list[str] = []
        self._nodes: list[tuple[int, str]] = []
        self._phase: Phase = "before"
        self._shapes = {p.shape for p in learner.model.parameters()}
        self._current_kind, self._is_cast = "other", False
        self._in_arguments, self._all_known = False, outside is not None
        for tensor in (*learner.model.parameters(), *learner.model.buffers()):
            self._add_as(tensor, "parameters")
        for state in optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor) and value.device.type == self.device_type:
                    self._add_as(value, "optimizer state")
        if outside is not None:
            self._change("other", outside - self._live)
            self._live = outside
        self._peak = self._live

    def on_phase(self, phase: Phase) -> None:
        """Callback for train_step."""
        self._phase = phase

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Count what happens inside the block."""
        hooks = []
        for module in self._learner.model.modules():
            kind = next((kind for cls, kind in _MODULES if isinstance(module, cls)), None)
            if kind is not None:
                hooks.append(module.register_forward_pre_hook(lambda *_, kind=kind: self._in(kind)))
                hooks.append(module.register_forward_hook(self._out, always_call=True))
        hooks += [p.register_hook(self._is_gradient) for p in self._learner.model.parameters()]
        try:
            # The exception that ends a recomputation early is lost on its way through hooks and
            # dispatch mode (torch 2.11: "returned NULL without setting an exception").
            with set_checkpoint_early_stop(False), self:
                self._note_nodes()
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def timeline(self) -> list[Moment]:
        """At most MOMENTS moments: the peak of each of that many intervals of operations."""
        stride = -(-len(self.moments) // MOMENTS) or 1
        chosen = []
        for start in range(0, len(self.moments), stride):
            stretch = range(start, min(start + stride, len(self.moments)))
            at = max(stretch, key=lambda i: sum(self.moments[i].values()))
            chosen.append(Moment(operation=at, by_kind=self.moments[at]))
        return chosen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._current_kind = self._kind()
        self._is_cast = func is torch.ops.aten._to_copy.default
        with scratch_of(self._learner.device) as scratch:
            result = super().__torch_dispatch__(func, types, args, kwargs)
        moment = dict(self._by_kind)
        moment["other"] += scratch.size
        self.moments.append(moment)
        if sum(moment.values()) > sum(self.at_peak.values()):
            self.at_peak = moment
        return result

    def _kind(self) -> str:
        """The kind of a tensor that is created now."""
        if self._modules:  # also in a recomputation during the backward pass
            return self._modules[-1]
        if self._phase in {"after_backward", "after_optimizer"}:
            return "other"
        node = torch._C._current_autograd_node()
        if node is None:
            return _HEAD
        index = bisect.bisect_right(self._nodes, node._sequence_nr(), key=lambda pair: pair[0])
        return self._nodes[index - 1][1] if index else "other"

    def _count_found(self, args: Any) -> None:
        self._in_arguments = self._all_known
        super()._count_found(args)
        self._in_arguments = False

    def _count(self, value: Any) -> None:
        if isinstance(value, torch.Tensor) and value.shape in self._shapes:
            before, in_backward = self._current_kind, torch._C._current_autograd_node() is not None
            if in_backward and not self._modules:
                self._current_kind = (
                    "gradients"  # perhaps one of the two gradients of a tied weight
                )
            elif self._is_cast:
                self._current_kind = "parameters"  # autocast's copy in 16 bits
            super()._count(value)
            self._current_kind = before
        else:
            super()._count(value)

    def _add(self, storage: torch.UntypedStorage) -> None:
        before, new = self._live, id(storage) not in self._seen
        super()._add(storage)
        if new and self._in_arguments:  # allocated before the step: part of `outside`
            self._live = before
        kind = "other" if new and self._in_arguments else self._current_kind
        self._change(self._kind_of.setdefault(id(storage), kind), self._live - before)

    def _remove(self, key: int, reference: object) -> None:
        before = self._live
        super()._remove(key, reference)
        self._change(self._kind_of.pop(key), self._live - before)

    def _add_as(self, tensor: torch.Tensor, kind: str) -> None:
        self._current_kind = kind
        self._add(tensor.untyped_storage())

    def _is_gradient(self, gradient: torch.Tensor) -> None:
        key = id(gradient.untyped_storage())
        if key in self._seen and self._kind_of[key] != "gradients":
            size = self._seen[key][1]
            self._change(self._kind_of[key], -size)
            self._change("gradients", size)
            self._kind_of[key] = "gradients"

    def _change(self, kind: str, size: int) -> None:
        self._by_kind[kind] += size

    def _in(self, kind: str) -> None:
        inner = bool(self._modules) and self._modules[-1] in {"attention", "feed-forward"}
        self._modules.append(self._modules[-1] if inner else kind)
        self._note_nodes()

    def _out(self, *_: object) -> None:
        self._modules.pop()
        self._note_nodes()

    def _note_nodes(self) -> None:
        """Assign autograd nodes created from now on to the current module."""
        number = torch._C._autograd._get_sequence_nr()
        self._nodes.append((number, self._modules[-1] if self._modules else _HEAD))
