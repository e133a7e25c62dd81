"""Errors that mean that a CUDA kernel cannot take so many sequences, however much memory is free.

CUDA starts a kernel as a grid of blocks, and two of the grid's three dimensions are limited to
65,535 blocks. Attention kernels use one of them for the sequences of a batch, so a batch of 65,536
fails, with an error that does not name the reason. Observed on an H100 (torch 2.11, 2026-11-26);
the process could continue after each of these:

| kernel in 16 bits | its error |
|---|---|
| torch's flash kernel | CUDA error: invalid argument |
| cuDNN, which torch prefers on Hopper | Expected mha_graph.execute(...).is_good() to be true |
| flex_attention | CUDA driver error: invalid argument |

torch's memory-efficient kernel and its math kernel accepted 262,144 sequences.
"""

from __future__ import annotations

from vramlab.config.axes import ATTENTION_VALUES
from vramlab.config.technique import Technique

MOST_SEQUENCES = 65_535
"""Maximum batch of a kernel that uses a limited dimension of its grid for the sequences."""
_SIGNS = (
    "CUDA error: invalid argument",
    "CUDA error: invalid configuration argument",
    "CUDA driver error: invalid argument",
    "Triton Error [CUDA]: invalid argument",
    "mha_graph.execute(handle",
)


def most_sequences(technique: Technique) -> int | None:
    """Maximum number of sequences for a technique's attention kernel; None if unlimited."""
    limited = ATTENTION_VALUES[technique.attention].sequences_limited
    in_16_bits = limited == "in 16 bits" and technique.computes_in.sixteen_bits
    return MOST_SEQUENCES if in_16_bits or limited == "always" else None


def kernel_limit(error: BaseException, batch_size: int) -> int | None:
    """The maximum number of sequences for a kernel, if an error means that the batch exceeds it.

    Args:
        error: raised by a training step.
        batch_size: number of sequences in the batch.

    Returns:
        None if the error means something else, or if the batch is small enough for any kernel.
    """
    if batch_size <= MOST_SEQUENCES or not isinstance(error, RuntimeError):
        return None
    return MOST_SEQUENCES if any(sign in str(error) for sign in _SIGNS) else None
