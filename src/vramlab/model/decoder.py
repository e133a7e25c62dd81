"""A decoder-only Transformer: pre-LayerNorm, GELU, sinusoidal positions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from vramlab.config.model import DecoderConfig
from vramlab.config.technique import Technique
from vramlab.model.attention import ATTENTION, SelfAttention
from vramlab.model.checkpointing import block_runner
from vramlab.model.feed_forward import FEED_FORWARD
from vramlab.model.float8 import Float8Linear
from vramlab.model.language_model import AttentionLayer, LanguageModel, OutputEmbedding
from vramlab.model.offload import make_offload


class Block(nn.Module):
    """Attention, then a feed-forward layer: each sees the normalised input, and adds to it.

    Source of the order: Xiong et al., 2020 (arXiv:2002.04745).
    """

    def __init__(self, config: DecoderConfig, technique: Technique) -> None:
        super().__init__()
        linear = Float8Linear if technique.computes_in.float8 else nn.Linear
        self.norm1 = nn.LayerNorm(config.d_model)
        self.attention = SelfAttention(config, ATTENTION[technique.attention], technique.window)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.feed_forward = FEED_FORWARD[technique.feed_forward](
            linear(config.d_model, config.d_ff),
            nn.GELU(),
            nn.Dropout(config.dropout),
            linear(config.d_ff, config.d_model),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, time, d_model] to the same shape."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        out: Tensor = x + self.dropout(self.feed_forward(self.norm2(x)))
        return out


class Transformer(LanguageModel):
    """From tokens to the last hidden state; the loss heads multiply it by the tied embedding."""

    positions: Tensor

    def __init__(self, config: DecoderConfig, vocab_size: int, technique: Technique) -> None:
        super().__init__()
        self.run_block = block_runner(technique)
        self.offload = make_offload(technique.offload)
        self.window = technique.window
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, technique) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.d_model)
        # The loss head shares this weight. If it is small, so are the first logits, and the first
        # loss is ln(vocabulary).
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.register_buffer("positions", torch.empty(0, config.d_model), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [batch, time] (int64) to hidden states [batch, time, d_model]."""
        length, width = tokens.shape[1], self.embedding.embedding_dim
        self.reserve(length)
        # Scaled as in section 3.4 of Vaswani et al.: else the positions outweigh the embedding.
        x = self.embedding(tokens) * math.sqrt(width) + self.positions[:length]
        x = self.dropout(x)
        if not torch.is_grad_enabled():
            for block in self.blocks:
                x = block(x)
        else:
            for block in self.blocks:
                with self.offload(block.parameters()):
                    x = self.run_block(block, x)
        hidden: Tensor = self.norm(x)
        return hidden

    def output_embedding(self) -> OutputEmbedding:
        """The embedding of the tokens: it is tied."""
        return OutputEmbedding(self.embedding.weight)

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.embedding.num_embeddings

    def decoder_blocks(self) -> Sequence[nn.Module]:
        """The blocks, in order."""
        return list(self.blocks)

    def block_list(self) -> nn.ModuleList:
        """The blocks."""
        return self.blocks

    def kinds(self) -> Iterator[tuple[nn.Module, str]]:
        """The model, its blocks, and their parts."""
        yield self, "embedding"
        yield self.norm, "norm"
        for block in self.blocks:
            yield block, "residual"
            for child in block.children():
                if isinstance(child, SelfAttention):
                    yield child, "attention"
                elif isinstance(child, nn.Sequential):
                    yield child, "feed-forward"
                elif isinstance(child, nn.LayerNorm):
                    yield child, "norm"

    def attention_layers(self) -> Sequence[AttentionLayer]:
        """As many as blocks, each as wide as the model."""
        return [AttentionLayer(self.embedding.embedding_dim, self.window) for _ in self.blocks]

    def reserve(self, length: int) -> None:
        """Compute the positions of sequences of `length` tokens, unless they exist already."""
        if self.positions.shape[0] < length:
            width = self.embedding.embedding_dim
            self.positions = sinusoids(length, width).to(self.embedding.weight)


def sinusoids(length: int, width: int) -> Tensor:
    """Sinusoidal positions [length, width], float64. Source: Vaswani et al., 2017, section 3.5."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = position * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
