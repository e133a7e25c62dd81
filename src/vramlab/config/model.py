"""The model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from vramlab.config.base import Section

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]


class ModelConfig(Section):
    """A decoder-only Transformer: pre-LayerNorm, GELU, sinusoidal positions, tied head."""

    d_model: Count = 128
    """Width of the residual stream."""
    layers: Count = 4
    """Number of blocks."""
    heads: Count = 4
    """Number of attention heads; d_model must be a multiple of it."""
    kv_heads: Count | None = None
    """Number of key and value heads, each shared by heads / kv_heads query heads (grouped-query
    attention); null takes as many as heads. attention plain has no groups."""
    d_ff: Count = 1024
    """Width of the feed-forward layer."""
    dropout: Share = 0.1
    """Dropout after the embedding, inside the feed-forward layer and on both residual branches."""
    attention_dropout: Share = 0.0
    """Dropout on attention weights; 0 by default, so that all kernels compute the same function."""

    @property
    def key_value_heads(self) -> int:
        """Number of key and value heads."""
        return self.kv_heads or self.heads

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelConfig:
        if self.d_model % self.heads:
            raise ValueError(
                f"d_model {self.d_model} is not a multiple of heads {self.heads}; "
                "change one of the two"
            )
        if self.heads % self.key_value_heads:
            raise ValueError(
                f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}; "
                "change one of the two"
            )
        if self.d_model % 2:
            raise ValueError(
                f"d_model {self.d_model} is odd, and sinusoidal positions need it even; "
                "add 1 to it, or take 1 away"
            )
        return self
