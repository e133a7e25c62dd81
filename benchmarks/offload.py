"""What offload costs beside no offload, and what the bus allows: step time, peak, bytes moved.

    PYTHONPATH=src python benchmarks/offload.py [--lengths 4096 16384] [--layers 16]

The shape of Llama 3.2 1B of transformers, one sequence a step, bf16 autocast, sdpa, fused head and
fused Adam. The bound of a technique is the larger of its step without offload and of its bytes, out
and back, over the speed of one copy of 256 MiB of pinned memory.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import llama_1b
import torch
from llama_1b import Measured

from vramlab.memory.allocator import free_memory
from vramlab.model import offload
from vramlab.training.device import resolve

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


def measure(axes: dict[str, str], layers: int, length: int, steps: int) -> tuple[Measured, int]:
    """What a step takes, and the bytes that go to the host in it."""
    free_memory()
    host = Counted(resolve("cuda"))
    moved = offload.Offload(lambda _: host) if "offload" in axes else None
    step = llama_1b.step_of(BASE | axes, length, layers, moved)

    def counted(tokens: torch.Tensor) -> None:
        Counted.bytes = 0
        step(tokens)

    return llama_1b.measure(counted, 1, length, steps), Counted.bytes


def main() -> None:
    """Print a table a length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="*", default=[4096, 16_384])
    parser.add_argument("--layers", type=int, default=llama_1b.LAYERS)
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
                took, moved = measure(axes, options.layers, length, options.steps)
            except torch.OutOfMemoryError:
                print(f"| {name} | does not fit |", flush=True)
                plain = None
                continue
            ms, bus = 1e3 * took.seconds, 1e3 * moved * (1 / out + 1 / back)
            if "offload" not in axes:
                plain = ms
            ratio = "" if plain is None or not moved else f"{ms / plain:.2f}"
            print(
                f"| {name} | {ms:.1f} | {took.gib:.2f} | {moved / 1e9:.2f} | {bus:.0f} | {ratio} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
