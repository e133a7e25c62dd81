"""What a CUDA device computes otherwise than a CPU, told to fake tensors that stand on a CPU.

A CPU build of torch has no autograd for fake CUDA tensors. Most operations make tensors of the same
sizes on both devices; those that do not are replaced here, and the scratch space that a CUDA kernel
takes from torch's allocator behind the dispatcher's back is listed. docs/estimate.md has the source
of each rule.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from vramlab.memory.counter import Counter
from vramlab.model import loss_heads as head
from vramlab.model.attention import Kernel, SelfAttention, flash_attn, flex
from vramlab.model.offload import SMALLEST
from vramlab.training.learner import Learner

GRANULE = 512
"""Bytes that the sizes of torch's CUDA allocator are multiples of (kMinBlockSize)."""
CUBLAS_WORKSPACE = 32 * 2**20
"""What cuBLAS keeps for each thread that multiplies matrices, on Hopper; 8.1 MiB elsewhere."""
CUBLASLT_WORKSPACE = 2**20
"""What cuBLASLt, which adds a bias on the way, keeps beside it."""
PROCESSORS, THREADS = 132, 2048
"""The multiprocessors of a Hopper card, and the threads that each can hold."""
FLASH_WIDTH = 256
"""Widest head of the flash kernels."""
_ROWS, _WIDTHS = 128, 32
"""What the flash kernels round the time, and the width of a head, up to in their scratch space."""
_BLOCK, _WARP = 512, 32
"""Threads of a block that adds up one column each, and those that read side by side."""
_UNSORTED = 3072
"""Most tokens whose gradients the embedding adds up without sorting them."""
_HALF = (torch.bfloat16, torch.float16)
_ATEN = torch.ops.aten


@contextlib.contextmanager
def as_on_cuda() -> Iterator[None]:
    """Inside, functions that choose another kernel on CUDA make what that one makes.

    A TorchFunctionMode would not do: torch switches it off during a backward pass.
    """
    before = {place: getattr(*place) for place in _FUNCTIONS}
    try:
        for place, function in _FUNCTIONS.items():
            setattr(*place, functools.partial(function, before[place]))
        yield
    finally:
        for place, function in before.items():
            setattr(*place, function)


class CudaCounter(Counter):
    """Counts as torch's CUDA allocator does: whole granules, with the kernels' scratch space."""

    def __init__(self) -> None:
        super().__init__(sys.maxsize)
        self._on_host: set[int] = set()
        self._workspaces: dict[tuple[str, bool], int] = {}

    def leave_out(self, tensors: Iterable[Tensor]) -> None:
        """Stop counting tensors that CUDA's code keeps in the host's memory."""
        for tensor in tensors:
            key = id(tensor.untyped_storage())
            self._remove(key, None)
            self._on_host.add(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`, and count what it made and took."""
        result = super().__torch_dispatch__(func, types, args, kwargs)
        self._peak = max(self._peak, self._live + scratch(func, args))
        for library, size in _LIBRARIES.get(func, {}).items():
            in_backward = torch._C._current_autograd_node() is not None
            self._workspaces[library, in_backward] = size
        return result

    def workspaces(self) -> int:
        """Bytes that libraries keep from their first use on: each of the two passes has a thread,
        and with it workspaces, of its own."""
        return sum(self._workspaces.values())

    def _add(self, storage: torch.UntypedStorage) -> None:
        if id(storage) not in self._on_host:
            super()._add(storage)

    def _size(self, storage: torch.UntypedStorage) -> int:
        return _granules(storage.nbytes())


def scratch(func: Any, args: Any) -> int:
    """Bytes that an operation's CUDA kernel takes from torch's allocator until it ends."""
    return sum(map(_granules, _SCRATCH[func](args))) if func in _SCRATCH else 0


def adapt(learner: Learner) -> None:
    """Let a learner's own Python code do what it would do on CUDA; under FakeTensorMode."""
    for module in learner.model.modules():
        if isinstance(module, SelfAttention):
            module.kernel = _KERNELS.get(module.kernel, module.kernel)
    if learner.technique.offload != "none":
        learner.model.offload = _on_host


def optimizer_of(learner: Learner, learning_rate: float) -> torch.optim.Optimizer:
    """The learner's optimizer; torch's own takes all parameters at once where CUDA's does."""
    optimizer = learner.optimizer(learning_rate)
    for group in optimizer.param_groups:
        if group.get("foreach", True) is None and not group.get("fused"):
            group["foreach"] = True
    return optimizer


def _granules(size: int) -> int:
    return -(-size // GRANULE) * GRANULE


def _dropout(
    other: Callable[..., Tensor],
    x: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Tensor:
    """One kernel, which keeps a mask of one byte per value."""
    if inplace or not training or not 0 < p < 1:
        return other(x, p, training, inplace)
    return torch.native_dropout(x, p, True)[0]


def _attention(
    _: Callable[..., Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The kernel that torch prefers: flash, else the memory-efficient one, else plain products."""
    if torch.is_autocast_enabled("cpu"):
        q, k, v = (x.to(torch.get_autocast_dtype("cpu")) for x in (q, k, v))
    options: dict[str, Any] = {"is_causal": is_causal, "scale": scale}
    if q.dtype in _HALF and attn_mask is None and q.shape[-1] <= FLASH_WIDTH:
        results = _ATEN._scaled_dot_product_flash_attention(q, k, v, dropout_p, **options)
    elif enable_gqa:  # which the memory-efficient kernel cannot
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


def _fused_kernel(q: Tensor, k: Tensor, v: Tensor, window: int | None, dropout: float) -> Tensor:
    """flash-attn and flex_attention: they keep q, k, v, the result and its log-sum-exp."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    grouped = q.shape[1] != k.shape[1]
    out = functional.scaled_dot_product_attention(
        q, k, v, dropout_p=dropout, is_causal=True, enable_gqa=grouped
    )
    return out.transpose(1, 2)


def _has_triton(_: Callable[..., bool], device: torch.device, dtype: torch.dtype) -> bool:
    """Triton comes with the CUDA builds of torch."""
    return dtype in {torch.float32, *_HALF}


_FUNCTIONS: Mapping[tuple[ModuleType, str], Callable[..., Any]] = {
    (functional, "dropout"): _dropout,
    (functional, "scaled_dot_product_attention"): _attention,
    (head, "has_triton"): _has_triton,
}
"""By module and name; each is given the function that it replaces first."""
_KERNELS: Mapping[Kernel | None, Kernel] = {flash_attn: _fused_kernel, flex: _fused_kernel}


@contextlib.contextmanager
def _on_host(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """As recompute.on_host; the host's copies are left out, and come back as new tensors."""
    staying = {parameter.untyped_storage()._cdata for parameter in parameters}

    def pack(tensor: Tensor) -> Tensor | tuple[torch.Size, torch.dtype]:
        if tensor.nbytes < SMALLEST or tensor.untyped_storage()._cdata in staying:
            return tensor
        return tensor.shape, tensor.dtype

    def unpack(packed: Tensor | tuple[torch.Size, torch.dtype]) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        return torch.empty(packed[0], dtype=packed[1])

    with saved_tensors_hooks(pack, unpack):
        yield


def _flash_backward(args: Any) -> Iterator[int]:
    """Sums for the softmax, and the queries' gradient, both in float32 and rounded up."""
    q, k = args[1], args[2]
    batch, heads, time, width = q.shape
    rows, columns = _up(time, _ROWS), _up(width, _WIDTHS)
    yield 4 * batch * heads * rows
    yield 4 * batch * heads * rows * columns
    if k.shape[1] != heads:  # each head of queries first has gradients of its own
        for _ in range(2):
            yield q.element_size() * batch * heads * time * width


def _efficient_backward(args: Any) -> Iterator[int]:
    """The sum over each row of the result times its gradient, in float32."""
    batch, heads, time, _ = args[1].shape
    yield 4 * batch * heads * time


def _embedding_backward(args: Any) -> Iterator[int]:
    """The tokens sorted, and the sums of at most 10 of their gradients each, in float32."""
    count, width = args[1].numel(), args[0].shape[-1]
    if count <= _UNSORTED:
        return
    segments = min(count, args[2])
    parts = count // 10 + segments
    yield from (8 * count, 8 * count)  # the tokens, and where each stood
    yield from (8 * segments, 8 * segments, 8 * segments, 8 * parts)
    yield 4 * parts * width


def _sum(args: Any) -> Iterator[int]:
    """The sums of the blocks of threads that share the rows of a matrix, as for a bias' gradient.

    A thread adds up to four columns, of up to 256 rows where there are many, of 16 at least.
    """
    x, dims = args[0], args[1]
    if x.dim() < 2 or not x.numel():
        return
    if sorted(d % x.dim() for d in dims or ()) != list(range(x.dim() - 1)):
        return
    columns = x.shape[-1]
    rows = x.numel() // columns
    together = math.gcd(columns, 4)
    most = _BLOCK // together
    wide, high = (min(_power_of_2(n), most) for n in (columns // together, rows))
    high = min(high, most // min(wide, _WARP))
    wide = min(wide, most // high)
    each = -(-rows // high) if rows >= min(16 * high, 256) else rows
    across = -(-columns // (together * wide))
    room = PROCESSORS * (THREADS // (wide * high))
    if each < 256 or across > room:
        return
    down = max(min(-(-room // across), -(-each // 16)), -(-each // 256))
    if down > 1:
        yield 4 * columns * down * wide * together
        yield 4 * across


def _power_of_2(number: int) -> int:
    """The largest one up to a number."""
    return 1 << (max(number, 1).bit_length() - 1)


def _cross_entropy(args: Any) -> Iterator[int]:
    """The loss of each token, in float32."""
    yield 4 * args[1].numel()


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


_SCRATCH: Mapping[Any, Callable[[Any], Iterator[int]]] = {
    _ATEN._scaled_dot_product_flash_attention_backward.default: _flash_backward,
    _ATEN._scaled_dot_product_efficient_attention_backward.default: _efficient_backward,
    _ATEN.embedding_dense_backward.default: _embedding_backward,
    _ATEN.sum.dim_IntList: _sum,
    torch.ops.vramlab.cross_entropy_.default: _cross_entropy,
}
"""By operation: the bytes of each temporary tensor inside its CUDA kernel."""

_CUBLAS = {"cuBLAS": CUBLAS_WORKSPACE}
_LIBRARIES: Mapping[Any, Mapping[str, int]] = {
    _ATEN.mm.default: _CUBLAS,
    _ATEN.bmm.default: _CUBLAS,
    _ATEN.baddbmm.default: _CUBLAS,
    _ATEN.addmm.default: _CUBLAS | {"cuBLASLt": CUBLASLT_WORKSPACE},
    _ATEN._scaled_mm.default: _CUBLAS | {"cuBLASLt": CUBLASLT_WORKSPACE},
}
"""By operation: the workspaces that it takes, of each library."""
