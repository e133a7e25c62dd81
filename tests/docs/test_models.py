"""docs/models.md: its table of axes and sources is what the code says; its examples are valid."""

import re
from pathlib import Path

import pytest
import yaml
from families import configuration
from pipeline import ROOT
from pydantic import TypeAdapter

from vramlab.config.axes import OPTIMIZER_VALUES
from vramlab.config.model import DecoderConfig, ModelConfig, PythonConfig, TransformersConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.training.machine import Machine, obstacle

PAGE = ROOT / "docs" / "models.md"
TEXT = PAGE.read_text("utf-8")
SIZES = {"hidden_size": 64, "intermediate_size": 64}
NO_PARTS = """
from torch import nn
def make_model(tokens):
    return nn.Sequential(nn.Embedding(tokens, 8), nn.Linear(8, tokens))
"""

ROWS = {
    "`precision`: fp32, tf32, bf16, pure-bf16": [
        {"precision": value} for value in ("fp32", "tf32", "bf16", "pure-bf16")
    ],
    "`precision`: fp8, pure-bf16-fp8": [{"precision": value} for value in ("fp8", "pure-bf16-fp8")],
    "`attention`: plain": [{"attention": "plain"}],
    "`attention`: math, sdpa, flash, flex": [
        {"attention": "math"},
        {"attention": "sdpa"},
        {"attention": "flash", "precision": "bf16"},
        {"attention": "flex"},
    ],
    "`window`": [
        {"attention": "masked", "window": 4},
        {"attention": "flex", "window": 4},
        {"attention": "flash", "window": 4, "precision": "bf16"},
    ],
    "`checkpointing`: block, selective, budget": [
        {"checkpointing": "block"},
        {"checkpointing": "selective"},
        {"checkpointing": {"budget": 0.5}},
    ],
    "`offload`: activations": [{"offload": "activations"}],
    "`feed_forward`: recomputed": [{"feed_forward": "recomputed"}],
    "`feed_forward`: tiled": [{"feed_forward": "tiled"}],
    "`loss_head`: full": [{"loss_head": "full"}],
    "`loss_head`: chunked, fused": [{"loss_head": "chunked"}, {"loss_head": "fused"}],
    "`loss_head`: cce": [{"loss_head": "cce", "precision": "bf16"}],
    "`optimizer`: all values but muon": [
        {"optimizer": value} for value in OPTIMIZER_VALUES if value != "muon"
    ],
    "`optimizer`: muon": [{"optimizer": "muon"}],
    "`adapter`: lora": [{"adapter": "lora"}],
    "`adapter`: qlora": [{"adapter": "qlora", "precision": "bf16"}],
    "`compile`, `cuda_graphs`": [
        {"compile": "default"},
        {"compile": "max-autotune", "cuda_graphs": True},
    ],
    "`parallel`: ddp": [{"parallel": "ddp", "processes": 2}],
    "`parallel`: fsdp": [{"parallel": "fsdp", "processes": 2}],
}


def models(folder):
    """A model of each column; for a window, one of an architecture that has it."""
    no_parts = folder / "no_parts.py"
    no_parts.write_text(NO_PARTS)
    return {
        "decoder": DecoderConfig(),
        "transformers": TransformersConfig(
            source="transformers", config=configuration("mistral") | SIZES
        ),
        "python": PythonConfig(source="python", path=str(ROOT / "docs/examples/my_model.py")),
        "python, no parts": PythonConfig(source="python", path=str(no_parts)),
    }


def cell(model, techniques):
    """What the code says of a model: works, or the reason why not, the same for all techniques."""
    machine = Machine.with_gpus((9, 0))
    reasons = set()
    for axes in techniques:
        technique = Technique(**axes)
        workload = Workload(technique=technique, model=model, vocab_size=96, length=16, seed=1)
        reasons.add(obstacle(workload, machine) or "works")
    if reasons == {"works"}:
        return "works"
    assert "works" not in reasons
    return "no: " + re.split(r"[,;] |\. ", sorted(reasons)[0])[0]


def rows(folder):
    """The lines of the table."""
    found = models(folder)
    for name, techniques in ROWS.items():
        yield f"| {name} | " + " | ".join(cell(m, techniques) for m in found.values()) + " |"


def test_the_table_is_what_the_code_says(tmp_path):
    pytest.importorskip("transformers", reason="the package transformers is absent")
    pytest.importorskip("peft", reason="the package peft is absent")
    table = TEXT.split("| axis and value |")[1].splitlines()[2:]
    assert [line for line in table if line.startswith("|")] == list(rows(tmp_path))


def test_the_table_has_every_axis():
    table = TEXT.split("| axis and value |")[1]
    settings = {
        "checkpointing_budget",
        "chunk_tokens",
        "adapter_rank",
        "adapter_targets",
        "processes",
    }
    for axis in Technique.model_fields.keys() - settings:
        assert f"`{axis}`" in table, axis


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
def test_the_examples_are_valid(block):
    found = yaml.safe_load(block)
    if "model" in found:
        TypeAdapter(ModelConfig).validate_python(found["model"])
    for axes in found.get("techniques", {}).values():
        Technique(**axes)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(rows(Path(folder))))
