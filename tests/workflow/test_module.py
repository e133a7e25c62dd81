"""The workflow as a part of another: a module, a module with a prefix, an included file."""

import json
import subprocess
import sys

import pytest
import yaml
from pipeline import TINY

pytestmark = [pytest.mark.workflow]

CONFIGFILE = 'configfile: "config.yaml"\n'
MODULE = (
    CONFIGFILE
    + """
module vramlab:
    snakefile: "{checkout}/Snakefile"
    config: config
"""
)
USES = {
    "module": MODULE + "\nuse rule * from vramlab\n",
    "prefix": MODULE + '    prefix: "sub"\n\nuse rule * from vramlab as v_*\n',
    "include": CONFIGFILE + 'include: "{checkout}/Snakefile"\n',
}


@pytest.fixture(params=USES)
def other(request, fresh, tmp_path):
    """A folder with a workflow that uses this one, and a function that runs it."""
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(TINY))
    (folder / "Snakefile").write_text(USES[request.param].format(checkout=fresh.root))

    def run(*arguments):
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # Snakemake takes no default target from an included file.
    run.default = ["all"] if request.param == "include" else []
    run.results = folder / ("sub/results" if request.param == "prefix" else "results")
    return run


def test_another_workflow_plans_all_jobs(other):
    plan = other("-n", *other.default)
    for stage in ("tokenizer", "batch_size", "profile", "epoch", "tables", "page"):
        assert f"{stage} " in plan, plan


def test_a_module_that_is_given_its_config_needs_no_file(fresh, tmp_path):
    """Not even where the other workflow has a config/config.yaml that is not for this one."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("a: 1\na: 2\n")
    module = MODULE.removeprefix(CONFIGFILE).replace("config: config", f"config: {TINY!r}")
    (tmp_path / "Snakefile").write_text(
        module.replace("{checkout}", str(fresh.root)) + "\nuse rule * from vramlab\n"
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-n"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_another_workflow_runs_the_jobs_in_its_own_folder(other):
    record = other.results / "tiny/tokenizer/tokenizer.json"
    wanted = str(record.relative_to(other.results.parents[record.parts.count("sub")]))
    other(wanted)
    assert json.loads(record.read_text())["vocab_size"] == 300
    assert "Nothing to be done" in other("-n", wanted)
