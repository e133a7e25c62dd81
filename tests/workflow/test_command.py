"""The command `vramlab` through Snakemake: a target behind a file, and the answer for a card."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from pipeline import ROOT, TINY

pytestmark = [pytest.mark.workflow]


def vramlab(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "vramlab", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_target_behind_a_configuration_file_is_a_target(fresh):
    done = vramlab(fresh.root, "run", "--configfile", "test.yaml", "estimate", "-n", "--cores", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "estimate_tables" in done.stdout


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("estimat", "vramlab: there is no target 'estimat'; did you mean 'estimate'"),
        ("results/tiny/none.json", "vramlab: results/tiny/none.json: no rule makes such a file; "),
        ("epoch", "vramlab: a rule that makes one file for each technique or corpus is no target"),
    ],
    ids=["name", "file", "rule"],
)
def test_a_target_that_there_is_not(fresh, target, says):
    done = vramlab(fresh.root, "run", target, "--configfile", "test.yaml", "-n", "--cores", "1")
    assert done.returncode == 1
    said = [s for s in (done.stdout + done.stderr).splitlines() if not s.startswith("Using work")]
    assert len(said) == 1
    assert said[0].startswith(says)


def test_a_plan_of_an_estimate_is_as_that_of_a_run(fresh, tmp_path):
    (tmp_path / "M").mkdir()
    (tmp_path / "M/config.json").write_text('{"model_type": "llama", "vocab_size": 1000}')
    done = vramlab(tmp_path, "estimate", "--model", "M", "-n", "--cores", "1")
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"\d+ jobs would run, in this order:", lines[0])
    assert [line.split()[1] for line in lines[1:] if line[:5].strip()] == [
        *("estimates", "estimate_tables", "estimate")
    ]
    assert [s for s in done.stderr.splitlines() if not s.startswith("Using workflow")] == []


@pytest.mark.slow
def test_the_answer_for_a_model_on_a_card(fresh, tmp_path):
    """Another folder than the checkout, and a model that is predicted in seconds."""
    (tmp_path / "M").mkdir()
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000}
    (tmp_path / "M/config.json").write_text(json.dumps({"model_type": "llama", **sizes, **heads}))
    (tmp_path / "t.yaml").write_text(
        yaml.safe_dump(
            TINY | {"techniques": {"fp32": {}, "bf16": {"precision": "bf16"}}}, sort_keys=False
        )
    )
    question = ("--model", "M", "--length", "128", "--card", "24", "--configfile", "t.yaml")
    done = vramlab(tmp_path, "estimate", *question, "--cores", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of 4 jobs" in done.stderr
    lines = done.stdout.strip().splitlines()
    assert lines[-1].startswith("Yes: on a card of 24 GiB at 128 tokens, ")
    assert "The model: M." in lines
    assert lines[0].startswith("| Technique")
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["fp32", "bf16"]
    assert (tmp_path / "results/tiny/estimate/estimate.csv").is_file()


def test_a_model_of_another_source_replaces_the_default_one(fresh):
    """The keys of config.yaml's decoder are not merged into it."""
    model = "model={source: transformers, config: {model_type: llama, num_hidden_layers: 2}}"
    command = [sys.executable, "-m", "snakemake", "-n", "estimate", "--cores", "1"]
    done = subprocess.run(
        [*command, "--config", model], cwd=fresh.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_model_folder_that_is_not_there_is_said_by_a_dry_run(fresh):
    fresh.configure(TINY | {"model": "./models/none"})
    done = fresh.snakemake("-n")
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "vramlab: model.path models/none: there is no such folder" in output
    assert "Traceback" not in output
