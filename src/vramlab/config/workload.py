"""A workload: what a process is to run."""

from __future__ import annotations

from vramlab.config.base import Section
from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique


class Workload(Section):
    """A technique's training step of one model, on sequences of one length, from one seed."""

    technique: Technique
    model: ModelConfig
    vocab_size: int
    """Tokens that the tokenizer knows."""
    keeps_vocabulary: bool = False
    """Whether the model keeps its own vocabulary instead of taking the tokenizer's."""
    length: int
    """Tokens of a sequence."""
    seed: int
    """Of the initial weights, the order of the sequences, and dropout."""
    weight_decay: float = 0.0
    """See TrainingConfig."""
    gradient_clipping: float | None = None
    """See TrainingConfig."""
