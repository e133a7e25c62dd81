"""What the files of a model say without torch: whether they are there, and its vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from vramlab.base.errors import ConfigError
from vramlab.config.model import ModelConfig, PythonConfig, TransformersConfig


def check(model: ModelConfig) -> None:
    """Refuse a model whose files are missing.

    Raises:
        ConfigError: one sentence that names the file and the key.
    """
    if isinstance(model, PythonConfig):
        _check_python(model)
    if isinstance(model, TransformersConfig) and model.folder is not None:
        read_folder(model.folder)


def own_vocabulary(model: ModelConfig) -> int | None:
    """The tokens that a model of transformers has by itself; None where nothing says it.

    Raises:
        ConfigError: its config.json is missing, or no JSON.
    """
    if not isinstance(model, TransformersConfig):
        return None
    told: Any = model.config
    if model.folder is not None:
        told = read_folder(model.folder)
    found = [model.overrides, told or {}, (told or {}).get("text_config")]
    sizes = (part.get("vocab_size") for part in found if isinstance(part, dict))
    return next((size for size in sizes if type(size) is int and size > 0), None)


def _check_python(model: PythonConfig) -> None:
    path = Path(model.path)
    if path.suffix == ".py" and not path.is_file():
        raise ConfigError(f"model.path {path}: there is no such file; give one that exists")


def read_folder(folder: Path) -> dict[str, Any]:
    """What the config.json in a folder holds.

    Raises:
        ConfigError: there is no such folder, no such file in it, or no such JSON.
    """
    path = folder / "config.json"
    if folder.is_file():
        raise ConfigError(
            f"model.path {folder}: is a file; give the folder that it is in, {folder.parent}"
        )
    if not folder.is_dir():
        raise ConfigError(
            f"model.path {folder}: there is no such folder; give one that exists, or the name of a "
            "model on the hub, such as Qwen/Qwen2.5-0.5B"
        )
    try:
        content = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(
            f"model.path {folder}: has no config.json; give a folder that save_pretrained wrote"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); make it readable") from None
    except ValueError as error:
        raise ConfigError(
            f"{path}: is no JSON that can be read ({error}); get a whole copy of it"
        ) from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds no configuration of a model; get a whole copy of it")
    return content
