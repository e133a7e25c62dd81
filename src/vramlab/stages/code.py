"""Which modules a script imports, so that editing one reruns the jobs that depend on it.

Snakemake reruns a job when its script changes, but not when a module that the script imports does.
The rules therefore list these modules among their inputs; Snakemake compares them by checksum.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import grimp

PACKAGE = "vramlab"
UNWATCHED = frozenset(
    {
        "vramlab.base.errors",
        "vramlab.base.private",
        "vramlab.base.progress",
        "vramlab.base.text",
        "vramlab.stages.first_guess",
        "vramlab.stages.frame",
        "vramlab.stages.gpu_lock",
        "vramlab.stages.job_lock",
        "vramlab.stages.warm_start",
        "vramlab.training.foreign_code",
    }
)
"""Messages, progress bars, locks, where a search begins and what a job does before its turn cannot
change a result: editing them reruns nothing."""


def code_finder(
    source: Path, scripts: Path, unwatched: Collection[str] = UNWATCHED
) -> Callable[[str], list[str]]:
    """Build the import graph once; the function returned answers for one script at a time.

    Args:
        source: the folder that holds the package.
        scripts: the folder that holds the scripts.
        unwatched: modules that are left out, along with modules that only they import.

    Returns:
        A function from a script's name (`epoch.py`) to the sorted paths of the script and of all
        modules of the package that it imports, directly or indirectly. `__init__.py` files hold
        no code and are left out.
    """
    # Imports under TYPE_CHECKING cannot change a result.
    graph = grimp.build_graph(PACKAGE, cache_dir=None, exclude_type_checking_imports=True)
    for name in unwatched:
        graph.remove_module(name)

    def code(script: str) -> list[str]:
        modules: set[str] = set()
        for name in _imports(scripts / script):
            module = name if name in graph.modules else name.rpartition(".")[0]
            if module in graph.modules:
                modules |= {module} | graph.find_upstream_modules(module)
        files = (_path(source, module) for module in modules)
        return sorted(map(str, [scripts / script, *(path for path in files if path.is_file())]))

    return code


def export(source: str) -> None:
    """Let the scripts of the rules import the package from the folder `source`."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, before]))


def _imports(script: Path) -> Iterator[str]:
    """The modules, or names in modules, of the package that a script imports."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"), str(script))):
        if isinstance(node, ast.Import):
            yield from (n.name for n in node.names if n.name.split(".")[0] == PACKAGE)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            yield from (f"{node.module}.{n.name}" for n in node.names)


def _path(source: Path, module: str) -> Path:
    """The file of a module; packages have none."""
    return source.joinpath(*module.split(".")).with_suffix(".py")
