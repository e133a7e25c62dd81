"""The catalogs of the report's languages: `python -m vramlab.report.translations [code]`.

Brings `locale/<code>.po` (without a code, every one) in line with what the code and the captions
say: new texts are added with an empty translation, texts that are gone are removed. With the code
of a language that has no catalog yet, it makes one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po

from vramlab.base.files import atomic_path
from vramlab.config.report import ReportConfig
from vramlab.report.captions import paragraphs
from vramlab.report.catalog import CATEGORIES, FIGURES, TABLES
from vramlab.report.language import FOLDER, catalog

KEYWORDS = {"say": None, "mark": None, "say_count": (1, 2)}
CAPTIONS = Path(__file__).parents[3] / "workflow" / "report"

Message = str | tuple[str, ...]


def messages() -> Iterator[tuple[Message, str]]:
    """Every text of the report that is to be translated, and the file that says it."""
    package = Path(__file__).parent
    for path in sorted(package.glob("*.py")):
        for _, message, _, _ in extract_from_file("python", path, keywords=KEYWORDS):
            yield message, f"src/vramlab/report/{path.name}"
    for entry in (*FIGURES, *TABLES):
        yield entry.title, "src/vramlab/report/catalog.py"
    for category in CATEGORIES:
        yield category, "src/vramlab/report/catalog.py"
    yield ReportConfig().title, "src/vramlab/config/report.py"
    for path in sorted(CAPTIONS.glob("*/*.rst")):
        for text in paragraphs(path):
            yield text, f"workflow/report/{path.parent.name}/{path.name}"


def update(code: str) -> list[str]:
    """Bring a catalog in line with the texts; return those without a translation."""
    path = catalog(code)
    found = Catalog(locale=code, project="vramlab", charset="utf-8", fuzzy=False)
    if path.exists():
        with path.open("rb") as file:
            known = read_po(file, locale=code)
    else:
        known = Catalog(locale=code)
    for message, source in messages():
        key = message if isinstance(message, str) else message[0]
        before = known.get(key)
        # Without line numbers, which change with every edit.
        found.add(message, before.string if before else None, [(source, 0)])
    found.creation_date = known.creation_date
    found.revision_date = known.revision_date
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        write_po(file, found, width=100, include_lineno=False, omit_header=False)
    return untranslated(found)


def untranslated(texts: Catalog) -> list[str]:
    """The texts of a catalog that have no translation, or not for every number."""
    missing = []
    for message in texts:
        if not message.id:
            continue
        given = message.string if isinstance(message.string, tuple | list) else [message.string]
        if not all(given) or (message.pluralizable and len(given) != texts.num_plurals):
            missing.append(message.id if isinstance(message.id, str) else message.id[0])
    return missing


def main(codes: list[str]) -> int:
    """Update the catalogs of `codes`, or all; print what lacks a translation."""
    for code in codes or sorted(path.stem for path in FOLDER.glob("*.po")):
        missing = update(code)
        print(f"{catalog(code)}: {len(missing)} texts without a translation")
        for text in missing:
            print(f"  {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
