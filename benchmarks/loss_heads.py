"""Time, extra memory and exactness of the loss heads, beside those of Liger and of torch.

    PYTHONPATH=src python benchmarks/loss_heads.py [--device cpu --shapes 512x64x1000]

A forward and a backward pass of each head, from hidden states and a weight in bfloat16 to both
gradients. Extra memory is the peak beyond these four. Errors are the relative norm of the
difference from gradients in float64 of the same inputs, and from those of torch's full head.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from vramlab.model.language_model import OutputEmbedding
from vramlab.model.loss_heads import LOSS_HEADS

SHAPES = ("131072x128x12000", "8192x2048x128256", "16384x896x151936", "8192x4096x128256")
"""Tokens, width and vocabulary: the default model, and those of Llama 1B, Qwen2 0.5B, Llama 8B."""
Head = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Hidden states [tokens, width], weight and targets to the mean loss."""


def of_torch(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """All logits, in float32 for the softmax."""
    return functional.cross_entropy((hidden @ weight.T).float(), targets)


def ours(name: str) -> Head:
    """A value of the axis `loss_head`."""
    head = LOSS_HEADS[name](None, lambda function: function)

    def loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        total = head(hidden[None], OutputEmbedding(weight), targets[None])
        return total / targets.numel()

    return loss


def liger() -> Head:
    """The fused linear cross-entropy of liger-kernel."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss  # noqa: PLC0415

    head = LigerFusedLinearCrossEntropyLoss()
    return lambda hidden, weight, targets: head(weight, hidden, targets)


def heads(device: torch.device) -> Iterator[tuple[str, Head]]:
    """All that can run here."""
    yield "torch full", of_torch
    if device.type == "cuda":
        yield "torch full, compiled", torch.compile(of_torch)
    for name in LOSS_HEADS:
        if name != "cce" or importlib.util.find_spec("cut_cross_entropy"):
            yield name, ours(name)
    if importlib.util.find_spec("liger_kernel"):
        yield "liger", liger()


def exact(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the mean loss in float64, a thousand tokens at a time."""
    weight = weight.detach().double()
    grad_hidden, grad_weight = [], torch.zeros_like(weight)
    for rows, wanted in zip(hidden.detach().split(1024), targets.split(1024), strict=True):
        grad = torch.softmax(rows.double() @ weight.T, -1)
        grad[torch.arange(len(rows)), wanted] -= 1
        grad /= len(hidden)
        grad_hidden.append(grad @ weight)
        grad_weight += grad.T @ rows.double()
    return torch.cat(grad_hidden), grad_weight


def measure(head: Head, arguments: tuple[Tensor, ...], steps: int) -> tuple[float, float]:
    """Median milliseconds, and the peak beyond inputs and gradients in MiB (0 on a CPU)."""
    hidden, weight, _ = arguments
    cuda = hidden.is_cuda

    def step() -> None:
        hidden.grad = weight.grad = None
        head(*arguments).backward()

    for _ in range(3):
        step()
    gc.collect()
    extra = 0.0
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        extra = (torch.cuda.max_memory_allocated() - before) / 2**20
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), extra


def error(found: Tensor, right: Tensor) -> float:
    """Relative norm of the difference."""
    return (torch.linalg.norm(found.float() - right) / torch.linalg.norm(right)).item()


def main() -> None:
    """Print a table a shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="*", default=SHAPES)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", nargs="*", help="names of heads; default all")
    options = parser.parse_args()
    device = torch.device(options.device)
    for shape in options.shapes:
        tokens, width, vocabulary = map(int, shape.split("x"))
        torch.manual_seed(1)
        hidden = (torch.randn(tokens, width, device=device) * 0.5).bfloat16().requires_grad_()
        weight = (torch.randn(vocabulary, width, device=device) * 0.02).bfloat16().requires_grad_()
        targets = torch.randint(4, vocabulary, (tokens,), device=device)
        right = [g.float() for g in exact(hidden, weight, targets)]
        full: list[Tensor] = []
        print(f"\n| {shape} | ms | extra MiB | error of hidden, weight | from torch's full |")
        print("|---|--:|--:|--:|--:|", flush=True)
        for name, head in heads(device):
            if options.only and name not in ("torch full", *options.only):
                continue
            try:
                ms, mib = measure(head, (hidden, weight, targets), options.steps)
            except torch.OutOfMemoryError as reason:
                print(f"| {name} | {str(reason).splitlines()[0][:60]} |")
                continue
            assert hidden.grad is not None
            assert weight.grad is not None
            found = [hidden.grad, weight.grad]
            full = full or [g.float() for g in found]
            of_exact = ", ".join(f"{error(f, r):.1e}" for f, r in zip(found, right, strict=True))
            of_full = ", ".join(f"{error(f, r):.1e}" for f, r in zip(found, full, strict=True))
            print(f"| {name} | {ms:.2f} | {mib:.1f} | {of_exact} | {of_full} |", flush=True)
            hidden.grad = weight.grad = None


if __name__ == "__main__":
    main()
