"""The files that a script can reach are found in the import graph, not listed by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

from vramlab.stages.code import code_finder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def code():
    return code_finder(ROOT / "src", ROOT / "workflow/scripts")


def names(paths):
    """The modules among the paths, below the package."""
    package = ROOT / "src/vramlab"
    return {str(Path(p).relative_to(package)) for p in paths if Path(p).is_relative_to(package)}


def test_the_script_itself_is_code_as_well(code):
    assert str(ROOT / "workflow/scripts/epoch.py") in code("epoch.py")


def test_a_model_stage_reaches_the_model_and_no_data_stage(code):
    reached = names(code("profile.py"))
    assert {"model/attention.py", "config/technique.py", "model/__init__.py"} <= reached
    assert not any(name.startswith(("data/corpus/", "report/")) for name in reached)


def test_a_data_stage_reaches_no_model(code):
    reached = names(code("tokenizer.py"))
    assert {"data/tokenizer.py", "config/tokenizer.py", "__init__.py"} <= reached
    assert not any(name.startswith(("model/", "measure/", "training/")) for name in reached)


def test_every_file_exists(code):
    for script in (ROOT / "workflow/scripts").glob("*.py"):
        assert all(Path(path).is_file() for path in code(script.name)), script


@pytest.mark.parametrize(
    "script", sorted(path.name for path in (ROOT / "workflow/scripts").glob("*.py"))
)
def test_nothing_that_a_script_really_imports_is_missing(code, script):
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
    assert names(done.stdout.split()) <= names(code(script))
