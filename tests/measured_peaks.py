"""Peaks of training steps that GPUs took, for `tools/gpu_peaks.py` to measure again."""

from pathlib import Path

import yaml

from vramlab.config.model import DecoderConfig, TransformersConfig

OF_THE_DEFAULT = {
    "fp32": ({}, {4: 342662656, 2855: 147510894080}),
    "bf16": ({"precision": "bf16"}, {4: 322932224, 923: 41919511040}),
    "flash": (
        {"precision": "bf16", "attention": "flash"},
        {923: 41919442944},
    ),
    "windowed": (
        {"precision": "bf16", "attention": "flash", "window": 64},
        {3247: 147110356992},
    ),
    "math": ({"precision": "bf16", "attention": "math"}, {887: 42135946240}),
    "sdpa": ({"precision": "bf16", "attention": "sdpa"}, {929: 42191022080}),
    "masked": (
        {"precision": "bf16", "attention": "masked", "window": 64},
        {929: 42191612416},
    ),
    "checkpointing": (
        {"precision": "bf16", "checkpointing": "block"},
        {4: 290815488, 3916: 147491269632},
    ),
    "fused head": (
        {"precision": "bf16", "attention": "sdpa", "loss_head": "fused"},
        {4: 184114176, 796: 7358684160, 4688: 41952119296},
    ),
    "cce": (
        {"precision": "bf16", "attention": "sdpa", "loss_head": "cce"},
        {4: 184114176, 796: 7358684160},
    ),
    "pure-bf16, fused": (
        {"precision": "pure-bf16", "attention": "sdpa", "loss_head": "fused"},
        {4: 158884864, 796: 6866314240},
    ),
    "chunked": (
        {"precision": "bf16", "attention": "sdpa", "loss_head": "chunked"},
        {4: 188468224},
    ),
    "least memory": (
        {
            "precision": "bf16",
            "attention": "sdpa",
            "loss_head": "fused",
            "feed_forward": "recomputed",
            "checkpointing": "block",
            "optimizer": "in-backward",
        },
        {4: 159238656, 948: 2582521344, 16282: 42026354176},
    ),
}
"""Axes, and bytes by batch size: from searches of 2026-11-23 to 25 with torch 2.11.0, the default
model, 256 tokens and 12,000 pieces; those of chunked, fused and cce from an H100 of 2026-11-27."""

ELSEWHERE_AXES = {"precision": "bf16", "attention": "flash", "loss_head": "fused"}
GPT2 = DecoderConfig(d_model=768, layers=12, heads=12, d_ff=3072)
ELSEWHERE = {
    "4,096 tokens": (DecoderConfig(), 12_000, 4096, {4: 766594048, 292: 41811794944}),
    "16,384 tokens": (DecoderConfig(), 12_000, 16_384, {73: 41818180096}),
    "a model of GPT-2's size": (GPT2, 50_000, 1024, {56: 24911650816}),
}
"""Model, vocabulary, length, and bytes by batch size, of flash with the fused head: 2026-11-25, and
the first and the last on an H100 of 2026-11-27."""

_BF16 = {"precision": "bf16", "attention": "sdpa", "optimizer": "fused", "compile": "default"}
_FUSED = _BF16 | {"loss_head": "fused", "chunk_tokens": 8192}
_RECOMPUTED = {"feed_forward": "recomputed"}
_PURE, _FP8 = {"precision": "pure-bf16"}, {"precision": "fp8"}
_CCE = {"loss_head": "cce"}


def _kept(budget: float) -> dict:
    return {"checkpointing": {"budget": budget}}


COMPILED = {
    "full head": (_BF16, 7.10),
    "fused head": (_FUSED, 4.39),
    "both": (_FUSED | _RECOMPUTED, 3.89),
    "both, chunks of 16,384": (_FUSED | _RECOMPUTED | {"chunk_tokens": 16_384}, 4.08),
    "both, flash-attn": (_FUSED | _RECOMPUTED | {"attention": "flash"}, 3.14),
    "both, pure-bf16": (_FUSED | _RECOMPUTED | _PURE, 3.53),
    "recomputed, full head, pure-bf16": (_BF16 | _RECOMPUTED | _PURE, 6.24),
}
"""Axes and GiB of compiled steps of 512 sequences of 256 tokens, the default model with dropout:
docs/performance.md, torch 2.11.0, an H200, 2026-11-24, when a chunk had 8,192 tokens."""

COMPILED_HEAD = {
    (131_072, 128, 12_000): 3008,
    (8_192, 2_048, 128_256): 2004,
    (16_384, 896, 151_936): 4748,
    (8_192, 4_096, 128_256): 2004,
}
"""MiB of the compiled full head beyond inputs and gradients, by tokens, width and vocabulary:
docs/techniques.md, torch 2.11, an H100, 2026-11-27."""

LLAMA_YAML = yaml.safe_load(
    (Path(__file__).parents[1] / "config" / "llama.yaml").read_text("utf-8")
)
LLAMA = TransformersConfig.model_validate(LLAMA_YAML["model"])
COMPILED_LLAMA = {
    "full head": (_BF16, 42.80),
    "fused head": (_BF16 | {"loss_head": "fused"}, 39.65),
    "fused head, pure-bf16": (_BF16 | {"loss_head": "fused"} | _PURE, 27.96),
    "full head, pure-bf16": (_BF16 | _PURE, 31.59),
    "full head, fp8": (_BF16 | _FP8, 36.30),
    "cce, fp8": (_BF16 | _FP8 | _CCE, 33.37),
    "cce, pure-bf16": (_BF16 | _PURE | _CCE, 27.96),
    "cce, pure-bf16, 8bit": (_BF16 | _PURE | _CCE | {"optimizer": "8bit"}, 25.69),
}
"""GiB of 8 x 2,048 tokens, of code with a causal mask: docs/results/own_models.md, torch 2.11,
H100s, 2026-11-27 and 28."""
COMPILED_BUDGET = (_BF16 | _PURE | _CCE | _kept(0.5), 22.32)
"""The same with checkpointing to a budget; 2026-11-28."""

WITHOUT_MASKS = {
    "full head": (_BF16, {7: 38.198}),
    "full head, fp8": (_BF16 | _FP8, {4: 24.985, 8: 34.74, 9: 37.218}),
    "cce, pure-bf16": (_BF16 | _PURE | _CCE, {8: 26.40}),
    "cce, pure-bf16, budget 0.8": (_BF16 | _PURE | _CCE | _kept(0.8), {8: 21.251}),
    "cce, pure-bf16, budget 0.5": (_BF16 | _PURE | _CCE | _kept(0.5), {8: 22.703}),
    "cce, pure-bf16-fp8, budget 0.8": (
        _BF16 | {"precision": "pure-bf16-fp8"} | _CCE | _kept(0.8),
        {8: 20.99},
    ),
}
"""GiB of Llama's step with 2,048 tokens by batch size, as compiled code is now: torch 2.11, H200s,
2026-11-28, commit 797e851."""

LONGEST = (
    _PURE
    | _CCE
    | _kept(0.1)
    | {"attention": "sdpa", "optimizer": "in-backward"}
    | {"offload": "activations", "feed_forward": "tiled"},
    101_376,
    21.83,
)
"""Axes, tokens of one sequence of Llama, and GiB: docs/results/own_models.md, an H200."""
