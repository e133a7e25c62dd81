"""A decoder-only Transformer: pre-LayerNorm, GELU, sinusoidal positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vramlab.config.model import ModelConfig
from vramlab.model.attention import ATTENTION, SelfAttention


class Block(nn.Module):
    """Attention, then a feed-forward layer, each on a normalised copy of the residual stream.

    Source of the order: Xiong et al., 2020 (arXiv:2002.04745).
    """

    def __init__(self, config: ModelConfig, attention: str, window: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model)
        self.attention = SelfAttention(
            config.d_model, config.heads, ATTENTION[attention], window, config.attention_dropout
        )
        self.norm2 = nn.LayerNorm(config.d_model)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.d_model, config.d_ff),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.d_ff, config.d_model),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, time, d_model] to the same shape."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        out: Tensor = x + self.dropout(self.feed_forward(self.norm2(x)))
        return out


class Transformer(nn.Module):
    """From tokens to the last hidden state; the loss heads multiply it by the tied embedding."""

    positions: Tensor

    def __init__(
        self,
        config: ModelConfig,
        vocab_size: int,
        attention: str = "plain",
        window: int | None = None,
        checkpointing: str = "none",
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, attention, window) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.d_model)
        # The embedding is the head too: a small one gives small logits, a loss of ln(vocabulary).
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.register_buffer("positions", torch.empty(0, config.d_model), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [batch, time] (int64) to hidden states [batch, time, d_model]."""
        length, width = tokens.shape[1], self.embedding.embedding_dim
        if self.positions.shape[0] < length:
            self.positions = sinusoids(length, width).to(self.embedding.weight)
        # Scaled as in section 3.4 of Vaswani et al., or the positions would drown the embedding.
        x = self.embedding(tokens) * math.sqrt(width) + self.positions[:length]
        x = self.dropout(x)
        for block in self.blocks:
            if self.checkpointing == "block" and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        hidden: Tensor = self.norm(x)
        return hidden


def sinusoids(length: int, width: int) -> Tensor:
    """Sinusoidal positions [length, width], float64. Source: Vaswani et al., 2017, section 3.5."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = position * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
