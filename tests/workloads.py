"""Workloads of the tests: a technique given by its axes, and a tiny model."""

from vramlab.config.model import DecoderConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload

TINY = DecoderConfig(d_model=16, layers=2, heads=2, d_ff=32, dropout=0.0)
VOCABULARY, LENGTH = 50, 8


def workload(axes=None, model=TINY, vocab_size=VOCABULARY, length=LENGTH, seed=9, **update):
    """The workload of a technique's axes."""
    technique = Technique(**(axes or {}))
    return Workload(
        technique=technique,
        model=model,
        vocab_size=vocab_size,
        length=length,
        seed=seed,
        **update,
    )
