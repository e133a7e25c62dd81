from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from backports import zstd
from pyarrow import parquet

from vramlab.base.errors import CorpusError
from vramlab.config.corpus import LocalSource
from vramlab.data.corpus import formats, lines
from vramlab.data.corpus.folder import ENDINGS, find_files
from vramlab.data.corpus.formats import FORMATS
from vramlab.data.corpus.local import convert

TEXTS = ["pierwszy\n\nakapit", "żółć 🦆", "trzeci"]


def source(path: Path, **options: Any) -> LocalSource:
    return LocalSource(source="local", path=str(path), **options)


def converted(path: Path, **options: Any) -> list[tuple[str, str | None]]:
    """Text and label of each document that a source gives."""
    target = path.parent / "converted.jsonl.zst"
    convert(source(path, **options), target)
    rows = map(orjson.loads, zstd.decompress(target.read_bytes()).splitlines())
    return [(row["text"], row["meta"]["quality"]) for row in rows]


def refusal(path: Path, **options: Any) -> str:
    """The one sentence of the error; no target may be left."""
    target = path.parent / "converted.jsonl.zst"
    with pytest.raises(CorpusError) as caught:
        convert(source(path, **options), target)
    assert not list(path.parent.glob("*converted*"))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def write_jsonl(path: Path) -> None:
    path.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in TEXTS))


def write_jsonl_zst(path: Path) -> None:
    write_jsonl(path)
    path.write_bytes(zstd.compress(path.read_bytes()))


def write_parquet(path: Path) -> None:
    parquet.write_table(pa.table({"id": [1, 2, 3], "text": TEXTS}), path)


def write_txt(path: Path) -> None:
    path.write_text(TEXTS[0], encoding="utf-8")


WRITERS: dict[str, Callable[[Path], None]] = {
    ".jsonl": write_jsonl,
    ".jsonl.zst": write_jsonl_zst,
    ".parquet": write_parquet,
    ".txt": write_txt,
}


def test_every_ending_has_its_format() -> None:
    assert tuple(FORMATS) == ENDINGS == tuple(WRITERS)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_of_each_format(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"books{ending}"
    WRITERS[ending](path)
    expected = TEXTS[:1] if ending == ".txt" else TEXTS
    assert converted(path) == [(text, "HIGH") for text in expected]
    assert converted(path, label="LOW") == [(text, "LOW") for text in expected]
    assert converted(path, label=None) == [(text, None) for text in expected]


def test_a_folder_in_the_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.txt").write_text("b", encoding="utf-8-sig")
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "c.jsonl").write_bytes(b'{"text": "c", "meta": {"quality": "LOW"}}\n')
    (folder / "README.md").write_text("not a document")
    (folder / ".hidden.txt").write_text("not a document")
    assert converted(folder) == [("a", "HIGH"), ("b", "HIGH"), ("c", "LOW")]
    assert converted(folder, files="sub/*") == [("c", "LOW")]
    record = convert(source(folder), tmp_path / "out.jsonl.zst")
    listed = "".join(
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("a.txt", "b.txt", "sub/c.jsonl")
    )
    assert record.sha256 == hashlib.sha256(listed.encode()).hexdigest()
    assert record.documents == 3
    assert record.quality == {"HIGH": 2 / 3, "LOW": 1 / 3}


def test_keys_and_columns_by_name(tmp_path: Path) -> None:
    json, columns = tmp_path / "a.jsonl", tmp_path / "a.parquet"
    json.write_bytes(b'{"doc": {"body": "x"}, "grade": "MEDIUM"}\n')
    doc = pa.array([{"body": "x"}, {"body": None}])
    parquet.write_table(pa.table({"doc": doc, "grade": ["MEDIUM", None]}), columns)
    names = {"text": "doc.body", "quality": "grade"}
    assert converted(json, **names) == [("x", "MEDIUM")]
    assert converted(columns, **names) == [("x", "MEDIUM"), ("", "HIGH")]


def test_many_rows_in_several_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"dokument {i}" for i in range(1000)]
    parquet.write_table(pa.table({"text": texts}), path, row_group_size=130)
    assert [text for text, _ in converted(path)] == texts


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "line 2 is no valid JSON"),
        ("a.jsonl", b'{"text": "\xff"}\n', "line 1 is no valid JSON in UTF-8"),
        ("a.jsonl", b'{"txt": "a"}\n', "line 1 has no key 'text'; .* did you mean 'txt'"),
        ("a.jsonl", b'{"text": null}\n', "the text of line 1 is of the type NoneType"),
        ("a.jsonl", b'{"text": "a", "meta": {"quality": 3}}\n', "label of line 1 .* type int"),
        ("a.jsonl", b"[]\n", "line 1 is no JSON object"),
        ("a.jsonl.zst", b"no zstd", "no whole zstd file"),
        ("a.txt", b"\xb1\xe6", "no UTF-8 at byte 0"),
        ("a.parquet", b"no parquet at all", "no whole Parquet file"),
        ("a.csv", b"text\na\n", "none of the endings"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert re.search(says, refusal(path))


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "no whole Parquet file" in refusal(path)


def test_a_damaged_page(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [gzip.compress(str(i).encode()).hex() * 20 for i in range(300)]
    parquet.write_table(pa.table({"text": texts}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[2000:4000] = bytes(2000)
    path.write_bytes(content)
    assert "no whole Parquet file" in refusal(path)


def test_a_missing_column_and_a_wrong_type(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path)
    assert "no column 'txt'" in refusal(path, text="txt")
    assert "did you mean 'text'" in refusal(path, text="txt")
    assert "type int" in refusal(path, text="id")


def test_nothing_there(tmp_path: Path) -> None:
    assert "is no file and no folder" in refusal(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "no file in it ends in" in refusal(tmp_path / "empty")
    (tmp_path / "empty" / "a.txt").write_text("a")
    assert "matches 'b*'" in refusal(tmp_path / "empty", files="b*")


@pytest.mark.parametrize("pattern", ["../x.txt", "/etc/passwd", "a/../../b", "..", "..\\x"])
def test_a_pattern_out_of_the_folder_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="leads out of the folder"):
        source(Path("books"), files=pattern)


@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, kind: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "books"
    outside.mkdir()
    folder.mkdir()
    (outside / "secret.txt").write_text("secret")
    (folder / "a.txt").write_text("a")
    targets = {"file": "secret.txt", "folder": ".", "dangling": "none.txt"}
    (folder / "b.txt").symlink_to(outside / targets[kind])
    sentence = refusal(folder)
    assert "is a link that leads out of the folder" in sentence
    assert "copy what it leads to" in sentence


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").symlink_to("a.txt")
    assert [text for text, _ in converted(folder)] == ["a", "a"]
    (tmp_path / "link").symlink_to(folder)  # the path itself is the user's choice
    assert len(find_files(source(tmp_path / "link"))) == 2


def test_a_bomb_of_short_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "FREE_BYTES", 2**20)
    path = tmp_path / "bomb.jsonl.zst"
    with zstd.open(path, "wb", level=19) as output:
        for _ in range(64):
            output.write(b'{"text": "a"}\n' * 10_000)
    assert "decompression bomb" in refusal(path)


def test_a_bomb_of_one_value_in_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary of one long text, and rows that repeat it: a few kB that stand for GBs."""
    monkeypatch.setattr(lines, "FREE_BYTES", 2**20)
    path = tmp_path / "bomb.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000), pa.array(["a" * 2**16]))
    parquet.write_table(pa.table({"text": texts}), path, compression="zstd")
    assert path.stat().st_size < 2**20
    assert "decompression bomb" in refusal(path)


def test_a_bomb_of_one_page_in_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "FREE_BYTES", 2**20)
    path = tmp_path / "bomb.parquet"
    table = pa.table({"text": ["a" * 2**24]})
    parquet.write_table(table, path, compression="zstd", use_dictionary=False)
    assert "decompression bomb" in refusal(path)


@pytest.mark.parametrize("ending", [".jsonl", ".txt", ".parquet"])
def test_the_longest_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    for module in (lines, formats):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 20)
    monkeypatch.setattr("vramlab.data.corpus.local.MAX_LINE_BYTES", 20)
    path = tmp_path / f"a{ending}"
    WRITERS[ending](path)
    path.write_text("a" * 21) if ending == ".txt" else None
    assert "is longer than" in refusal(path)
