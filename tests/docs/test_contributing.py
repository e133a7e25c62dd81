"""The picture of the rooms in CONTRIBUTING.md is that of the tree."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src/vramlab"


def drawn():
    picture = (ROOT / "CONTRIBUTING.md").read_text().split("src/vramlab/\n")[1].split("```")[0]
    return re.findall(r"^  (\w+)/ ", picture, re.MULTILINE)


def test_the_picture_has_every_package_once():
    assert sorted(drawn()) == sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py"))


def test_nothing_but_packages_stands_beside_them():
    assert sorted(path.name for path in PACKAGE.glob("*.py")) == ["__init__.py", "__main__.py"]


def test_the_picture_has_them_in_the_order_of_their_imports():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [re.findall(r"vramlab\.(\w+)", line) for line in contracts["contracts"][0]["layers"]]
    level = {name: number for number, layer in enumerate(layers) for name in layer}
    assert [level[name] for name in drawn()] == sorted(level[name] for name in drawn())
