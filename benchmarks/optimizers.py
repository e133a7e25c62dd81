"""Perplexity at equal steps of each optimizer, and its state's bytes, on the demo's model.

    PYTHONPATH=src python benchmarks/optimizers.py --documents 1200

Each optimizer trains the model of config/demo.yaml, from the same weights and on the same batches
of synthetic documents, at each of the learning rates; the best of them counts, by the mean of the
seeds.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vramlab.config.axes import OPTIMIZER_VALUES
from vramlab.config.corpus import SyntheticSource
from vramlab.config.experiment import Experiment, load
from vramlab.config.technique import Technique
from vramlab.config.tokenizer import SentencePieceConfig
from vramlab.config.training import TrainingConfig
from vramlab.config.workload import Workload
from vramlab.data.corpus.synthetic import documents
from vramlab.data.packing import pack
from vramlab.data.sentencepiece_tokenizer import SentencePieceTokenizer, train
from vramlab.data.sequences import Sequences
from vramlab.training.checkpoint import Checkpoints
from vramlab.training.epoch import Diverged, Schedule, train_epochs
from vramlab.training.evaluate import evaluate
from vramlab.training.learner import Learner, build
from vramlab.training.machine import Machine, missing_here

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
Corpora = list[tuple[Sequences, int]]
"""Training and validation: their sequences, and the bytes of text."""


class Trained(NamedTuple):
    """What an epoch gave."""

    perplexity: float
    steps: int
    held: float
    """Bytes of the optimizer's state for each weight."""


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-3, 1e-2, 3e-2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[9])
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    config = load(ROOT / "config/demo.yaml")
    with tempfile.TemporaryDirectory() as folder:
        corpora = [
            corpus(config, Path(folder), name, count, seed)
            for name, count, seed in (("train", arguments.documents, 9), ("validation", 100, 10))
        ]
        print("| optimizer | precision | steps | perplexity | from, to | rate | bytes a weight |")
        print("|---|---|--:|--:|--:|--:|--:|")
        for workload in workloads(config):
            found = [
                compared(workload, corpora, arguments.batch, rate, arguments.seeds)
                for rate in arguments.rates
            ]
            _, *cells = min(found)
            axes = workload.technique
            print("|", " | ".join([axes.optimizer, axes.precision, *cells]), "|", flush=True)


def compared(
    workload: Workload, corpora: Corpora, batch: int, rate: float, seeds: list[int]
) -> tuple[float, str, str, str, str, str]:
    """The mean perplexity of the seeds, then the cells of a row."""
    runs = [
        trained(workload.model_copy(update={"seed": seed}), corpora, batch, rate) for seed in seeds
    ]
    perplexities = [run.perplexity for run in runs]
    mean = statistics.mean(perplexities)
    spread = f"{min(perplexities):.1f}, {max(perplexities):.1f}"
    return mean, str(runs[0].steps), f"{mean:.1f}", spread, f"{rate:g}", f"{runs[0].held:.2f}"


def corpus(
    config: Experiment, folder: Path, name: str, count: int, seed: int
) -> tuple[Sequences, int]:
    """The packed documents, and their bytes of text; the first corpus trains the tokenizer."""
    source = SyntheticSource(source="synthetic", documents=count, words=200, seed=seed)
    texts = [document["text"] for document in documents(name, source)]
    model, stream = folder / "tokenizer.model", folder / f"{name}.npy"
    assert isinstance(config.tokenizer, SentencePieceConfig)
    if not model.exists():
        train(texts, config.tokenizer, model)
    counts = pack(texts, SentencePieceTokenizer(model), stream)
    return Sequences(stream, config.sequence_length), counts.utf8_bytes


def workloads(config: Experiment) -> Iterator[Workload]:
    """Every optimizer that runs here, with weights in 32 bits and in 16.

    But for those that compute what adam does.
    """
    for precision in ("fp32", "pure-bf16"):
        for optimizer in [o for o in OPTIMIZER_VALUES if o not in {"fused", "in-backward"}]:
            workload = Workload(
                technique=Technique(optimizer=optimizer, precision=precision),
                model=config.model,
                vocab_size=config.vocab_size,
                length=config.sequence_length,
                seed=9,
            )
            if missing_here(workload, Machine.here(CPU)) is None:
                yield workload


def trained(workload: Workload, corpora: Corpora, batch: int, rate: float) -> Trained:
    """Train an epoch, then validate."""
    (sequences, _), (validation, utf8_bytes) = corpora
    held: list[torch.optim.Optimizer] = []

    class Kept(Learner):
        def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
            held.append(super().optimizer(learning_rate))
            return held[-1]

    learner = Kept(**vars(build(workload, CPU)))
    schedule = Schedule(TrainingConfig(warmup_steps=50), batch, rate)
    with tempfile.TemporaryDirectory() as folder:
        done = train_epochs(learner, sequences, schedule, Checkpoints(Path(folder), "a"))
    try:
        perplexity = evaluate(learner, validation, 64, utf8_bytes).perplexity
    except Diverged:
        perplexity = float("inf")
    weights = sum(p.numel() for p in learner.trained_parameters())
    return Trained(perplexity, done.steps, state_bytes(held[0]) / weights)


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of all tensors that an optimizer keeps, those inside of subclasses included."""
    return sum(sum(map(_bytes, state.values())) for state in optimizer.state.values())


def _bytes(value: Any) -> int:
    if not isinstance(value, torch.Tensor):
        return 0
    if not hasattr(value, "__tensor_flatten__"):
        return value.untyped_storage().nbytes()
    return sum(_bytes(getattr(value, name)) for name in value.__tensor_flatten__()[0])


if __name__ == "__main__":
    main()
