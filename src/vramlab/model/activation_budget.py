"""Selective checkpointing to a budget: which results of a block are kept for the backward pass.

How it works: a block is run once on its real input, and each operation is noted with the bytes of
its result and with what it costs to compute again. Without checkpointing autograd would keep some
of these results: their bytes, times the budget, are what may be kept. Which results to keep is then
a 0-1 knapsack: the most cost avoided in so many bytes. torch's selective checkpointing keeps them,
and computes all others again.

What an operation costs is told by a roofline: the bytes that it moves, or its floating-point
operations as so many bytes, whichever is more. So equal shapes give equal plans, on any machine.
A mask of dropout is computed again from the random state at the beginning of the block: either all
operations that draw random numbers are computed again, or none.

Source of the knapsack: torch's partitioner for compiled code (`activation_memory_budget`), which
solves it on the graph.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import (
    SAC_IGNORED_OPS,
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from vramlab.model.kernel_flops import flops_of
from vramlab.model.storage import storage_address

FLOPS_PER_BYTE = 300
"""Arithmetic in the time of moving a byte, on an H100: 990 Tflop/s in bfloat16, 3.35 TB/s."""
STEPS = 1000
"""Parts of the budget that sizes are rounded up to."""

Key = tuple[Any, int]
"""An operation, and how many of its kind came before it in the block."""


@dataclass(frozen=True)
class Operation:
    """One operation of a block."""

    key: Key
    size: int
    """Bytes of its new results; 0 for a view."""
    cost: float
    """What it costs to compute again, in bytes moved."""
    random: bool
    """Whether it draws random numbers."""
    keepable: bool = True
    """Whether it makes new results, which nothing changes in place."""


class WithinBudget:
    """Runs blocks, and keeps for the backward pass what a budget allows."""

    def __init__(self, budget: float) -> None:
        """`budget`: share of the bytes that no checkpointing keeps; 0 keeps the input alone."""
        self._budget = budget
        self._plans: weakref.WeakKeyDictionary[Any, dict[Any, frozenset[Key]]]
        self._plans = weakref.WeakKeyDictionary()

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a block, or its forward, with its arguments."""
        if self._budget >= 1 or not torch.is_grad_enabled():
            return function(*args, **kwargs)
        block = getattr(function, "__self__", function)
        plans = self._plans.setdefault(block, {})
        situation = _situation(block, _tensors((args, kwargs)))
        if situation not in plans:
            with _uncounted():
                plans[situation] = plan(function, args, kwargs, self._budget)
        kept = plans[situation]

        def contexts() -> Any:
            return create_selective_checkpoint_contexts(_policy(kept))

        return checkpoint(function, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _situation(block: Any, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    """All that decides which operations a block does, and what autograd keeps of them."""
    kinds = {tensor.device.type for tensor in tensors}
    return (
        tuple((tuple(t.shape), t.dtype, t.requires_grad) for t in tensors),
        getattr(block, "training", None),
        *(torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) for kind in kinds),
    )


@contextlib.contextmanager
def _uncounted() -> Iterator[None]:
    """Leave what counts bytes or operations: planning is no part of a step.

    The other modes stay, such as the one that makes tensors without values.
    """
    with _disable_current_modes() as modes, contextlib.ExitStack() as stack:
        for mode in reversed(modes):  # the innermost comes first
            counts = getattr(mode, "only_counts", False)  # vramlab.memory.counter
            if not counts and type(mode).__module__ != flop_counter.__name__:
                stack.enter_context(mode)
        yield


def plan(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], budget: float
) -> frozenset[Key]:
    """The operations of a block whose results are kept.

    Args:
        function: the block.
        args: its arguments, with real values or without.
        kwargs: its keyword arguments.
        budget: share of the bytes that autograd would keep beside the arguments.
    """
    operations, saved = observe(function, args, kwargs)
    return choose(operations, int(saved * budget))


def observe(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Operation], int]:
    """The operations of a block, and the bytes that autograd keeps of it beside the arguments."""
    observer = _Observer()

    def needed(_: None) -> Tensor:
        raise RuntimeError("this run of the block has no backward pass")

    device = next((t.device for t in _tensors((args, kwargs))), torch.device("cpu"))
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        # A copy of a weight in 16 bits that this run cached would be missing in the next.
        torch.autocast(
            device.type,
            torch.get_autocast_dtype(device.type),
            enabled=torch.is_autocast_enabled(device.type),
            cache_enabled=False,
        ),
        torch.autograd.graph.saved_tensors_hooks(observer.save, needed),
        observer,
    ):
        function(*args, **kwargs)
    return observer.operations(), observer.saved_bytes


def choose(operations: Sequence[Operation], limit: int) -> frozenset[Key]:
    """Which results to keep in `limit` bytes, so that what is computed again costs least."""
    random = [operation for operation in operations if operation.random]
    others = [operation for operation in operations if not operation.random]
    best = _knapsack(others, limit)
    left = limit - sum(operation.size for operation in random)
    if random and left >= 0 and all(operation.keepable for operation in random):
        with_random = [*random, *_knapsack(others, left)]
        best = max(best, with_random, key=lambda kept: sum(operation.cost for operation in kept))
    return frozenset(operation.key for operation in best)


def _knapsack(operations: Sequence[Operation], limit: int) -> list[Operation]:
    """The operations with the highest cost whose results fit in `limit` bytes."""
    items = [o for o in operations if o.keepable and 0 < o.size <= limit]
    unit = max(limit / STEPS, 1.0)
    weights = [int(np.ceil(item.size / unit)) for item in items]
    # best[i, w]: the highest cost of the first i items in w parts of the budget.
    best = np.zeros((len(items) + 1, int(limit / unit) + 1))
    for i, (item, weight) in enumerate(zip(items, weights, strict=True)):
        best[i + 1] = best[i]
        if weight < best.shape[1]:
            taken = best[i, : best.shape[1] - weight] + item.cost
            best[i + 1, weight:] = np.maximum(best[i, weight:], taken)
    kept, left = [], best.shape[1] - 1
    for i in range(len(items), 0, -1):
        if best[i, left] != best[i - 1, left]:
            kept.append(items[i - 1])
            left -= weights[i - 1]
    return kept


def _policy(kept: frozenset[Key]) -> Callable[..., CheckpointPolicy]:
    """torch asks it of each operation, in the forward pass and, in some versions, in the second."""
    counts: dict[bool, Counter[Any]] = {False: Counter(), True: Counter()}

    def policy(context: Any, function: Any, *args: Any, **_: Any) -> CheckpointPolicy:
        if _casts_weight(function, args):
            return CheckpointPolicy.PREFER_RECOMPUTE
        count = counts[context.is_recompute]
        key = function, count[function]
        count[function] += 1
        return CheckpointPolicy.MUST_SAVE if key in kept else CheckpointPolicy.PREFER_RECOMPUTE

    return policy


def _casts_weight(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation is autocast's copy of a weight, which a later call may find cached."""
    cast = function is torch.ops.aten._to_copy.default
    return bool(cast and args[0].is_leaf and args[0].requires_grad)


class _Observer(TorchDispatchMode):
    """Notes the operations that run below it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._noted: list[tuple[Operation, set[int]]] = []
        self._counts: Counter[Any] = Counter()
        # Storages by address, numbered as they are made. The weak references keep an address from
        # being used again, by a storage that no operation here has made.
        self._numbers: dict[int, int] = {}
        self._storages: list[StorageWeakRef] = []
        self._sizes: list[int] = []
        self._changed: set[int] = set()
        self._saved: set[int] = set()

    def save(self, tensor: Tensor) -> None:
        """Note a tensor that autograd would keep, and keep nothing of it."""
        self._saved |= self._known([tensor])

    @property
    def saved_bytes(self) -> int:
        """Bytes of the results that autograd would keep."""
        return sum(self._sizes[number] for number in self._saved)

    def operations(self) -> list[Operation]:
        """What ran, in order."""
        return [
            replace(operation, keepable=operation.keepable and not made & self._changed)
            for operation, made in self._noted
        ]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in SAC_IGNORED_OPS or _casts_weight(func, args):
            return result
        key = func, self._counts[func]
        self._counts[func] += 1
        taken = {storage_address(t): t for t in _tensors((args, kwargs))}
        if func._schema.is_mutable:
            self._changed |= self._known(taken.values())
        made = {storage_address(t): t for t in _tensors(result) if storage_address(t) not in taken}
        numbers = {self._number(address, tensor) for address, tensor in made.items()}
        size = sum(map(_bytes, made.values()))
        work = flops_of(func, args, kwargs or {}, result)
        cost = max(sum(map(_bytes, taken.values())) + size, work / FLOPS_PER_BYTE)
        random = torch.Tag.nondeterministic_seeded in func.tags
        keepable = not func._schema.is_mutable
        operation = Operation(key, size, cost if made else 0.0, random, keepable)
        self._noted.append((operation, numbers))
        return result

    def _number(self, address: int, tensor: Tensor) -> int:
        self._numbers[address] = len(self._sizes)
        self._sizes.append(_bytes(tensor))
        self._storages.append(StorageWeakRef(tensor.untyped_storage()))
        return self._numbers[address]

    def _known(self, tensors: Iterable[Tensor]) -> set[int]:
        """The numbers of the storages of tensors that operations of the block have made."""
        return {self._numbers[a] for a in map(storage_address, tensors) if a in self._numbers}


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()
