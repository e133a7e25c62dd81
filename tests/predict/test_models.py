"""Peaks of models of transformers: what an H100 took in searches through Snakemake, to the byte.

The numbers are those of `tools/gpu_models.py` at 24 GiB and 1,024 tokens, on an NVIDIA H100 80GB
HBM3 with torch 2.11 and transformers 5.17, 2026-11-28.
"""

import json
import sys
from pathlib import Path

import pytest
from workloads import workload

from vramlab.config.model import TransformersConfig
from vramlab.predict.fake_run import FakeRun

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from gpu_models import MODELS, TECHNIQUES

MEASURED = json.loads(Path(__file__).with_name("h100_models.json").read_text())
GRANULES = {"qlora": 1024, "pure_bf16": 512}
"""Bytes that are not accounted for: granules of the allocator, two and one."""


@pytest.mark.parametrize(
    ("model", "technique"),
    [(model, name) for model, techniques in MEASURED.items() for name in techniques],
)
def test_an_h100_took_what_is_predicted(model, technique):
    config = {"model_type": model, **MODELS[model]}
    own = TransformersConfig(source="transformers", config=config, vocabulary="own")
    asked = workload(TECHNIQUES[technique], own, 12_000, 1024, keeps_vocabulary=True)
    measured = {int(size): peak for size, peak in MEASURED[model][technique].items()}
    with FakeRun.of(asked, True, 1) as run:
        predicted = {size: run.peak(size) for size in measured}
    assert predicted == pytest.approx(measured, rel=0, abs=GRANULES.get(technique, 0))
