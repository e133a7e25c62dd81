"""Scratch memory of CUDA kernels: what an operation takes from torch's allocator until it ends.

A kernel may allocate temporary buffers and free them before its operation returns. A dispatch mode
sees only an operation's inputs and outputs, so these buffers would be missing from the predicted
peak. Each rule below repeats how one kernel computes the sizes of its buffers, from the shapes of
the operation's arguments and, where the grid depends on the GPU, from the constants of a Hopper
card. The counter adds the sum to the live bytes for the duration of that operation.
docs/estimate.md has the source of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

_ATEN = torch.ops.aten


GRANULE = 512
"""Bytes that the sizes of torch's CUDA allocator are multiples of (kMinBlockSize)."""


PROCESSORS, THREADS = 132, 2048
"""The multiprocessors of a Hopper card, and the threads that each can hold."""


_ROWS, _WIDTHS = 128, 32
"""What the flash kernels round the time, and the width of a head, up to in their scratch space."""


_BLOCK, _WARP = 512, 32
"""Threads of a block that adds up one column each, and those that read side by side."""


_UNSORTED = 3072
"""Most tokens whose gradients the embedding adds up without sorting them."""


def scratch(func: Any, args: Any) -> int:
    """Bytes that an operation's CUDA kernel takes from torch's allocator until it ends."""
    return sum(map(granules, _SCRATCH[func](args))) if func in _SCRATCH else 0


def granules(size: int) -> int:
    """A size in bytes, rounded up as the allocator does."""
    return -(-size // GRANULE) * GRANULE


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
