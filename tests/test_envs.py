"""The conda environments and the requirement files hold the same pins."""

import re
from pathlib import Path

import pytest
import yaml

ENVS = Path(__file__).resolve().parents[1] / "envs"


def pins(name):
    found = []
    for line in (ENVS / name).read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            found += pins(text.split()[1])
        elif text:
            found.append(text)
    return found


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_conda_and_pip_install_the_same(kind):
    environment = yaml.safe_load((ENVS / f"{kind}.yaml").read_text(encoding="utf-8"))
    [of_pip] = [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)]
    assert of_pip == pins(f"{kind}.txt")


@pytest.mark.parametrize("name", ["cpu.txt", "gpu.txt", "dev.txt", "docs.txt"])
def test_every_requirement_is_pinned_once(name):
    found = [pin for pin in pins(name) if not pin.startswith("flash-attn @ https://")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", pin) for pin in found), found
    names = [pin.split("==")[0].lower() for pin in found]
    assert len(set(names)) == len(names)
