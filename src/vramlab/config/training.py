"""How the models are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vramlab.config.base import Section

LearningRateScaling = Literal["none", "sqrt", "linear"]


class TrainingConfig(Section):
    """Adam over whole epochs of the training sequences."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of Adam, constant after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Optimizer steps over which the learning rate rises linearly: step n of them has n/steps of
    it."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay (AdamW): each step takes learning rate times weight decay of a weight
    away. Weights of two dimensions or more decay; biases and norms do not."""
    gradient_clipping: Annotated[float, Field(gt=0)] | None = None
    """Largest L2 norm of all gradients together; larger ones are scaled down to it. null does not
    clip."""
    epochs: Annotated[int, Field(ge=1)] = 1
    """Passes over the training sequences."""
    lr_scaling: LearningRateScaling = "none"
    """How the learning rate follows a run's batch size, relative to the baseline's maximum:
    not at all, by the square root of the ratio, or by the ratio."""
    effective_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Sequences per optimizer step, reached by accumulating gradients over micro-batches; null
    makes an optimizer step of each batch."""
    evaluation_batch_size: Annotated[int, Field(ge=1)] = 64
    """Sequences at a time when the perplexity is measured: the same for all techniques."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Seconds between checkpoints from which a stopped epoch goes on."""
