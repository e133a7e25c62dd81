"""The Dockerfile: what it copies is enough to run its entry, from the folder of a user.

The files are copied as it says. The image itself takes minutes, gigabytes and a registry: it is
built and run where `VRAMLAB_BUILD_IMAGE` is set, with the options of `build` that it holds, or 1.
"""

import json
import os
import re
import shlex
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


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become a user without a name")
def test_a_user_without_a_name_in_the_image_has_one():
    """As of `--user "$(id -u)"`: Snakemake asks for the name, and ended in a KeyError."""
    given = dict(word.split("=", 1) for line in instructions("ENV") for word in line.split())
    code = "import getpass, os; os.setuid(54321); print(getpass.getuser())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_is_copied_is_not_ignored():
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(kept) == sorted(source for source, _ in copies())


def test_both_devices_have_requirements():
    install = next(line for line in instructions("RUN") if "pip install" in line)
    for device in ("cpu", "gpu"):
        path = re.search(r"--requirement (\S+)", install)[1].replace("${DEVICE}", device)
        assert (ROOT / path.removeprefix(f"{INSIDE}/")).is_file()


@pytest.fixture(scope="module")
def built():
    """The program that has built the image, and the image's name."""
    asked = os.environ.get("VRAMLAB_BUILD_IMAGE")
    if not asked:
        pytest.skip("building the image takes minutes and gigabytes: set VRAMLAB_BUILD_IMAGE=1")
    programs = [name for name in ("docker", "podman") if works(name)]
    if not programs:
        pytest.skip("neither docker with its daemon nor podman is here to build the image")
    program, name = programs[0], "vramlab-tested"
    options = [] if asked == "1" else shlex.split(asked)
    if "--from" not in options:
        [base] = instructions("FROM")
        pulled = subprocess.run(
            [program, "pull", base], capture_output=True, text=True, check=False, timeout=600
        )
        if pulled.returncode:
            why = pulled.stderr.strip().splitlines()[-1]
            pytest.skip(f"the image {base} cannot be fetched here: {why}")
    build = [program, "build", *options, "--tag", name, str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    yield program, name
    subprocess.run([program, "rmi", name], capture_output=True, check=False)


def works(program):
    if shutil.which(program) is None:
        return False
    info = subprocess.run([program, "info"], capture_output=True, text=True, check=False)
    return info.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rest", [["-n"], ["estimate"]])
def test_the_image_runs_the_documented_demo(built, tmp_path, rest):
    """As the user of the machine, whose folder gets the results."""
    program, name = built
    arguments = next(words for words in documented() if "demo.yaml" in " ".join(words))
    line = [program, "run", "--rm", "--user", str(os.getuid()), "--volume", f"{tmp_path}:/work"]
    line += [name, *rest, *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if rest == ["-n"]:
        assert "Write the report results/demo/report/index.html" in done.stdout
    else:
        assert (tmp_path / "results/demo/estimate/estimate.md").is_file()
