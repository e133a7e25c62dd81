"""What a model of any source is to the rest: from tokens to hidden states, and an output embedding.

The loss heads multiply the hidden states by the output embedding themselves, chunk by chunk where
they save memory; so a model ends before its logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from vramlab.base.errors import VramlabError
from vramlab.model.offload import OffloadContext


class UnsuitableModel(VramlabError):
    """The model has no place for what a technique does; the sentence says which and why."""


class OutputEmbedding(NamedTuple):
    """How hidden states become logits: softcap * tanh((hidden @ weight.T + bias) / softcap)."""

    weight: Tensor | None
    """[vocabulary, width]; None where the model returns logits instead of hidden states."""
    bias: Tensor | None = None
    """[vocabulary]."""
    softcap: float | None = None
    """Largest absolute value of a logit; None for no bound."""


class AttentionLayer(NamedTuple):
    """The sizes that the attention of one layer computes with."""

    width: float
    """Heads times the width of a head; where values have another one than keys, their mean."""
    window: int | None = None
    """How many tokens each position sees; None for all before it."""


class LanguageModel(nn.Module):
    """A causal language model without its output embedding."""

    offload: OffloadContext
    """The context that the blocks run in; looked up at each step."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [batch, time] (int64) to hidden states [batch, time, width]."""
        raise NotImplementedError

    def output_embedding(self) -> OutputEmbedding:
        """The output embedding as it is now; FSDP replaces its tensors from step to step."""
        raise NotImplementedError

    @property
    def positions_limit(self) -> int | None:
        """The most tokens of a sequence; None where the positions are computed."""
        return None

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the model can tell apart."""
        raise NotImplementedError

    def decoder_blocks(self) -> Sequence[nn.Module]:
        """The blocks, in order."""
        raise NotImplementedError

    def block_list(self) -> nn.ModuleList | None:
        """The list that the forward pass runs through; None where that is not known."""
        return None

    def running_blocks(self) -> Sequence[nn.Module]:
        """The blocks that the forward pass runs now; none where that is not known."""
        return list(self.block_list() or ())

    def kinds(self) -> Iterator[tuple[nn.Module, str]]:
        """The modules whose memory is told apart, outer before inner, and the kind of each."""
        raise NotImplementedError

    def attention_layers(self) -> Sequence[AttentionLayer] | None:
        """The sizes of each layer of attention; None where they are not known."""
        return None

    def active_share(self, name: str) -> float | None:
        """The share of a parameter that a token is multiplied by: 1, but for experts.

        None where it is not known how many experts a token goes to.
        """
        return 1.0

    def reserve(self, length: int) -> None:
        """Make what sequences of `length` tokens need, where the model does not itself."""
