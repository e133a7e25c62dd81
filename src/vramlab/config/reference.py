"""The reference of the configuration, generated from its models: config/README.md, schema.json.

Run `python -m vramlab.config.reference config` after a change to the models.
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vramlab.base.files import write_text
from vramlab.config.experiment import Experiment

_INTRODUCTION = """# The configuration

`config.yaml` is the real experiment, `demo.yaml` the small one that `make demo` runs. A
configuration is one whole file: `snakemake --configfile mine.yaml` replaces `config.yaml`, nothing
is merged, and every key but the required ones has the default given here. An unknown key is an
error. `schema.json` gives an editor completion and checks.

This page is generated from `src/vramlab/config/`; change it there, then run `make reference`.
"""


def schema() -> str:
    """The JSON schema of the configuration file."""
    return json.dumps(Experiment.model_json_schema(), indent=1) + "\n"


def readme() -> str:
    """The explanation of each key, as Markdown."""
    parts = [_INTRODUCTION]
    for title, model in _sections("", Experiment, set()):
        parts.append(f"\n## {_heading(title or 'Top level')}\n\n{_text(model.__doc__)}\n")
        parts.append("| key | default | meaning |\n|---|---|---|")
        parts += [_row(key, field) for key, field in model.model_fields.items()]
    return "\n".join(parts) + "\n"


def _sections(
    title: str, model: type[BaseModel], seen: set[type[BaseModel]]
) -> Iterator[tuple[str, type[BaseModel]]]:
    """Each section once, under the keys that first lead to it; `seen` are those given already."""
    yield title, model
    for key, field in model.model_fields.items():
        for member in _models(field.annotation):
            if member in seen:  # train, validation and the parts of a mix take the same sources
                continue
            seen.add(member)
            name = f"{key}.<name>" if get_origin(field.annotation) is dict else key
            if "source" in member.model_fields:
                if key == "train":
                    name = f"train and {title}.validation"
                name += f", from {_source(member)}"
            yield from _sections(".".join(filter(None, [title, name])), member, seen)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _heading(text: str) -> str:
    """`text` as it is: a placeholder such as `<name>` is no tag, an underscore no emphasis."""
    return re.sub(r"([\\`*_\[\]])", r"\\\1", html.escape(text, quote=False))


def _source(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields["source"].annotation)[0])


def _row(key: str, field: FieldInfo) -> str:
    if _models(field.annotation):
        default, meaning = "see below", field.description or "a section of its own"
    else:
        default = "required" if field.is_required() else f"`{json.dumps(field.default)}`"
        meaning = field.description or "which kind of source this is"
    return f"| `{key}` | {default} | {_text(meaning)} |"


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main(folder: Path) -> None:
    """Write both files into `folder`."""
    write_text(folder / "README.md", readme())
    write_text(folder / "schema.json", schema())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
