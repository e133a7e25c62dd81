"""A hook of MkDocs: adds the pages kept elsewhere and the reference of the package to the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "config/README.md": "config.md",
    "envs/README.md": "envs.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are kept elsewhere, and one page a public module, last in the menu."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_relink(text)))
    menu: dict[str, list[str]] = {}
    for path in sorted((ROOT / "src" / "vramlab").rglob("*.py")):
        parts = path.relative_to(ROOT / "src").with_suffix("").parts
        if not any(part.startswith("_") for part in parts):
            name = ".".join(parts)
            page = f"reference/{name}.md"
            files.append(File.generated(config, page, content=_module(name)))
            menu.setdefault(".".join(parts[:2]), []).append(page)
    config.nav.append({"Reference": [{package: pages} for package, pages in menu.items()]})
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Turn links out of docs/ into links to the pages added above."""
    up = "../" * page.file.src_uri.count("/")
    for source, target in PAGES.items():
        markdown = re.sub(rf"\]\((?:\.\./)+{re.escape(source)}", f"]({up}{target}", markdown)
    return markdown


def _module(name: str) -> str:
    heading = name.replace("_", r"\_")  # which would be emphasis
    return f"# {heading}\n\n::: {name}\n"


def _relink(text: str) -> str:
    """The links of a page outside docs/, as seen from the root of docs/."""
    text = re.sub(r"\]\((?:\.\./)?docs/", "](", text)
    for source, target in PAGES.items():
        text = text.replace(f"]({source}", f"]({target}")
    return text
