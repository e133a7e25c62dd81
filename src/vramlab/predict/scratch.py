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

from vramlab.predict import flash_attention  # noqa: F401  makes the operations

_ATEN = torch.ops.aten


GRANULE = 512
"""torch's CUDA allocator rounds sizes up to a multiple of this many bytes (kMinBlockSize)."""


PROCESSORS, THREADS = 132, 2048
"""Number of multiprocessors of a Hopper card, and maximum number of threads on each."""


_ROWS, _WIDTHS = 128, 32
"""The flash kernels round sequence length and head width up to multiples of these."""


_BLOCK, _WARP = 512, 32
"""Maximum number of threads in a block of a reduction, for one column each; size of a warp."""


_CHUNK = 2**16
"""Values that a block of threads takes of a tensor where an operation runs over a list of them."""


_UNSORTED = 3072
"""Maximum number of tokens for which the embedding's backward pass does not sort them."""


def scratch(func: Any, args: Any) -> int:
    """Bytes that an operation's CUDA kernel allocates and frees before the operation returns."""
    return sum(map(granules, _SCRATCH[func](args))) if func in _SCRATCH else 0


def granules(size: int) -> int:
    """A size in bytes, rounded up as the CUDA allocator does."""
    return -(-size // GRANULE) * GRANULE


def _flash_backward(args: Any) -> Iterator[int]:
    """Row sums for the softmax's gradient, and grad_query, both in float32 and padded."""
    q, k = args[1], args[2]
    batch, heads, time, width = q.shape
    rows, columns = _round_up(time, _ROWS), _round_up(width, _WIDTHS)
    yield 4 * batch * heads * rows
    yield 4 * batch * heads * rows * columns
    if k.shape[1] != heads:  # grad_key and grad_value of each query head, before they are summed
        for _ in range(2):
            yield q.element_size() * batch * heads * time * width


def _flash_attn_backward(args: Any) -> Iterator[int]:
    """The same of flash-attn; it returns the row sums, and its arguments have heads after time."""
    q, k = (x.transpose(1, 2) for x in args[1:3])
    _, *others = _flash_backward((None, q, k))
    yield from others


def _efficient_backward(args: Any) -> Iterator[int]:
    """For each row, the sum of the output times its gradient, in float32."""
    batch, heads, time, _ = args[1].shape
    yield 4 * batch * heads * time


def _embedding_backward(args: Any) -> Iterator[int]:
    """The sorted tokens, and partial sums of at most 10 gradients each, in float32.

    The kernel sorts the tokens, so that the gradients of one vocabulary entry are adjacent (a
    segment). It sums a segment in parts of at most 10 rows, and then adds up these parts.
    """
    count, width = args[1].numel(), args[0].shape[-1]
    if count <= _UNSORTED:
        return
    segments = min(count, args[2])
    parts = count // 10 + segments
    yield from (8 * count, 8 * count)  # the sorted tokens, and their original positions
    yield from (8 * segments, 8 * segments, 8 * segments, 8 * parts)
    yield 4 * parts * width


def _sum(args: Any) -> Iterator[int]:
    """Partial sums of a reduction over all dimensions but the last, as for the gradient of a bias.

    The kernel covers the matrix [rows, columns] with blocks of `wide` by `high` threads, and each
    thread reads `columns_per_thread` (at most 4) columns at once. If each thread then has at least
    256 rows to add, and the `blocks_across` that cover all columns leave room on the card,
    `blocks_down` blocks share the rows: enough to fill the card, as long as each thread has 16
    rows, and enough that none has over 256. The scratch memory is their partial sums, and for each
    of the `blocks_across` a counter, from which a block learns that it is the last to finish.
    """
    x, dims = args[0], args[1]
    if x.dim() < 2 or not x.numel():
        return
    if sorted(d % x.dim() for d in dims or ()) != list(range(x.dim() - 1)):
        return
    columns = x.shape[-1]
    rows = x.numel() // columns
    columns_per_thread = math.gcd(columns, 4)
    most_threads = _BLOCK // columns_per_thread
    wide, high = (min(_power_of_2(n), most_threads) for n in (columns // columns_per_thread, rows))
    high = min(high, most_threads // min(wide, _WARP))
    wide = min(wide, most_threads // high)
    rows_per_thread = -(-rows // high) if rows >= min(16 * high, 256) else rows
    blocks_across = -(-columns // (columns_per_thread * wide))
    most_blocks = PROCESSORS * (THREADS // (wide * high))
    if rows_per_thread < 256 or blocks_across > most_blocks:
        return
    blocks_down = max(
        min(-(-most_blocks // blocks_across), -(-rows_per_thread // 16)), -(-rows_per_thread // 256)
    )
    if blocks_down > 1:
        yield 4 * columns * blocks_down * wide * columns_per_thread
        yield 4 * blocks_across


def _power_of_2(number: int) -> int:
    """The largest power of 2 that is at most `number`."""
    return 1 << (max(number, 1).bit_length() - 1)


def _foreach_norm(args: Any) -> Iterator[int]:
    """For each chunk of 65,536 values of the largest tensor, a partial norm of every tensor."""
    tensors = args[0]
    yield 4 * len(tensors) * -(-max(tensor.numel() for tensor in tensors) // _CHUNK)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


_SCRATCH: Mapping[Any, Callable[[Any], Iterator[int]]] = {
    _ATEN._scaled_dot_product_flash_attention_backward.default: _flash_backward,
    torch.ops.vramlab_predict.flash_backward.default: _flash_attn_backward,
    _ATEN._scaled_dot_product_efficient_attention_backward.default: _efficient_backward,
    _ATEN.embedding_dense_backward.default: _embedding_backward,
    _ATEN.sum.dim_IntList: _sum,
    _ATEN._foreach_norm.Scalar: _foreach_norm,
}
"""The bytes of each temporary tensor in the CUDA kernel of an operation."""
