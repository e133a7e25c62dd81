"""On a real GPU: models of transformers under each technique, against float64 on the CPU."""

import importlib.util

import pytest
import torch
from workloads import workload

from vramlab.config.model import TransformersConfig
from vramlab.config.targets import IGNORED
from vramlab.memory.allocator import free_memory
from vramlab.training.device import resolve
from vramlab.training.learner import build
from vramlab.training.machine import Machine, obstacle
from vramlab.training.step import train_step, warm_up

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(
        importlib.util.find_spec("transformers") is None, reason="needs the package transformers"
    ),
]

VOCABULARY, LENGTH, WIDTH = 160, 160, 128
_SIZES = {
    "hidden_size": WIDTH,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
}
_NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
MODELS = {
    "llama": _SIZES,
    "gemma2": _SIZES | {"head_dim": 64, "final_logit_softcapping": 3.0, "sliding_window": 24},
    "mistral": _SIZES | {"sliding_window": 24},
    "gpt2": {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 256, **_NO_DROPOUT},
}
_BF16 = {"precision": "bf16", "attention": "sdpa"}
TECHNIQUES = {
    "fp32": {"attention": "sdpa"},
    "tf32": {"precision": "tf32"},
    "bf16": _BF16,
    "math": _BF16 | {"attention": "math"},
    "flash": _BF16 | {"attention": "flash"},
    "flex": _BF16 | {"attention": "flex"},
    "pure-bf16": _BF16 | {"precision": "pure-bf16"},
    "fp8": _BF16 | {"precision": "fp8"},
    "pure-bf16-fp8": _BF16 | {"precision": "pure-bf16-fp8"},
    "checkpointing": {"checkpointing": "block"},
    "selective": _BF16 | {"checkpointing": "selective"},
    "offload": {"offload": "activations"},
    "budget": _BF16 | {"checkpointing": {"budget": 0.3}},
    "budget, offload": _BF16 | {"checkpointing": {"budget": 0.3}, "offload": "activations"},
    "recomputed": {"feed_forward": "recomputed"},
    "chunked": {"loss_head": "chunked", "chunk_tokens": 50},
    "fused": {"loss_head": "fused", "chunk_tokens": 50},
    "fused bf16": _BF16 | {"loss_head": "fused"},
    "cce": _BF16 | {"loss_head": "cce"},
    "cce pure-bf16": _BF16 | {"precision": "pure-bf16", "loss_head": "cce"},
    "compiled": _BF16 | {"compile": "default", "optimizer": "fused"},
    "graphs": _BF16 | {"compile": "default", "cuda_graphs": True},
    "lora": _BF16 | {"adapter": "lora", "loss_head": "fused"},
    "lora, cce": _BF16 | {"adapter": "lora", "loss_head": "cce"},
}
TOLERANCES = {
    **{"fp32": 2e-4, "tf32": 2e-2, "bf16": 5e-2, "pure-bf16": 8e-2},
    **{"fp8": 0.25, "pure-bf16-fp8": 0.25},
}
"""Of the worst gradient, by precision; the loss has a tenth of it."""


def batch(device):
    torch.manual_seed(1)
    tokens = torch.randint(VOCABULARY, (3, LENGTH + 1), device=device)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].clone()
    targets[0, 5:9] = IGNORED
    return inputs, targets


@pytest.mark.parametrize("name", TECHNIQUES)
@pytest.mark.parametrize("family", MODELS)
def test_a_technique_agrees_with_float64(family, name):
    device, axes = resolve("cuda"), TECHNIQUES[name]
    config = {"model_type": family, **MODELS[family]}
    model = TransformersConfig(source="transformers", config=config)
    tried = workload(axes, model, VOCABULARY, LENGTH)
    if reason := obstacle(tried, Machine.here(device)):
        pytest.skip(reason)
    learner = build(tried, device)
    inputs, targets = batch(device)
    if "adapter" in axes:  # B begins as zeros, and would hide A
        for parameter in learner.trained_parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    adapter = {"adapter": axes["adapter"]} if "adapter" in axes else {}
    exact = build(
        workload({"attention": "math", **adapter}, model, VOCABULARY, LENGTH), torch.device("cpu")
    )
    exact.model.load_state_dict({k: v.cpu() for k, v in learner.model.state_dict().items()})
    exact.model.double()
    expected = exact.loss_sum(inputs.cpu(), targets.cpu())
    expected.backward()
    learner.model.train()
    loss = learner.loss_sum(inputs, targets)
    loss.backward()
    limit = TOLERANCES[tried.technique.precision]
    assert loss.item() == pytest.approx(expected.item(), rel=limit / 10)
    found, right = learner.model.named_parameters(), dict(exact.model.named_parameters())
    errors = {
        key: (
            torch.linalg.norm(p.grad.double().cpu() - right[key].grad)
            / torch.linalg.norm(right[key].grad).clamp_min(1e-9)
        ).item()
        for key, p in found
        if p.requires_grad and torch.linalg.norm(right[key].grad) > 1e-3
    }
    assert errors
    assert max(errors.values()) < limit, max(errors, key=errors.get)
    free_memory()


def test_4_bit_layers_train_on_a_gpu():
    device = resolve("cuda")
    model = TransformersConfig(
        source="transformers", config={"model_type": "llama", **MODELS["llama"]}
    )
    axes = _BF16 | {"adapter": "qlora", "checkpointing": "block"}
    tried = workload(axes, model, VOCABULARY, LENGTH)
    if reason := obstacle(tried, Machine.here(device)):
        pytest.skip(reason)
    learner = build(tried, device)
    warm_up(learner)
    optimizer = learner.optimizer(1e-2)
    losses = [train_step(learner, optimizer, [batch(device)]).item() for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]
    free_memory()
