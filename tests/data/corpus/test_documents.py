from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vramlab.base.errors import CorpusError
from vramlab.data.corpus.documents import read_documents


def test_texts_in_order(corpus: Callable[..., Path]) -> None:
    texts = ["pierwszy\n\nakapit", "żółć", "trzeci"]
    assert list(read_documents(corpus(*({"text": text} for text in texts)))) == texts


def test_reads_as_it_goes(corpus: Callable[..., Path]) -> None:
    documents = read_documents(corpus({"text": "a"}, b"damaged"))
    assert next(documents) == "a"
    with pytest.raises(CorpusError, match="line 2 is damaged"):
        next(documents)


@pytest.mark.parametrize("line", [b"{", b'{"text": 1}', b"{}", b'{"text": "\xff"}'])
def test_damage(corpus: Callable[..., Path], line: bytes) -> None:
    with pytest.raises(CorpusError, match="line 1 is damaged"):
        list(read_documents(corpus(line)))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="No such file"):
        list(read_documents(tmp_path / "none.jsonl.zst"))
