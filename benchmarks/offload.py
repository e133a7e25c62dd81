"""What offload costs beside no offload, and what the bus allows: step time, peak, bytes moved.

    PYTHONPATH=src python benchmarks/offload.py [--lengths 4096 16384] [--layers 16]

The shape of Llama 3.2 1B of transformers, one sequence a step, bf16 autocast, sdpa, fused head and
fused Adam. The bound of a technique is the larger of its step without offload and of its bytes, out
and back, over the speed of one copy of 256 MiB of pinned memory.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

from vramlab.config.model import TransformersConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.memory.allocator import free_memory
from vramlab.model import offload
from vramlab.training.device import resolve
from vramlab.training.learner import build
from vramlab.training.step import train_step, warm_up

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128_256,
    "tie_word_embeddings": True,
    "max_position_embeddings": 131_072,
}
BASE = {"precision": "bf16", "attention": "sdpa", "loss_head": "fused", "optimizer": "fused"}
TECHNIQUES = {
    "none": {},
    "offload": {"offload": "activations"},
    "checkpointing": {"checkpointing": "block"},
    "checkpointing, offload": {"checkpointing": "block", "offload": "activations"},
}


class Counted(offload.CudaHost):
    """Counts the bytes that go to the host."""

    bytes = 0

    def store(self, tensor: torch.Tensor) -> Any:
        """As it is, and counted."""
        Counted.bytes += tensor.nbytes
        return super().store(tensor)


def bandwidth(device: torch.device, size: int = 2**28) -> tuple[float, float]:
    """Bytes a second to the host and back."""
    card = torch.empty(size, dtype=torch.uint8, device=device)
    host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    found = []
    for to, source in ((host, card), (card, host)):
        times = []
        for _ in range(5):
            torch.cuda.synchronize()
            start = time.perf_counter()
            to.copy_(source, non_blocking=True)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        found.append(size / min(times))
    return found[0], found[1]


def measure(axes: dict[str, str], layers: int, length: int, steps: int) -> tuple[float, float, int]:
    """Median milliseconds of a step, its peak in GiB, and the bytes that went to the host."""
    device = resolve("cuda")
    free_memory()
    config = LLAMA | {"num_hidden_layers": layers}
    workload = Workload(
        technique=Technique.model_validate(BASE | axes),
        model=TransformersConfig(source="transformers", config=config),
        vocab_size=LLAMA["vocab_size"],
        length=length,
        seed=9,
    )
    learner = build(workload, device)
    if "offload" in axes:
        host = Counted(device)
        learner.model.offload = offload.Offload(lambda _: host)
    warm_up(learner)
    optimizer = learner.optimizer(1e-4)
    tokens = torch.randint(LLAMA["vocab_size"], (1, length), device=device)
    times = []
    for step in range(2 + steps):
        Counted.bytes = 0
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        start = time.perf_counter()
        train_step(learner, optimizer, [(tokens, tokens)])
        torch.cuda.synchronize()
        if step >= 2:
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), torch.cuda.max_memory_allocated() / 2**30, Counted.bytes


def main() -> None:
    """Print a table a length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="*", default=[4096, 16_384])
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    out, back = bandwidth(resolve("cuda"))
    print(
        f"{torch.cuda.get_device_name()}: {out / 1e9:.1f} GB/s to the host, {back / 1e9:.1f} back"
    )
    for length in options.lengths:
        print(f"\n| {length} tokens | ms | peak GiB | GB to the host | ms on the bus | × |")
        print("|---|--:|--:|--:|--:|--:|", flush=True)
        plain = None
        for name, axes in TECHNIQUES.items():
            try:
                ms, peak, moved = measure(axes, options.layers, length, options.steps)
            except torch.OutOfMemoryError:
                print(f"| {name} | does not fit |", flush=True)
                plain = None
                continue
            bus = 1e3 * moved * (1 / out + 1 / back)
            if "offload" not in axes:
                plain = ms
            ratio = "" if plain is None or not moved else f"{ms / plain:.2f}"
            print(
                f"| {name} | {ms:.1f} | {peak:.2f} | {moved / 1e9:.2f} | {bus:.0f} | {ratio} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
