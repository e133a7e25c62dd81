"""Which part of a training step each live byte belongs to, operation by operation.

How it works: a dispatch mode receives each operation of a step, counts each new storage once until
it is freed, and assigns it to a kind (attention, norm, gradients, ...):

- Forward pass: hooks on the modules record which module runs; a new storage belongs to it.
- Backward pass: no module runs, but autograd numbers the nodes of its graph in the order in which
  the forward pass creates them. The hooks record the number at which each module starts and ends,
  so the number of the node that runs now determines the module.
- A tensor in the shape of a parameter that the backward pass creates is a gradient.
- On CUDA, kernels also take scratch memory that they free before the operation returns. It is the
  peak of torch's allocator during the operation, minus what lasts, and counts as `other`.

Memory that is not allocated by an operation of torch's dispatcher (workspaces of libraries, the
inside of compiled code) is not seen here.
"""

from __future__ import annotations

import bisect
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import set_checkpoint_early_stop

from vramlab.memory.counter import Counter
from vramlab.model.adapters import is_adapter
from vramlab.model.quantised import stored
from vramlab.results.memory import KINDS, Moment
from vramlab.training.learner import Learner
from vramlab.training.step import Phase

MOMENTS = 200
"""Maximum number of moments in a timeline."""
_LOSS = "logits and loss"


@dataclass
class Scratch:
    """Bytes that were allocated and freed again inside a block."""

    size: int = 0


@contextlib.contextmanager
def scratch_of(device: torch.device) -> Iterator[Scratch]:
    """Measure the scratch memory of the operations inside the block; 0 on a CPU."""
    scratch = Scratch()
    if device.type != "cuda":
        yield scratch
        return
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    yield scratch
    outlasting = max(before, torch.cuda.memory_allocated(device))
    scratch.size = torch.cuda.max_memory_allocated(device) - outlasting


def _plain(tensor: Any) -> list[torch.Tensor]:
    """What a tensor subclass, such as a moment in 8 bits, consists of; else the tensor itself."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    return [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]


class Breakdown(Counter):
    """Counts the live bytes of one step by kind. Create it before the step; see `watching`."""

    def __init__(
        self, learner: Learner, optimizer: torch.optim.Optimizer, outside: int | None = None
    ) -> None:
        """`outside`: bytes allocated now; those not of the model or the optimizer are `other`.

        If it is None, tensors from before the step are counted when an operation uses them.
        """
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
        self._trained_shapes = {p.shape for p in learner.trained_parameters()}
        self._adapted = learner.technique.adapter != "none"
        self._current_kind, self._is_cast = "other", False
        self._counting_inputs, self._knows_outside = False, outside is not None
        for name, tensor in learner.model.named_parameters():
            for part in stored(tensor):
                self._add_as(part, "quantised weights")
            self._add_as(tensor, "adapters" if is_adapter(name) else "parameters")
        for buffer in learner.model.buffers():
            self._add_as(buffer, "parameters")
        for state in optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor) and value.device.type == self.device_type:
                    for part in _plain(value):
                        self._add_as(part, "optimizer state")
        if outside is not None:
            self._change("other", outside - self._live)
            self._live = outside
        self._peak = self._live

    def on_phase(self, phase: Phase) -> None:
        """Callback for train_step."""
        self._phase = phase

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Count the operations inside the block; run the step in it."""
        hooks = []
        for module, kind in dict(self._learner.model.kinds()).items():
            hooks.append(
                module.register_forward_pre_hook(lambda *_, kind=kind: self._enter_module(kind))
            )
            hooks.append(module.register_forward_hook(self._leave_module, always_call=True))
        hooks += [p.register_hook(self._mark_gradient) for p in self._learner.trained_parameters()]
        try:
            # Checkpointing ends a recomputation early by an exception, which does not survive hooks
            # and dispatch mode (torch 2.11: "returned NULL without setting an exception").
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
            interval = range(start, min(start + stride, len(self.moments)))
            peak_at = max(interval, key=lambda i: sum(self.moments[i].values()))
            chosen.append(Moment(operation=peak_at, by_kind=self.moments[peak_at]))
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
        """The kind of a tensor that is created by the current operation."""
        if self._modules:  # also in a recomputation during the backward pass
            return self._modules[-1]
        if self._phase in {"after_backward", "after_optimizer"}:
            return "other"
        node = torch._C._current_autograd_node()
        if node is None:
            return _LOSS
        index = bisect.bisect_right(self._nodes, node._sequence_nr(), key=lambda pair: pair[0])
        return self._nodes[index - 1][1] if index else "other"

    def _count_inputs(self, args: Any) -> None:
        self._counting_inputs = self._knows_outside
        super()._count_inputs(args)
        self._counting_inputs = False

    def _count(self, value: Any) -> None:
        if isinstance(value, torch.Tensor) and value.shape in self._shapes:
            before, in_backward = self._current_kind, torch._C._current_autograd_node() is not None
            if in_backward and not self._modules and value.shape in self._trained_shapes:
                # Also each of the two gradients of the tied weight, before they are summed.
                self._current_kind = "gradients"
            elif self._is_cast:
                of_adapter = self._adapted and value.shape in self._trained_shapes
                # autocast's 16-bit copy of a weight
                self._current_kind = "adapters" if of_adapter else "parameters"
            super()._count(value)
            self._current_kind = before
        else:
            super()._count(value)

    def _add(self, storage: torch.UntypedStorage) -> None:
        before, new = self._live, id(storage) not in self._seen
        super()._add(storage)
        if new and self._counting_inputs:  # allocated before the step: part of `outside`
            self._live = before
        kind = "other" if new and self._counting_inputs else self._current_kind
        self._change(self._kind_of.setdefault(id(storage), kind), self._live - before)

    def _remove(self, key: int, reference: object) -> None:
        before = self._live
        super()._remove(key, reference)
        self._change(self._kind_of.pop(key), self._live - before)

    def _add_as(self, tensor: torch.Tensor, kind: str) -> None:
        self._current_kind = kind
        self._add(tensor.untyped_storage())

    def _mark_gradient(self, gradient: torch.Tensor) -> None:
        """Hook of a parameter: its gradient may have been counted as another kind."""
        key = id(gradient.untyped_storage())
        if key in self._seen and self._kind_of[key] != "gradients":
            size = self._seen[key][1]
            self._change(self._kind_of[key], -size)
            self._change("gradients", size)
            self._kind_of[key] = "gradients"

    def _change(self, kind: str, size: int) -> None:
        self._by_kind[kind] += size

    def _enter_module(self, kind: str) -> None:
        inner = bool(self._modules) and self._modules[-1] in {"attention", "feed-forward"}
        self._modules.append(self._modules[-1] if inner else kind)
        self._note_nodes()

    def _leave_module(self, *_: object) -> None:
        self._modules.pop()
        self._note_nodes()

    def _note_nodes(self) -> None:
        """Assign the autograd nodes that are created from now on to the current module."""
        number = torch._C._autograd._get_sequence_nr()
        self._nodes.append((number, self._modules[-1] if self._modules else _LOSS))
