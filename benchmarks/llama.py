"""Tokens a second of stacks of techniques beside those of other libraries, on one model.

    PYTHONPATH=src python benchmarks/llama.py [--batch 8 --length 2048] [--only NAME ...]

The shape of Llama 3.2 1B with random weights. Peers are transformers as it comes, compiled, and
with the kernels of liger-kernel where that is installed; all with torch's fused AdamW. MFU is
that of docs/report.md: 6 operations a weight and token, and attention without regard to causality.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from llama_1b import CONFIG, LAYERS, Step, measure, step_of

from vramlab.base.cards import peak_tflops
from vramlab.training.device import resolve

BF16 = {"precision": "bf16", "attention": "sdpa", "optimizer": "fused"}
FUSED, PURE = {"loss_head": "fused"}, {"precision": "pure-bf16"}
FP8, PURE_FP8 = {"precision": "fp8"}, {"precision": "pure-bf16-fp8"}
COMPILED = {"compile": "default"}
TILED = {"feed_forward": "tiled"}
LEAST = {"loss_head": "cce", "checkpointing": "block", "optimizer": "in-backward"}
TECHNIQUES: dict[str, dict[str, Any]] = {
    "full head": BF16,
    "fused head": BF16 | FUSED,
    "cce": BF16 | {"loss_head": "cce"},
    "compiled, full head": BF16 | COMPILED,
    "compiled, fused head": BF16 | COMPILED | FUSED,
    "compiled, cce": BF16 | COMPILED | {"loss_head": "cce"},
    "compiled, fused head, pure-bf16": BF16 | PURE | COMPILED | FUSED,
    "compiled, full head, pure-bf16": BF16 | PURE | COMPILED,
    "compiled, full head, fp8": BF16 | FP8 | COMPILED,
    "compiled, cce, fp8": BF16 | FP8 | COMPILED | {"loss_head": "cce"},
    **{
        f"compiled, {name}, pure-bf16-fp8, budget {budget}": BF16
        | PURE_FP8
        | COMPILED
        | {"loss_head": head, "checkpointing": {"budget": budget}}
        for name, head in (("full head", "full"), ("cce", "cce"))
        for budget in (1, 0.85, 0.8, 0.7)
    },
    **{
        f"compiled, cce, pure-bf16, {optimizer}, budget {budget}": BF16
        | PURE
        | COMPILED
        | {"loss_head": "cce", "optimizer": optimizer, "checkpointing": {"budget": budget}}
        for optimizer in ("fused", "8bit")
        for budget in (1, 0.8, 0.65, 0.5)
    },
    "selective, fused head": BF16 | FUSED | {"checkpointing": "selective"},
    "block, fused head": BF16 | FUSED | {"checkpointing": "block"},
    "block, cce, in-backward": BF16 | LEAST,
    "block, cce, in-backward, tiled, pure-bf16": BF16 | PURE | LEAST | TILED,
    "budget 0.1, offload, cce, in-backward, tiled, pure-bf16": BF16
    | PURE
    | LEAST
    | TILED
    | {"checkpointing": {"budget": 0.1}, "offload": "activations"},
}
PEERS: dict[str, set[str]] = {
    "transformers": set(),
    "transformers, compiled": {"compiled"},
    "transformers, compiled, torchao's fp8": {"compiled", "fp8"},
    "Liger": {"liger"},
    "Liger, checkpointing": {"liger", "checkpointing"},
    "Liger, compiled, bf16 weights": {"liger", "compiled", "pure"},
}


def peer(changes: set[str]) -> Step:
    """A training step of transformers' own model and loss."""
    from transformers import AutoModelForCausalLM, LlamaConfig  # noqa: PLC0415

    config = LlamaConfig(**CONFIG, num_hidden_layers=LAYERS, use_cache=False)
    dtype = torch.bfloat16 if "pure" in changes else torch.float32
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=dtype)
    if "liger" in changes:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance  # noqa: PLC0415

        _apply_liger_kernel_to_instance(model)
    if "checkpointing" in changes:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if "fp8" in changes:
        from torchao.float8 import convert_to_float8_training  # noqa: PLC0415

        convert_to_float8_training(model, module_filter_fn=lambda _, name: name != "lm_head")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    run = torch.compile(model) if "compiled" in changes else model

    def step(tokens: torch.Tensor) -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled="pure" not in changes):
            loss = run(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--only", nargs="*", help="names of rows; default all")
    parser.add_argument("--here", action="store_true", help="one row, in this process")
    options = parser.parse_args()
    makers: dict[str, Callable[[], Step]] = {
        **{name: partial(peer, changes) for name, changes in PEERS.items()},
        **{name: partial(step_of, axes, options.length) for name, axes in TECHNIQUES.items()},
    }
    names = [name for name in makers if not options.only or name in options.only]
    if options.here:
        print(row(names[0], makers[names[0]], options), flush=True)
        return
    print(f"{options.batch} x {options.length} tokens a step\n")
    print("| | ms | tokens/s | MFU | peak GiB |\n|---|--:|--:|--:|--:|", flush=True)
    for name in names:  # in a process of its own: an allocator, a compiler and patches of its own
        if "Liger" in name and importlib.util.find_spec("liger_kernel") is None:
            continue
        command = [sys.executable, __file__, "--here", "--only", name]
        command += [f"--{key}={getattr(options, key)}" for key in ("batch", "length", "steps")]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        print(done.stdout.strip() or f"| {name} | status {done.returncode} |", flush=True)


def row(name: str, make: Callable[[], Step], options: argparse.Namespace) -> str:
    """The line of one stack."""
    weights = 1_235_814_400
    flops = 6 * weights + 12 * LAYERS * CONFIG["hidden_size"] * options.length
    resolve("cuda")
    peak = peak_tflops(torch.cuda.get_device_name(), "bf16") or float("nan")
    try:
        took = measure(make(), options.batch, options.length, options.steps)
    except (RuntimeError, TypeError) as error:
        traceback.print_exc()
        return f"| {name} | {str(error).splitlines()[0][:80]} |"
    speed = options.batch * options.length / took.seconds
    mfu = speed * flops / peak / 1e10
    return f"| {name} | {1e3 * took.seconds:.1f} | {speed:,.0f} | {mfu:.1f} % | {took.gib:.2f} |"


if __name__ == "__main__":
    main()
