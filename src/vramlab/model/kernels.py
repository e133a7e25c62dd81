"""Triton kernels. To be imported only where the package triton is installed.

Without annotations: Triton would take them for types of its own.
"""

import triton
import triton.language as tl


@triton.jit
def cross_entropy(
    logits,
    targets,
    losses,
    stride,
    VOCABULARY: tl.constexpr,  # noqa: N803
    PADDING: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """One row: its loss, and the gradient in place of its logits. In float32 inside."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets + row)
    start = logits + row * stride
    picked = tl.load(start + target).to(tl.float32)
    columns = tl.arange(0, BLOCK)
    largest = -float("inf")
    total = 0.0
    for first in range(0, VOCABULARY, BLOCK):
        inside = first + columns < VOCABULARY
        x = tl.load(start + first + columns, mask=inside, other=-float("inf")).to(tl.float32)
        higher = tl.maximum(largest, tl.max(x, 0))
        total = total * tl.exp(largest - higher) + tl.sum(tl.exp(x - higher), 0)
        largest = higher
    kept = target != PADDING
    tl.store(losses + row, tl.where(kept, largest + tl.log(total) - picked, 0.0))
    scale = tl.where(kept, 1.0 / total, 0.0)
    one = tl.where(kept, 1.0, 0.0)
    tl.debug_barrier()  # the target's logit is read before another warp writes over it
    for first in range(0, VOCABULARY, BLOCK):
        inside = first + columns < VOCABULARY
        x = tl.load(start + first + columns, mask=inside, other=-float("inf")).to(tl.float32)
        grad_output = tl.exp(x - largest) * scale - tl.where(first + columns == target, one, 0.0)
        tl.store(start + first + columns, grad_output.to(logits.dtype.element_ty), mask=inside)


@triton.jit
def _kept(seed, quadruples, rate):
    """Four factors each: 0 for what dropout drops. Philox of 7 rounds: Salmon et al., 2011."""
    a, b, c, d = tl.rand4x(tl.load(seed), quadruples, n_rounds=7)
    factor = 1.0 / (1.0 - rate)
    return (
        tl.where(a >= rate, factor, 0.0),
        tl.where(b >= rate, factor, 0.0),
        tl.where(c >= rate, factor, 0.0),
        tl.where(d >= rate, factor, 0.0),
    )


@triton.jit
def _gelu(x):
    return 0.5 * x * (1.0 + tl.math.erf(x * 0.7071067811865476))


@triton.jit
def _gelu_derivative(x):
    density = 0.3989422804014327 * tl.exp(-0.5 * x * x)
    return 0.5 * (1.0 + tl.math.erf(x * 0.7071067811865476)) + x * density


@triton.jit
def gelu_dropout(
    x,
    out,
    seed,
    size,
    rate,
    BLOCK: tl.constexpr,  # noqa: N803
):
    """GELU, then dropout, of 4 * BLOCK values. In float32 inside."""
    program = tl.program_id(0)
    a, b, c, d = _kept(seed, program * BLOCK + tl.arange(0, BLOCK), rate)
    at = program.to(tl.int64) * (4 * BLOCK) + tl.arange(0, BLOCK)
    _gelu_dropout(x, out, at, size, a)
    _gelu_dropout(x, out, at + BLOCK, size, b)
    _gelu_dropout(x, out, at + 2 * BLOCK, size, c)
    _gelu_dropout(x, out, at + 3 * BLOCK, size, d)


@triton.jit
def _gelu_dropout(x, out, at, size, factor):
    inside = at < size
    value = tl.load(x + at, mask=inside).to(tl.float32)
    tl.store(out + at, (_gelu(value) * factor).to(out.dtype.element_ty), mask=inside)


@triton.jit
def gelu_dropout_backward(
    grad_output,
    x,
    seed,
    size,
    rate,
    BLOCK: tl.constexpr,  # noqa: N803
):
    """The grad_output of 4 * BLOCK values of GELU with dropout, in place. In float32 inside."""
    program = tl.program_id(0)
    a, b, c, d = _kept(seed, program * BLOCK + tl.arange(0, BLOCK), rate)
    at = program.to(tl.int64) * (4 * BLOCK) + tl.arange(0, BLOCK)
    _gelu_dropout_backward(grad_output, x, at, size, a)
    _gelu_dropout_backward(grad_output, x, at + BLOCK, size, b)
    _gelu_dropout_backward(grad_output, x, at + 2 * BLOCK, size, c)
    _gelu_dropout_backward(grad_output, x, at + 3 * BLOCK, size, d)


@triton.jit
def _gelu_dropout_backward(grad_output, x, at, size, factor):
    inside = at < size
    value = tl.load(x + at, mask=inside).to(tl.float32)
    incoming = tl.load(grad_output + at, mask=inside).to(tl.float32)
    outgoing = incoming * factor * _gelu_derivative(value)
    tl.store(grad_output + at, outgoing.to(grad_output.dtype.element_ty), mask=inside)
