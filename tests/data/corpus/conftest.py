from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from backports import zstd

from vramlab.config.corpus import SyntheticSource
from vramlab.data.corpus.synthetic import write_layout

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "speakleash"


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in SpeakLeash's layout with the data sets `train` and `validation`."""
    folder = tmp_path_factory.mktemp("layout")
    source = SyntheticSource(source="synthetic", documents=300)
    write_layout({"train": source, "validation": source}, folder)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes lines, given as bytes or objects, to a `.jsonl.zst` file."""

    def write(*lines: Any, name: str = "corpus") -> Path:
        path = tmp_path / f"{name}.jsonl.zst"
        raw = [line if isinstance(line, bytes) else orjson.dumps(line) for line in lines]
        path.write_bytes(zstd.compress(b"".join(line + b"\n" for line in raw)))
        return path

    return write


@pytest.fixture
def real_corpora() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the real corpora are not beside this checkout")
    return SHARED
