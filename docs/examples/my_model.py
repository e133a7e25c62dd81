"""A model of one's own for vramlab; docs/models.md explains the protocol."""

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads, attend):
        super().__init__()
        self.heads, self.attend = heads, attend
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.inputs(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        return self.output(self.attend(q, k, v).flatten(-2))


class Block(nn.Module):
    """Attention and feed-forward layer side by side, as in GPT-J."""

    def __init__(self, width, heads, attend):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads, attend)
        layers = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        self.feed_forward = nn.Sequential(*layers)

    def forward(self, x):
        normed = self.norm(x)
        return x + self.attention(normed) + self.feed_forward(normed)


class Model(nn.Module):
    def __init__(self, vocab_size, width, depth, heads, positions, attend):
        super().__init__()
        self.output_embedding = nn.Embedding(vocab_size, width)  # the input's too: it is tied
        self.positions = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, heads, attend) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.attention = [block.attention for block in self.blocks]
        self.feed_forward = [block.feed_forward for block in self.blocks]
        nn.init.normal_(self.output_embedding.weight, std=0.02)

    def forward(self, tokens):
        """Tokens [batch, time] to hidden states [batch, time, width]."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.output_embedding(tokens) + self.positions(places)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def make_model(vocab_size, width=128, depth=4, heads=4, positions=1024, attend=None):
    """vramlab calls this with the vocabulary, `model.arguments`, and the technique's attention."""
    return Model(vocab_size, width, depth, heads, positions, attend)
