"""Every command of README, CONTRIBUTING and docs: run, or checked as far as a test machine can.

A `sh` block is judged line by line. What this machine cannot do (clusters, GPUs, installations that
take minutes) is listed in ELSEWHERE with the test that covers it or the reason; all else runs here.
"""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from pipeline import ROOT
from tokenizers import Tokenizer, models

from vramlab.config import experiment

PAGES = sorted(
    path
    for pattern in (
        "README.md",
        "CONTRIBUTING.md",
        "envs/README.md",
        "config/README.md",
        "docs/**/*.md",
    )
    for path in ROOT.glob(pattern)
)
CI = (ROOT / ".ci" / "run").read_text().splitlines()
MAKEFILE = (ROOT / "Makefile").read_text()

ELSEWHERE = {
    r"git clone <address": "needs an address",
    r"cd ": "changes the folder",
    r"(python3(\.11)?|.*/python\S*) -m venv": "`make` does it in .ci/run",
    r".*pip install .*envs/(cpu|gpu)\.txt": "`make` installs cpu.txt; test_envs.py compares",
    r".*pip install --no-index wheelhouse": "needs the wheels of minutes of download",
    r".*pip wheel": "downloads for minutes",
    r"MAX_JOBS=.*flash-attn": "compiles for hours",
    r"docker ": "needs a daemon; tests/test_container.py runs the entry",
    r"conda ": "needs conda; tests/test_envs.py compares the pins",
    r"rsync ": "needs a cluster",
    r"apt-get install": "tests/slurm needs it and says so",
    r".*import (torch|flash_attn)": "prints what the GPU offers",
    r"python3 tools/gpu_experiment.py": "needs a GPU; the options are checked below",
    r"snakemake$": "as .venv/bin/snakemake, in a conda environment",
}


def commands():
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                command = re.sub(r"\s+#.*", "", line).strip()
                if command and not command.startswith("#"):
                    yield pytest.param(command, id=f"{page.relative_to(ROOT)}: {command[:60]}")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A checkout in which a reader works, with the files that the docs have copied."""
    folder = tmp_path_factory.mktemp("docs") / "vramlab"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    subprocess.run(["cp", "-r", "profiles/slurm", "profiles/mine"], cwd=folder, check=True)
    subprocess.run(["cp", "config/demo.yaml", "mine.yaml"], cwd=folder, check=True)
    model = folder / "FOLDER"  # what the reader calls otherwise
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    tokenizer = Tokenizer(models.WordLevel({"word": 0}, unk_token="word"))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(model / "tokenizer.json"))
    return folder


@pytest.mark.workflow
@pytest.mark.parametrize("command", list(commands()))
def test_a_command_of_the_documentation(command, copy):
    if any(re.match(pattern, command) for pattern in ELSEWHERE):
        return
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", MAKEFILE, re.MULTILINE), (
            "the Makefile has no such target"
        )
        assert command in CI or words[1] in {"format", "bench", "reference", "clean"}
        return
    if words[0].endswith("vramlab"):
        dry = [] if "-n" in words or words[1] == "check" else ["-n"]
        call = f"PYTHONPATH=src .venv/bin/python -m {command.removeprefix('.venv/bin/')}"
        done = run(" ".join([call, *dry]), copy)
        if words[1] == "check":  # which may find that the server of a corpus does not answer
            assert done.returncode in {0, 1}
            assert re.search(r"^(\d+ (error|warning)|Nothing wrong)", done.stdout, re.MULTILINE)
            return
    elif words[0].endswith("snakemake"):
        dry = [] if "--report" in words or "-n" in words else ["-n"]
        if "--report" in words:  # of results that only a run makes; the demo's is made in .ci/run
            assert "snakemake --workflow-profile profiles/demo --report" in MAKEFILE
            return
        done = run(f".venv/bin/{command.removeprefix('.venv/bin/')} {' '.join(dry)}", copy)
    elif words[0] == "cp":
        done = run(command.replace("profiles/mine", "profiles/another"), copy)
    else:
        pytest.fail(f"no rule says how to test the command {command!r}: add one")
    assert done.returncode == 0, done.stdout + done.stderr


def run(command, folder):
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def configurations():
    for page in PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            content = yaml.safe_load(block)
            if isinstance(content, dict) and "experiment" in content:
                yield pytest.param(content, id=f"{page.name}: {content['experiment']}")


@pytest.mark.parametrize("content", list(configurations()))
def test_a_configuration_of_the_documentation(content):
    assert experiment.parse(content).experiment == content["experiment"]


def test_the_options_of_the_gpu_script_exist():
    text = (ROOT / "tools" / "gpu_experiment.py").read_text()
    for page in PAGES:
        for call in re.findall(r"gpu_experiment\.py((?:[^\\\n]|\\\n)*)", page.read_text()):
            for option in re.findall(r" (--[\w-]+)", call):
                assert f'"{option}"' in text, f"{page.name}: {option}"


def test_the_other_tests_are_not_all_elsewhere():
    here = [p.values[0] for p in commands() if not any(re.match(e, p.values[0]) for e in ELSEWHERE)]
    assert len(here) >= 10
    assert Path(PAGES[0]).exists()
