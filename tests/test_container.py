"""The Dockerfile: what it copies is enough to run its entry, from the folder of a user.

No image is built here: that takes a daemon and gigabytes. The files are copied as it says.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
HOWTO = (ROOT / "docs" / "howto.md").read_text("utf-8")
INSIDE = "/opt/vramlab"


def instructions(name):
    return re.findall(rf"^{name} (.+)$", DOCKERFILE, re.MULTILINE)


def copies():
    return [line.split() for line in instructions("COPY")]


@pytest.fixture
def image(tmp_path):
    """The files of the image, and the words of its entry for them."""
    root = tmp_path / "image"
    for source, target in copies():
        there = Path(f"{root}{target}")
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            there.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, there)
    return root


def run(image, folder, arguments):
    """The entry, with arguments in which files of the image are named."""
    entry = json.loads(instructions("ENTRYPOINT")[0])
    assert entry[0] == "snakemake"
    words = [word.replace(INSIDE, f"{image}{INSIDE}") for word in [*entry[1:], *arguments]]
    folder.mkdir()
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )


def documented():
    """The arguments behind the name of the image, of each `docker run` of the documentation."""
    return [found.split() for found in re.findall(r"^docker run .* vramlab (.+)$", HOWTO, re.M)]


@pytest.mark.workflow
def test_the_entry_plans_the_documented_demo(image, tmp_path):
    arguments = next(words for words in documented() if "demo.yaml" in " ".join(words))
    done = run(image, tmp_path / "work", [*arguments, "-n"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Write the report results/demo/report/index.html" in done.stdout
    assert "profiles/default" in done.stderr


@pytest.mark.workflow
def test_without_a_configuration_one_sentence_says_so(image, tmp_path):
    done = run(image, tmp_path / "work", ["-n"])
    assert done.returncode == 1
    assert "vramlab: config/config.yaml" in done.stderr


def test_what_is_copied_is_not_ignored():
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(kept) == sorted(source for source, _ in copies())


def test_both_devices_have_requirements():
    install = next(line for line in instructions("RUN") if "pip install" in line)
    for device in ("cpu", "gpu"):
        path = re.search(r"--requirement (\S+)", install)[1].replace("${DEVICE}", device)
        assert (ROOT / path.removeprefix(f"{INSIDE}/")).is_file()
