"""The operations of a step are those of the formula, and those that torch's counter sees."""

import dataclasses

import pytest
import torch
from families import FAMILIES, configuration
from torch.utils.flop_counter import FlopCounterMode
from workloads import workload

from vramlab.config.model import DecoderConfig, TransformersConfig
from vramlab.measure import flops
from vramlab.measure.flops import matrix_weights, model_flops, step_flops
from vramlab.training.learner import build

EXPLICIT = {"gptj", "bloom"}
"""Families whose own attention is explicit, and their only one."""
MATH = {"attention": "math"}
CPU = torch.device("cpu")
D, LAYERS, FF, TOKENS, WORDS = 32, 3, 64, 24, 96
DECODER = DecoderConfig(d_model=D, layers=LAYERS, heads=4, d_ff=FF, dropout=0.1)
BLOCK = 4 * D * D + 2 * D * FF
N = LAYERS * BLOCK + WORDS * D
ATTENTION = 4 * D * TOKENS  # a layer's, forward, a token


def learner(axes=None, model=DECODER, length=TOKENS):
    made = build(workload(axes, model, vocab_size=WORDS, length=length), CPU)
    made.model.train()
    return made


def llama(**changes):
    return TransformersConfig(source="transformers", config=configuration("llama") | changes)


def torch_counts(made, length=TOKENS):
    """What torch's own counter says of the explicit attention, whose products it all knows."""
    tokens = torch.zeros((1, length), dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        made.loss_sum(tokens, tokens).backward()
    return counter.get_total_flops() / length


def test_the_decoder_takes_six_a_weight_and_twelve_for_attention():
    made = learner({"attention": "math"})
    assert model_flops(made.model, TOKENS) == 6 * N + 12 * LAYERS * D * TOKENS
    assert torch_counts(made) == model_flops(made.model, TOKENS)
    assert step_flops(made, TOKENS) == (model_flops(made.model, TOKENS),) * 2 + ("",)


def test_a_small_llama_takes_what_torch_counts():
    made = learner({"attention": "math"}, llama(), length=20)
    assert matrix_weights(made.model).trained == sum(
        p.numel()
        for name, p in made.model.named_parameters()
        if p.dim() > 1 and "embed_tokens" not in name
    )
    rotary = 2 * 4  # the angles are a product of positions and frequencies
    assert torch_counts(made, 20) == model_flops(made.model, 20) + rotary
    tied = learner({"attention": "math"}, llama(tie_word_embeddings=True), length=20)
    assert model_flops(tied.model, 20) == model_flops(made.model, 20)


@pytest.mark.parametrize(
    ("axes", "again"),
    [
        ({}, LAYERS * ATTENTION / 2),  # the scores, which the kernel does not store
        ({"attention": "sdpa"}, LAYERS * ATTENTION / 2),
        ({"attention": "math", "checkpointing": "block"}, LAYERS * (2 * BLOCK + ATTENTION)),
        ({"attention": "math", "loss_head": "chunked"}, 2 * WORDS * D),
        ({"attention": "math", "loss_head": "fused"}, 0),
        ({"attention": "math", "feed_forward": "recomputed"}, 0),
        ({"attention": "math", "precision": "bf16"}, 0),
        ({"attention": "math", "optimizer": "in-backward"}, 0),
        ({"attention": "sdpa", "checkpointing": "selective"}, LAYERS * ATTENTION / 2),
    ],
    ids=str,
)
def test_the_hardware_does_what_is_computed_again_as_well(axes, again):
    made = learner(axes)
    made.optimizer(1e-3)
    found = step_flops(made, TOKENS)
    assert found.model == 6 * N + 3 * LAYERS * ATTENTION
    assert found.hardware == found.model + again


def test_a_window_takes_what_is_seen_and_a_dense_mask_all():
    found = step_flops(learner({"attention": "masked", "window": 6}), TOKENS)
    assert found.model == 6 * N + 12 * LAYERS * D * 6
    assert found.hardware >= 6 * N + 12 * LAYERS * D * TOKENS


def test_no_gradient_is_computed_of_a_frozen_weight():
    pytest.importorskip("peft", reason="the package peft is absent")
    made = learner({"attention": "math", "adapter": "lora", "adapter_rank": 2})
    weights = matrix_weights(made.model)
    assert weights == (LAYERS * 2 * (D + FF) * 2, N)
    assert model_flops(made.model, TOKENS) == 6 * weights[0] + 4 * N + 3 * LAYERS * ATTENTION


@pytest.mark.parametrize(
    "family", sorted(FAMILIES.keys() - {"llama4_text"})
)  # all experts for each token
def test_other_families_take_what_torch_counts(family):
    """Experts one by one, since each product of a token is then seen; a mask hides no product."""
    model = TransformersConfig(source="transformers", config=configuration(family))
    made = learner({} if family in EXPLICIT else MATH, model, length=20)
    if made.model.network._can_set_experts_implementation():
        made.model.network.set_experts_implementation("eager")
    unmasked = sum(
        12 * layer.width * max(20 - (layer.window or 20), 0)
        for layer in made.model.attention_layers()
    )
    assert torch_counts(made, 20) == pytest.approx(model_flops(made.model, 20) + unmasked, rel=1e-3)


@pytest.mark.parametrize(
    ("axes", "note"),
    [
        ({"compile": "default", "checkpointing": {"budget": 0.5}}, flops.COMPILED_BUDGET),
        (
            {"attention": "flash", "precision": "bf16", "checkpointing": {"budget": 0.5}},
            flops.BUDGET_OF_KERNEL,
        ),
    ],
    ids=["compiled", "flash"],
)
def test_what_a_budget_computes_again_unseen_is_not_known(axes, note):
    made = learner()
    technique = workload(axes, DECODER, vocab_size=WORDS, length=TOKENS).technique
    other = made.workload.model_copy(update={"technique": technique})
    found = step_flops(dataclasses.replace(made, workload=other), TOKENS)
    assert found == (model_flops(made.model, TOKENS), None, note)


def test_memory_that_runs_out_while_counting_is_told_and_ends_nothing(monkeypatch):
    made = learner(MATH)

    def no_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(type(made), "loss_sum", no_memory)
    assert step_flops(made, TOKENS) == (model_flops(made.model, TOKENS), None, flops.NO_MEMORY)


def test_a_model_that_tells_no_sizes_has_the_operations_of_the_hardware_only(monkeypatch):
    made = learner(MATH)
    monkeypatch.setattr(type(made.model), "attention_layers", lambda _: None)
    assert step_flops(made, TOKENS) == (None, torch_counts(made), flops.UNKNOWN)


def test_planning_a_budget_is_no_operation_of_a_step():
    model = DecoderConfig(d_model=64, layers=3, heads=2, d_ff=256, dropout=0.0)
    counted = []
    for checkpointing in ("block", {"budget": 0}):
        axes = {"attention": "sdpa", "checkpointing": checkpointing}
        learner = build(workload(axes, model, 500, 32), torch.device("cpu"))
        counted.append(step_flops(learner, 32).hardware)
    assert counted[0] == counted[1]


@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral"])
def test_the_products_of_all_experts_at_once_are_counted(family):
    model = TransformersConfig(source="transformers", config=configuration(family))
    counts = [
        step_flops(learner({"attention": "math", **axes}, model), TOKENS)
        for axes in ({}, {"checkpointing": "block"})
    ]
    once, again = counts
    assert once.hardware == pytest.approx(once.model, rel=0.02)
    assert again.hardware > 1.2 * once.hardware
