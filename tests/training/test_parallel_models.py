"""Several processes train models of every source as one process does."""

import in_ranks
import pytest
from families import configuration
from pipeline import ROOT

from vramlab.config.model import PythonConfig, TransformersConfig
from vramlab.stages.launch import launch

pytest.importorskip("transformers", reason="the package transformers is absent")
pytest.importorskip("peft", reason="the package peft is absent")


def family(name):
    return TransformersConfig(source="transformers", config=configuration(name))


EXAMPLE = PythonConfig(
    source="python",
    path=str(ROOT / "docs" / "examples" / "my_model.py"),
    arguments={"width": 32, "depth": 2},
)
LORA = {"adapter": "lora", "adapter_rank": 4}
CASES = {
    "llama": (family("llama"), {"loss_head": "fused", "checkpointing": "block"}),
    "tied": (family("gpt2"), {"loss_head": "chunked"}),
    "python": (EXAMPLE, {"attention": "sdpa", "checkpointing": "selective"}),
    "lora": (family("llama"), LORA),
    "lora, bf16": (family("llama"), LORA | {"precision": "bf16"}),
    "lora, gpt2": (family("gpt2"), LORA | {"precision": "bf16", "loss_head": "fused"}),
}
BOUNDS = {"lora, bf16": 2e-3, "lora, gpt2": 2e-3}
"""Of losses in bfloat16; in float32, 1e-5."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_the_losses_are_those_of_one_process(kind):
    cases = {
        name: {"axes": axes, "batch_size": 13, "double": False, "model": model}
        for name, (model, axes) in CASES.items()
    }
    spread = {
        name: case | {"axes": case["axes"] | {"parallel": kind, "processes": 2}}
        for name, case in cases.items()
    }
    arguments = {"function": in_ranks.trained, "cases": spread}
    found = launch(*(in_ranks.on_one_core, in_ranks.all_of, arguments), processes=2, cuda=False)
    expected = in_ranks.all_of(in_ranks.trained, cases)
    for name in CASES:
        bound = BOUNDS.get(name, 1e-5)
        assert found[name][0] == pytest.approx(expected[name][0], rel=bound), name
        assert found[name][2].nats == pytest.approx(expected[name][2].nats, rel=bound), name
