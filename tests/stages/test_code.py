"""The files that a script can reach are found in the import graph, not listed by hand."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from vramlab.stages.code import code_finder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def code():
    return code_finder(ROOT / "src", ROOT / "workflow/scripts")


@pytest.fixture(scope="module")
def every_module():
    return code_finder(ROOT / "src", ROOT / "workflow/scripts", unwatched=())


def names(paths):
    """The modules among the paths, below the package; the faces of packages are left out."""
    package = ROOT / "src/vramlab"
    modules = (Path(path) for path in paths if Path(path).name != "__init__.py")
    return {str(path.relative_to(package)) for path in modules if path.is_relative_to(package)}


def test_the_script_itself_is_code_as_well(code):
    assert str(ROOT / "workflow/scripts/epoch.py") in code("epoch.py")


COMMON = """
base/allocator_setting base/files base/provenance
config/axes config/base config/measure config/model config/model_files config/targets
config/technique
config/workload
data/batches data/sequences
measure/kernel_limit
memory/allocator memory/budget memory/counter memory/limits memory/meter memory/out_of_memory
model/activation model/activation_budget model/adapt model/adapters model/attention
model/bf16_stochastic model/causal_masks model/checkpointing model/cross_entropy model/cut_head
model/decoder model/feed_forward model/float8 model/fused_head
model/kernel_flops model/kernels model/language_model model/logits model/loss_heads
model/materialise model/muon
model/offload model/optimizers model/output_trace model/python_model model/quantised model/sources
model/storage
model/tiling model/token_mixing model/torchao_adamw model/trained model/transformers_model
model/triton model/without_values
results/base results/largest_batch results/memory results/run
stages/job stages/launch
training/device training/learner training/machine training/parallel training/step
"""
"""What all three stages run: the model, its training step, the device, and what a job is."""
GPU_STAGES = {
    "batch_size": """
    measure/predicted_peaks measure/search measure/trial memory/headroom
    results/batch_size stages/batch_size
    """,
    "profile": """
    measure/breakdown measure/energy measure/flops measure/profile measure/repeatability
    measure/timing
    base/host_load results/profile stages/profile
    """,
    "batch_speed": """
    measure/batch_speed measure/timing results/batch_speed stages/batch_speed
    """,
    "longest_sequence": """
    measure/longest_sequence measure/predicted_peaks measure/search measure/trial memory/headroom
    model/positions results/batch_size results/longest_sequence
    stages/longest_sequence
    """,
    "epoch": """
    base/host_load base/clocks config/training results/epoch results/text_size stages/epoch
    training/checkpoint training/epoch training/evaluate
    """,
}
"""What each runs beside that."""


@pytest.mark.parametrize("stage", GPU_STAGES)
def test_a_gpu_stage_reruns_for_these_modules_and_no_others(code, stage):
    """A module that is added here makes each edit of it rerun hours of measurements."""
    expected = {f"{name}.py" for name in (COMMON + GPU_STAGES[stage]).split()}
    assert names(code(f"{stage}.py")) == expected


def test_what_is_shown_or_predicted_reruns_no_gpu_stage(code):
    watched = set().union(*(names(code(f"{stage}.py")) for stage in GPU_STAGES))
    assert not any(name.startswith(("predict/", "report/", "data/corpus/")) for name in watched)
    assert not {"base/progress.py", "config/estimate.py", "results/estimate.py"} & watched


def test_a_data_stage_reaches_no_model(code):
    reached = names(code("tokenizer.py"))
    assert {"data/tokenizer.py", "config/tokenizer.py"} <= reached
    assert not any(name.startswith(("model/", "measure/", "training/")) for name in reached)


def test_a_package_s_face_holds_no_code():
    """It is not watched: a docstring, and the version."""
    for path in (ROOT / "src/vramlab").rglob("__init__.py"):
        body = ast.parse(path.read_text()).body
        assert all(isinstance(node, ast.Expr) for node in body[:1]), path
        named = [node.targets[0].id for node in body[1:] if isinstance(node, ast.Assign)]
        assert len(named) == len(body[1:]), path
        assert set(named) <= {"__version__"}, path


def test_every_file_exists(code):
    for script in (ROOT / "workflow/scripts").glob("*.py"):
        assert all(Path(path).is_file() for path in code(script.name)), script


@pytest.mark.parametrize(
    "script", sorted(path.name for path in (ROOT / "workflow/scripts").glob("*.py"))
)
def test_nothing_that_a_script_really_imports_is_missing(every_module, script):
    """What Python loads when the script is imported, compared with the static graph."""
    probe = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='probe');"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'vramlab'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, str(ROOT / "workflow/scripts" / script)],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""},
    )
    assert names(done.stdout.split()) <= names(every_module(script))
