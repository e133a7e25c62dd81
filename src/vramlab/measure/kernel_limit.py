"""Errors that say that a CUDA kernel cannot take so many sequences, whatever memory there is.

CUDA starts a kernel as a grid of blocks, and two of the grid's three dimensions hold 65,535 blocks
at most. Attention kernels give each sequence of a batch a place of its own in such a dimension, so
that a batch of 65,536 fails, and says so by errors that do not name the reason. Seen on an H100
(torch 2.11, 2026-11-26), after which the process went on as if nothing had happened:

| kernel in 16 bits | its error |
|---|---|
| torch's flash kernel | CUDA error: invalid argument |
| cuDNN, which torch prefers on Hopper | Expected mha_graph.execute(...).is_good() to be true |
| flex_attention | CUDA driver error: invalid argument |

torch's memory-efficient kernel and plain products took 262,144.
"""

from __future__ import annotations

from vramlab.config.axes import ATTENTION_VALUES
from vramlab.config.technique import SIXTEEN_BITS, Technique

MOST_SEQUENCES = 65_535
"""Sequences that a kernel takes which gives each of them a row of its grid."""
_SIGNS = (
    "CUDA error: invalid argument",
    "CUDA error: invalid configuration argument",
    "CUDA driver error: invalid argument",
    "Triton Error [CUDA]: invalid argument",
    "mha_graph.execute(handle",
)


def most_sequences(technique: Technique) -> int | None:
    """Sequences that the attention kernel of a technique takes at most; None for any number."""
    limited = ATTENTION_VALUES[technique.attention].sequences_limited
    in_16_bits = limited == "in 16 bits" and technique.precision in SIXTEEN_BITS
    return MOST_SEQUENCES if in_16_bits or limited == "always" else None


def kernel_limit(error: BaseException, batch_size: int) -> int | None:
    """The sequences that a kernel takes at most, where an error says that a batch is more.

    Args:
        error: what a training step raised.
        batch_size: the sequences of its batch.

    Returns:
        None where the error says something else, or the batch is small enough for any kernel.
    """
    if batch_size <= MOST_SEQUENCES or not isinstance(error, RuntimeError):
        return None
    return MOST_SEQUENCES if any(sign in str(error) for sign in _SIGNS) else None
