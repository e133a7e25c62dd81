"""Triton kernels. Import this module only where the package triton is installed.

`cross_entropy`: one program handles one row of logits, in blocks of columns. The first loop finds
the maximum m and the sum s of exp(x - m) in a single pass (online softmax): when a block raises the
maximum from m to n, the old sum is multiplied by exp(m - n). The loss is m + log(s) - x[target].
The second loop overwrites each logit with its gradient, exp(x - m) / s - [column == target]. Where
logits are capped, x is softcap * tanh(logit / softcap), and the gradient is multiplied by the
derivative of that, 1 - (x / softcap)^2.

`gelu_dropout` and `gelu_dropout_backward`: one program handles 4 * BLOCK values. The random numbers
depend only on the seed and the position of a value, so both kernels compute the same dropout mask
and none is stored. A call of Philox gives four random numbers, hence four blocks for each program.

All kernels compute in float32 and store in the type of the tensor. They have no type annotations,
because Triton would interpret them.
"""

import triton
import triton.language as tl


@triton.jit
def _tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def cross_entropy(
    logits,
    targets,
    losses,
    stride,
    softcap,
    VOCABULARY: tl.constexpr,  # noqa: N803
    CAPPED: tl.constexpr,  # noqa: N803
    IGNORED: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    """Store the loss of one row, and replace its logits by their gradient."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(targets + row)
    start = logits + row * stride
    counted = target != IGNORED
    # Masked, because an ignored target is no column: the address would be outside of the logits.
    target_logit = tl.load(start + target, mask=counted, other=0.0).to(tl.float32)
    if CAPPED:
        target_logit = softcap * _tanh(target_logit / softcap)
    columns = tl.arange(0, BLOCK)
    maximum = -float("inf")
    exp_sum = 0.0
    for first in range(0, VOCABULARY, BLOCK):
        inside = first + columns < VOCABULARY
        x = tl.load(start + first + columns, mask=inside, other=-float("inf")).to(tl.float32)
        if CAPPED:
            x = tl.where(inside, softcap * _tanh(x / softcap), -float("inf"))
        new_maximum = tl.maximum(maximum, tl.max(x, 0))
        exp_sum = exp_sum * tl.exp(maximum - new_maximum) + tl.sum(tl.exp(x - new_maximum), 0)
        maximum = new_maximum
    tl.store(losses + row, tl.where(counted, maximum + tl.log(exp_sum) - target_logit, 0.0))
    scale = tl.where(counted, 1.0 / exp_sum, 0.0)
    one = tl.where(counted, 1.0, 0.0)
    tl.debug_barrier()  # read the target's logit before another warp overwrites it
    for first in range(0, VOCABULARY, BLOCK):
        inside = first + columns < VOCABULARY
        x = tl.load(start + first + columns, mask=inside, other=-float("inf")).to(tl.float32)
        if CAPPED:
            x = softcap * _tanh(x / softcap)
        grad_logits = tl.exp(x - maximum) * scale - tl.where(first + columns == target, one, 0.0)
        if CAPPED:
            grad_logits *= 1.0 - (x / softcap) * (x / softcap)
        tl.store(start + first + columns, grad_logits.to(logits.dtype.element_ty), mask=inside)


@triton.jit
def _dropout_factors(seed, indices, rate):
    """Four dropout factors for each index: 0, or 1 / (1 - rate).

    Philox4x32 with 7 rounds, the fewest that pass BigCrush: Salmon et al., 2011.
    """
    a, b, c, d = tl.rand4x(tl.load(seed), indices, n_rounds=7)
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
    """GELU followed by dropout, for 4 * BLOCK values."""
    program = tl.program_id(0)
    a, b, c, d = _dropout_factors(seed, program * BLOCK + tl.arange(0, BLOCK), rate)
    offsets = program.to(tl.int64) * (4 * BLOCK) + tl.arange(0, BLOCK)
    _gelu_dropout(x, out, offsets, size, a)
    _gelu_dropout(x, out, offsets + BLOCK, size, b)
    _gelu_dropout(x, out, offsets + 2 * BLOCK, size, c)
    _gelu_dropout(x, out, offsets + 3 * BLOCK, size, d)


@triton.jit
def _gelu_dropout(x, out, offsets, size, factor):
    inside = offsets < size
    value = tl.load(x + offsets, mask=inside).to(tl.float32)
    tl.store(out + offsets, (_gelu(value) * factor).to(out.dtype.element_ty), mask=inside)


@triton.jit
def gelu_dropout_backward(
    grad_output,
    x,
    seed,
    size,
    rate,
    BLOCK: tl.constexpr,  # noqa: N803
):
    """Replace the gradients of 4 * BLOCK outputs of `gelu_dropout` by those of its inputs."""
    program = tl.program_id(0)
    a, b, c, d = _dropout_factors(seed, program * BLOCK + tl.arange(0, BLOCK), rate)
    offsets = program.to(tl.int64) * (4 * BLOCK) + tl.arange(0, BLOCK)
    _gelu_dropout_backward(grad_output, x, offsets, size, a)
    _gelu_dropout_backward(grad_output, x, offsets + BLOCK, size, b)
    _gelu_dropout_backward(grad_output, x, offsets + 2 * BLOCK, size, c)
    _gelu_dropout_backward(grad_output, x, offsets + 3 * BLOCK, size, d)


@triton.jit
def _gelu_dropout_backward(grad_output, x, offsets, size, factor):
    inside = offsets < size
    value = tl.load(x + offsets, mask=inside).to(tl.float32)
    grad = tl.load(grad_output + offsets, mask=inside).to(tl.float32)
    grad_x = grad * factor * _gelu_derivative(value)
    tl.store(grad_output + offsets, grad_x.to(grad_output.dtype.element_ty), mask=inside)
