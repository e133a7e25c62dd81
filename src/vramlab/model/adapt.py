"""Any causal language model as a `LanguageModel`: its parts, and what a technique changes in them.

A model of another source has a forward pass of its own, so a technique is applied from outside: a
block's `forward` is replaced by one that calls it under checkpointing and offload, the feed-forward
layers' by one that keeps only the results of matrix products or takes the tokens in pieces, and
linear layers in them become 8-bit ones. Parameters, their names and the function that is computed
stay the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vramlab.config.axes import FLOAT8_MULTIPLE, LOSS_HEAD_VALUES, OPTIMIZER_VALUES
from vramlab.config.technique import Technique
from vramlab.model.checkpointing import Runner, block_runner, save_matmuls_and_attention
from vramlab.model.float8 import Float8Linear
from vramlab.model.language_model import (
    AttentionLayer,
    LanguageModel,
    OutputEmbedding,
    UnsuitableModel,
)
from vramlab.model.offload import make_offload
from vramlab.model.tiling import in_pieces


@dataclass(frozen=True)
class Parts:
    """Where the parts of a network are."""

    hidden: Callable[[Tensor], Tensor]
    """Tokens [batch, time] to hidden states [batch, time, width], or to logits without `head`."""
    head: nn.Module | None
    """The output embedding, with `weight` [vocabulary, width] and perhaps `bias`; None where the
    network returns logits only."""
    blocks: Sequence[nn.Module] = ()
    """The decoder blocks, in order."""
    block_list: nn.ModuleList | None = None
    """The list of blocks that the network's forward pass runs through, where that is known."""
    attention: Sequence[nn.Module] = ()
    feed_forward: Sequence[nn.Module] = ()
    norms: Sequence[nn.Module] = ()
    factor: float = 1.0
    """What the hidden states are multiplied by before the output embedding."""
    softcap: float | None = None
    """Largest absolute value of a logit."""
    vocabulary: int = 0
    """Number of tokens, where there is no head to tell."""
    positions: int | None = None
    """Rows of an embedding of the positions; None where there is none."""
    attention_layers: Sequence[AttentionLayer] | None = None
    """The sizes of each layer of attention; None where they are not known."""
    routed: float | None = 1.0
    """The share of the experts that a token goes to; None where that is not known."""


class AdaptedModel(LanguageModel):
    """A network of another source, changed as a technique asks."""

    def __init__(self, network: nn.Module, parts: Parts, technique: Technique) -> None:
        """Raises UnsuitableModel where the network lacks what the technique changes."""
        super().__init__()
        self.network = network
        self.parts = parts
        self.offload = make_offload(technique.offload)
        self._run_block = block_runner(technique)
        _check(parts, technique)
        if technique.checkpointing != "none" or technique.offload != "none":
            for block in parts.blocks:
                _replace_forward(block, self._through)
        # Blocks that are computed again keep nothing of the feed-forward layer but its matrix
        # products at most; selective checkpointing inside of checkpointing would keep these too.
        if technique.feed_forward == "recomputed" and technique.checkpointing == "none":
            for module in _containers(parts.feed_forward):
                _replace_forward(module, _recomputed)
        if technique.feed_forward == "tiled":
            for module in _containers(parts.feed_forward):
                _replace_forward(module, _tiled)
        if technique.computes_in.float8:
            _to_float8(parts.feed_forward)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [batch, time] (int64) to hidden states [batch, time, width], or to logits."""
        hidden = self.parts.hidden(tokens)
        return hidden if self.parts.factor == 1.0 else hidden * self.parts.factor

    def output_embedding(self) -> OutputEmbedding:
        """The network's head."""
        head = self.parts.head
        if head is None:
            return OutputEmbedding(None)
        weight = head.weight
        assert isinstance(weight, Tensor)
        return OutputEmbedding(weight, getattr(head, "bias", None), self.parts.softcap)

    @property
    def vocabulary(self) -> int:
        """Rows of the output embedding."""
        weight = self.output_embedding().weight
        return self.parts.vocabulary if weight is None else weight.shape[0]

    @property
    def positions_limit(self) -> int | None:
        """The most tokens of a sequence, where the positions are learned."""
        return self.parts.positions

    def decoder_blocks(self) -> Sequence[nn.Module]:
        """The blocks, in order."""
        if not self.parts.blocks:
            raise UnsuitableModel(_NO_BLOCKS.format(what="parallel fsdp"))
        return self.parts.blocks

    def block_list(self) -> nn.ModuleList | None:
        """The list that the network's forward pass runs through."""
        return self.parts.block_list

    def kinds(self) -> Iterator[tuple[nn.Module, str]]:
        """The model, its blocks, and their parts."""
        yield self, "embedding"
        yield from ((block, "residual") for block in self.parts.blocks)
        yield from ((module, "norm") for module in self.parts.norms)
        yield from ((module, "attention") for module in self.parts.attention)
        yield from ((module, "feed-forward") for module in self.parts.feed_forward)

    def attention_layers(self) -> Sequence[AttentionLayer] | None:
        """The sizes of each layer of attention, where the configuration says them."""
        return self.parts.attention_layers

    def active_share(self, name: str) -> float | None:
        """1, but for what is inside a module called `experts`, and 0 for what is for pictures."""
        if name in self._not_for_text:
            return 0.0
        return self.parts.routed if "experts" in name.split(".") else 1.0

    @functools.cached_property
    def _not_for_text(self) -> frozenset[str]:
        """The names of the parameters that are neither of the body nor of the head."""
        body = getattr(self.parts.hidden, "body", None)
        if body is None:
            return frozenset()
        inside = [body] if self.parts.head is None else [body, self.parts.head]
        used = {id(parameter) for part in inside for parameter in part.parameters()}
        return frozenset(name for name, p in self.named_parameters() if id(p) not in used)

    def _through(self, block: nn.Module, forward: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """Call a block's own forward under checkpointing and offload."""
        with self.offload(block.parameters()):
            return self._run_block(forward, *args, **kw)


def norms_in(network: nn.Module) -> list[nn.Module]:
    """The normalisation layers of a network, by the names of their classes."""
    return [m for m in network.modules() if "Norm" in type(m).__name__ and not list(m.children())]


_NO_BLOCKS = "{what} works block by block, and the model names no list of blocks"


def _check(parts: Parts, technique: Technique) -> None:
    for axis in ("checkpointing", "offload"):
        if getattr(technique, axis) != "none" and not parts.blocks:
            what = f"{axis} {getattr(technique, axis)}"
            raise UnsuitableModel(_NO_BLOCKS.format(what=what))
    if OPTIMIZER_VALUES[technique.optimizer].of_blocks and not parts.blocks:
        raise UnsuitableModel(_NO_BLOCKS.format(what=f"optimizer {technique.optimizer}"))
    if technique.parallel == "fsdp" and not parts.blocks:
        raise UnsuitableModel(_NO_BLOCKS.format(what="parallel fsdp"))
    loss_head = LOSS_HEAD_VALUES[technique.loss_head]
    if loss_head.multiplies and parts.head is None:
        raise UnsuitableModel(
            f"loss_head {technique.loss_head} multiplies hidden states by the output embedding "
            "itself, and the model returns logits"
        )
    if not loss_head.bias and getattr(parts.head, "bias", None) is not None:
        raise UnsuitableModel(
            f"loss_head {technique.loss_head} has no bias, and the model's output embedding has "
            "one; set loss_head to fused"
        )
    weight, tile = getattr(parts.head, "weight", None), loss_head.capped_vocabulary
    if parts.softcap is not None and weight is not None and len(weight) % tile:
        raise UnsuitableModel(
            f"loss_head {technique.loss_head} caps the logits of a vocabulary that is a multiple "
            f"of {tile} only, and the model's is {len(weight)}: it would count columns that are "
            "not there; set loss_head to fused"
        )
    if technique.feed_forward != "full" and not _containers(parts.feed_forward):
        raise UnsuitableModel(
            f"feed_forward {technique.feed_forward} needs the feed-forward layer as a module of "
            "its own, and the model's blocks have none"
        )


def _containers(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """The feed-forward modules that hold their matrices in modules of their own.

    A single matrix, such as that of Gemma 4's inputs of a layer, has nothing between to leave out.
    """
    return [module for module in modules if next(module.children(), None) is not None]


def _replace_forward(module: nn.Module, through: Callable[..., Any]) -> None:
    """Let `through(module, forward, ...)` answer calls of a module where gradients are needed."""
    own = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return own(*args, **kwargs)
        return through(module, own, *args, **kwargs)

    module.forward = forward


def _recomputed(_: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Keep a feed-forward layer's input and its matrix products; activations are recomputed."""
    run: Runner = save_matmuls_and_attention
    return run(forward, *args, **kwargs)


def _tiled(_: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a feed-forward layer on a piece of the tokens at a time."""
    if not args:  # a block may name its argument
        name, x = next((n, v) for n, v in kwargs.items() if isinstance(v, Tensor))
        others = {n: v for n, v in kwargs.items() if n != name}
        return in_pieces(lambda first, **rest: forward(**{name: first}, **rest), x, **others)
    return in_pieces(forward, *args, **kwargs)


def _to_float8(modules: Sequence[nn.Module]) -> None:
    """Make the linear layers of feed-forward modules multiply in 8 bits, in place."""
    linears = [part for module in modules for part in module.modules() if type(part) is nn.Linear]
    if not linears:
        raise UnsuitableModel(
            "precision fp8 changes the torch.nn.Linear layers of feed-forward modules, and the "
            "model has none"
        )
    for linear in linears:
        if linear.in_features % FLOAT8_MULTIPLE or linear.out_features % FLOAT8_MULTIPLE:
            raise UnsuitableModel(
                f"fp8 multiplies matrices whose sizes are multiples of {FLOAT8_MULTIPLE}, and a "
                f"feed-forward layer is {linear.in_features} by {linear.out_features}"
            )
        linear.__class__ = Float8Linear
