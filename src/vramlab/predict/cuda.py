"""Make a training step on fake CPU tensors allocate what it would allocate on CUDA.

A CPU build of torch has no autograd for fake CUDA tensors, so the step runs on fake CPU tensors.
Most operations create tensors of the same sizes on both devices. This module covers the rest:

- torch selects another kernel on CUDA, which saves other tensors (dropout, attention, Triton):
  `emulate_cuda` replaces the functions that select it while a step runs.
- flash-attn, flex_attention and offload have no code for a CPU: `adapt_to_cuda` replaces them in a
  learner, by code that saves tensors of the same sizes.
- autograd adds gradients in place where it can, but never under a mode: `CudaCounter` does.
- The caching allocator rounds each size up, kernels take scratch memory while they run, and cuBLAS
  keeps a workspace for each thread that calls it: `CudaCounter` adds these bytes.

docs/estimate.md has the source of each rule.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vramlab.base.errors import ModelError
from vramlab.config.axes import ATTENTION_VALUES
from vramlab.memory.counter import Counter, hold_tensors
from vramlab.model import cut_head, fused_head
from vramlab.model.attention import SelfAttention
from vramlab.model.offload import Offload
from vramlab.model.torchao_adamw import MINIMAL_SIZE
from vramlab.predict.autocast import autocast_as_on_cuda
from vramlab.predict.cut_cross_entropy import CutCrossEntropy
from vramlab.predict.flash_attention import flash_attention
from vramlab.predict.replaced import replaced
from vramlab.predict.scratch import granules, scratch
from vramlab.training.learner import Learner

CUBLAS_WORKSPACE = 32 * 2**20
"""Workspace of cuBLAS for each thread that multiplies matrices: on Hopper; elsewhere 8.1 MiB."""


CUBLASLT_WORKSPACE = 2**20
"""Additional workspace of cuBLASLt, which computes matrix products with a bias."""


FLASH_WIDTH = 256
"""Maximum head width of the flash kernels."""


_HALF = (torch.bfloat16, torch.float16)


_ATEN = torch.ops.aten
_DEVICE = torch.ops.prim.device.default
_WITH_HEADS = 4
"""Dimensions of queries that have heads."""
_ONLY_OWNER = (4, 2)
"""References to a tensor, and to its storage, as a mode sees them when autograd adds to a gradient
that it alone holds: its own, and those of the call and of the objects of Python. One that Python
code keeps looks the same; no code here keeps any."""


@contextlib.contextmanager
def emulate_cuda() -> Iterator[None]:
    """Replace functions that select another kernel on CUDA by ones that allocate as it does.

    A TorchFunctionMode is not enough: torch disables it in the backward pass, where checkpointing
    calls these functions again.
    """
    functions = {
        place: functools.partial(function, getattr(*place))
        for place, function in _FUNCTIONS.items()
    }
    with replaced(functions), autocast_as_on_cuda():
        yield


class CudaCounter(Counter):
    """Counts as torch's CUDA allocator does: sizes rounded up to granules, plus scratch memory."""

    def __init__(self) -> None:
        super().__init__(sys.maxsize)
        self._host_storages: set[int] = set()
        self._workspaces: dict[tuple[str, bool], int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: a predicted step is never compiled, and the guard takes longer than counting."""
        return False

    def leave_out(self, tensors: Iterable[Tensor]) -> None:
        """Stop counting tensors that are in host memory when training on CUDA."""
        for tensor in tensors:
            key = id(tensor.untyped_storage())
            self._remove(key, None)
            self._host_storages.add(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`; count its outputs, its scratch memory and the workspaces that it needs."""
        if func is _DEVICE:  # asked once for each node of the graph
            return args[0].fake_device
        if hold_tensors(types):
            return NotImplemented
        for library, size in _workspaces_of(func, args).items():
            in_backward = torch._C._current_autograd_node() is not None
            self._keep_workspace((library, in_backward), size)
        run = _layer_norm if func is _ATEN.native_layer_norm.default else func
        if func is _ATEN.add.Tensor and _adds_to_its_own(args):
            run = _ATEN.add_.Tensor
        result = self._counted(run, args, kwargs or {})
        if size := scratch(func, args):
            self._use_scratch(size)
        return result

    def _keep_workspace(self, key: tuple[str, bool], size: int) -> None:
        """Keep the workspace of a library, in the backward pass or not, from its first use on."""
        self._workspaces[key] = size

    def _use_scratch(self, size: int) -> None:
        """Take scratch memory, and free it."""
        self._peak = max(self._peak, self._live + size)

    def workspaces(self) -> int:
        """Bytes of the workspaces that libraries never free.

        They belong to a thread, and autograd runs the backward pass in a thread of its own, so a
        library used in both passes has two.
        """
        return sum(self._workspaces.values())

    def add_workspaces(self, other: CudaCounter) -> None:
        """Count the workspaces that another counter saw, for the same two threads."""
        self._workspaces |= other._workspaces

    def _add(self, storage: torch.UntypedStorage) -> None:
        if id(storage) not in self._host_storages:
            super()._add(storage)

    def _size(self, storage: torch.UntypedStorage) -> int:
        return granules(storage.nbytes())


def _adds_to_its_own(args: Any) -> bool:
    """Whether autograd adds a gradient to one that nothing else holds, which takes no memory.

    It does so in place, but not under a dispatch mode such as a counter, where it makes a new
    tensor. Source: `can_accumulate_inplace` in torch/csrc/autograd/input_buffer.cpp.
    """
    if torch.is_grad_enabled() or torch._C._current_graph_task_id() < 0:
        return False
    total, more = args[:2]
    if not isinstance(more, Tensor) or (total.shape, total.dtype) != (more.shape, more.dtype):
        return False
    storage = total.untyped_storage()
    owners = total._use_count(), torch._C._storage_Use_Count(storage._cdata)
    return owners == _ONLY_OWNER and _ATEN.is_non_overlapping_and_dense.default(total)


def _layer_norm(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Its mean and deviation: CUDA keeps them in float32, a CPU in the type of the input."""
    out, mean, deviation = _ATEN.native_layer_norm.default(*args)
    return out, mean.float(), deviation.float()


def _workspaces_of(func: Any, args: Any) -> Mapping[str, int]:
    """The workspaces that an operation needs; cuBLASLt adds vectors only."""
    if func in _WITH_BIAS and args[0].dim() != 1:
        return _CUBLAS
    return _WORKSPACES.get(func, {})


def adapt_to_cuda(learner: Learner) -> None:
    """Replace the attention and offload of a learner whose code needs CUDA; changes it in place."""
    attention = learner.technique.attention
    if ATTENTION_VALUES[attention].predicted_as_flash:
        compiled_flash = attention == "flash" and learner.compiled is not None
        for module in learner.model.modules():
            if isinstance(module, SelfAttention):
                module.kernel = flash_attention if compiled_flash else _flash_kernel
    if learner.technique.offload != "none":
        learner.model.offload = Offload(lambda _: _Uncounted())


def cuda_optimizer(learner: Learner, learning_rate: float) -> torch.optim.Optimizer:
    """The learner's optimizer, with the default that torch has on CUDA: `foreach`."""
    if learner.technique.optimizer == "ao-offload":
        return _Offloaded(learner.trained_parameters(), learning_rate)
    optimizer = learner.optimizer(learning_rate)
    for group in optimizer.param_groups:
        if group.get("foreach", True) is None and not group.get("fused"):
            group["foreach"] = True
    return optimizer


class _Offloaded(torch.optim.AdamW):
    """In place of torchao's: the moments of small tensors alone are on the device.

    Large tensors are updated on the host; their gradients stay until the step ends.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], learning_rate: float) -> None:
        self._all = parameters
        small = [p for p in parameters if p.numel() < MINIMAL_SIZE]
        super().__init__(small or [torch.zeros(0)], lr=learning_rate, fused=True)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Free all gradients."""
        for parameter in self._all:
            parameter.grad = None


def _dropout(
    original: Callable[..., Tensor],
    x: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Tensor:
    """CUDA's dropout is one kernel, which saves a mask of one byte per value."""
    if inplace or not training or not 0 < p < 1:
        return original(x, p, training, inplace)
    return torch.native_dropout(x, p, True)[0]


class _AttentionArguments(NamedTuple):
    """The arguments of scaled_dot_product_attention."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False


def _attention(_: Callable[..., Tensor], *arguments: Any, **options: Any) -> Tensor:
    """The kernel that torch prefers on CUDA: flash, else memory-efficient, else matrix products."""
    q, k, v, attn_mask, dropout_p, is_causal, scale, enable_gqa = _AttentionArguments(
        *arguments, **options
    )
    _check_heads(q, k)
    if torch.is_autocast_enabled("cpu"):
        q, k, v = (x.to(torch.get_autocast_dtype("cpu")) for x in (q, k, v))
    options = {"is_causal": is_causal, "scale": scale}
    if q.dtype in _HALF and attn_mask is None and q.shape[-1] <= FLASH_WIDTH:
        results = _ATEN._scaled_dot_product_flash_attention(q, k, v, dropout_p, **options)
    elif enable_gqa:  # not supported by the memory-efficient kernel
        results = _ATEN._scaled_dot_product_attention_math(
            q, k, v, attn_mask, dropout_p, enable_gqa=True, **options
        )
    else:
        if attn_mask is not None:
            bias = torch.where(attn_mask, 0.0, -math.inf).to(q.dtype)
            attn_mask = bias.expand(*q.shape[:-1], k.shape[-2])
        results = _ATEN._scaled_dot_product_efficient_attention(
            q, k, v, attn_mask, True, dropout_p, **options
        )
    out: Tensor = results[0]
    return out


def _check_heads(q: Tensor, k: Tensor) -> None:
    """Refuse what torch's kernels refuse: operations on fake tensors do not look at heads.

    Raises:
        ModelError: queries, [batch, heads, time, head width], cannot share the heads of keys.
    """
    if q.dim() < _WITH_HEADS or k.dim() < _WITH_HEADS:
        return
    queries, keys = q.shape[-3], k.shape[-3]
    if queries > 1 and keys and queries % keys:
        raise ModelError(
            f"attention of {queries} heads cannot share {keys} heads of keys and values; let the "
            "model's num_key_value_heads divide its num_attention_heads"
        )


def _flash_kernel(q: Tensor, k: Tensor, v: Tensor, window: int | None, dropout: float) -> Tensor:
    """torch's flash kernel in place of those of flash-attn and flex_attention.

    All of them save the same tensors: q, k, v, the output and its log-sum-exp. The window, which
    changes no size, is ignored.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    grouped = q.shape[1] != k.shape[1]
    out = functional.scaled_dot_product_attention(
        q, k, v, dropout_p=dropout, is_causal=True, enable_gqa=grouped
    )
    return out.transpose(1, 2)


def _is_autocast_enabled(original: Callable[..., bool], *device_type: str) -> bool:
    """Without an argument, torch means CUDA; the fake step runs under the autocast of the CPU."""
    return original(*(device_type or ("cpu",)))


def _has_triton(_: Callable[..., bool], device: torch.device, dtype: torch.dtype) -> bool:
    """True for CUDA: Triton is part of the CUDA builds of torch."""
    return dtype in {torch.float32, *_HALF}


def _in_place(_: Callable[..., None], *__: Any) -> None:
    """In place of a kernel that only overwrites its arguments."""


def _add_product(original: Callable[..., None], total: Tensor, a: Tensor, b: Tensor) -> None:
    """Of two types, CUDA adds up in place, as of one."""
    if total.dtype == a.dtype:
        original(total, a, b)


def _cut_cross_entropy(_: Callable[..., Tensor], *args: Any) -> Tensor:
    loss: Tensor = CutCrossEntropy.apply(*args)  # type: ignore[no-untyped-call]
    return loss


_FUNCTIONS: Mapping[tuple[ModuleType, str], Callable[..., Any]] = {
    (functional, "dropout"): _dropout,
    (torch, "is_autocast_enabled"): _is_autocast_enabled,
    (functional, "scaled_dot_product_attention"): _attention,
    (fused_head, "has_triton"): _has_triton,
    (fused_head, "cross_entropy_"): _in_place,
    (fused_head, "add_product_"): _add_product,
    (cut_head, "linear_cross_entropy"): _cut_cross_entropy,
}
"""Replacements by module and name; the first argument is the function that is replaced."""


class _Uncounted:
    """The host, whose memory is not counted: it keeps shapes only."""

    def store(self, tensor: Tensor) -> Tensor:
        """A tensor without memory."""
        return torch.empty_like(tensor, device="meta")

    def stored(self, kept: Tensor) -> None:
        """Nothing to wait for."""

    def load(self, kept: Tensor) -> tuple[Tensor, None]:
        """One on the device."""
        return torch.empty_like(kept, device="cpu"), None

    def loaded(self, copy: None) -> None:
        """Nothing to wait for."""


_CUBLAS = {"cuBLAS": CUBLAS_WORKSPACE}


_WITH_BIAS = frozenset(
    getattr(packet, name) for packet in (_ATEN.addmm, _ATEN.addmm_) for name in packet.overloads()
)
"""Products to which a vector may be added."""


_WORKSPACES: Mapping[Any, Mapping[str, int]] = {
    _ATEN.mm.default: _CUBLAS,
    _ATEN.mm.out: _CUBLAS,
    _ATEN.bmm.default: _CUBLAS,
    _ATEN.baddbmm.default: _CUBLAS,
    **dict.fromkeys(
        (
            *(_ATEN.addmm.default, _ATEN.addmm.out, _ATEN.addmm_.default),
            *(_ATEN._scaled_mm.default, _ATEN._scaled_mm.out),
        ),
        _CUBLAS | {"cuBLASLt": CUBLASLT_WORKSPACE},
    ),
}
"""The workspaces that an operation needs, by library."""
