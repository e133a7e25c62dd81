from __future__ import annotations

import errno
import gzip
import hashlib
import os
import random
import re
import string
import subprocess
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError

from vramlab.base.errors import CorpusError
from vramlab.config.corpus import LocalSource
from vramlab.data.corpus import formats, lines
from vramlab.data.corpus.folder import find_files
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
    ".ndjson": write_jsonl,
    ".ndjson.zst": write_jsonl_zst,
    ".parquet": write_parquet,
    ".txt": write_txt,
}


def test_the_readme_lists_every_format() -> None:
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text("utf-8")
    listed = readme.partition("{source: local,")[2].partition("several corpora")[0]
    assert set(re.findall(r"\.[a-z]{3,}", listed)) == {
        f".{e}" for f in FORMATS for e in f[1:].split(".")
    }


@pytest.mark.parametrize("ending", FORMATS)
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
        ("a.jsonl", b'{"text": "\xff"}\n', "is not in utf-8 at byte 10 of line 1"),
        ("a.jsonl", b'{"txt": "a"}\n', "line 1 has no key 'text'; .* did you mean 'txt'"),
        ("a.jsonl", b'{"doc": {"t": 1}}\n', "line 1 has no key 'text'; .* known are: doc.t"),
        ("a.jsonl", b'{"text": "a", "meta": {"quality": 3}}\n', "label of line 1 .* type int"),
        ("a.jsonl", b"[]\n", "line 1 is no JSON object"),
        ("a.jsonl.zst", b"no zstd", "no whole zstd file"),
        ("a.txt", b"\xb1\xe6", "is not in utf-8 at byte 0"),
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


def write_lines(path: Path, *rows: Any) -> None:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def test_one_rule_for_null_in_all_formats(tmp_path: Path) -> None:
    json, columns = tmp_path / "a.jsonl", tmp_path / "a.parquet"
    write_lines(json, {"text": None, "meta": {"quality": None}}, {"text": "a", "meta": None})
    meta = pa.array([{"quality": None}, None], pa.struct([("quality", pa.string())]))
    parquet.write_table(pa.table({"text": [None, "a"], "meta": meta}), columns)
    assert converted(json) == converted(columns) == [("", "HIGH"), ("a", "HIGH")]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_labels_in_json_and_in_maps(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    labels, texts = ["LOW", "HIGH", None], ["a", "b", "c"]
    inside = [orjson.dumps({"quality": label} if label else {}).decode() for label in labels]
    if ending == ".jsonl":
        write_lines(path, *({"text": t, "meta": m} for t, m in zip(texts, inside, strict=True)))
    else:
        parquet.write_table(pa.table({"text": texts, "meta": inside}), path)
    assert converted(path) == [("a", "LOW"), ("b", "HIGH"), ("c", "HIGH")]
    if ending == ".parquet":
        maps = [[("quality", label)] if label else [] for label in labels]
        kind = pa.map_(pa.string(), pa.string())
        parquet.write_table(pa.table({"text": texts, "meta": pa.array(maps, kind)}), path)
        assert converted(path) == [("a", "LOW"), ("b", "HIGH"), ("c", "HIGH")]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("key", "says"),
    [("meta.qualty", "did you mean 'meta.quality'"), ("x", "known are: .*meta.quality")],
)
def test_a_quality_that_no_document_has(tmp_path: Path, ending: str, key: str, says: str) -> None:
    path = tmp_path / f"a{ending}"
    rows = [{"text": text, "meta": {"quality": "LOW"}} for text in TEXTS]
    if ending == ".jsonl":
        write_lines(path, *rows)
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    sentence = refusal(path, quality=key)
    assert f"none of its 3 documents has the key or column {key!r}" in sentence
    assert re.search(says, sentence)
    assert converted(path)[0] == (TEXTS[0], "LOW")


def test_a_quality_that_a_text_file_cannot_have(tmp_path: Path) -> None:
    write_txt(tmp_path / "a.txt")
    assert "leave `quality` out" in refusal(tmp_path / "a.txt", quality="meta.quality")


@pytest.mark.parametrize(
    ("row", "warned"),
    [
        ({"quality": "LOW"}, "if quality holds it"),
        ({"meta": {"qualty": "LOW"}}, "if meta.qualty holds it"),
        ({"meta": {"url": "x", "title": "y"}}, ""),
        ({}, ""),
    ],
)
def test_labels_under_another_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, row: dict, warned: str
) -> None:
    write_lines(tmp_path / "a.jsonl", {"text": "a", **row})
    assert converted(tmp_path / "a.jsonl") == [("a", "HIGH")]
    assert warned in caplog.text
    assert ("holds it" in caplog.text) == bool(warned)


LISTS = pa.array([["a"], ["b", "c"]], pa.list_(pa.string()))


@pytest.mark.parametrize(
    ("columns", "key", "says"),
    [
        ({"text": LISTS}, "text", "the column 'text' is a list, not a text"),
        ({"text": LISTS}, "text.list.element", "the column 'text' is a list, not a text"),
        ({"doc": [{"body": LISTS[0].as_py()}]}, "doc.body", "'doc.body' is a list, not a text"),
        ({"doc": [{"body": "a"}]}, "doc", "is a group of columns.* did you mean 'doc.body'"),
        ({"doc": [{"body": "a"}]}, "doc.bdy", "no column 'doc.bdy'.* did you mean 'doc.body'"),
        ({"doc": [[("body", "a")]]}, "doc", "is a list, not a text|group of columns"),
        ({"text": [b"\xff"]}, "text", "of the type bytes, not a string"),
        ({"text": [1.5]}, "text", "of the type float, not a string"),
    ],
)
def test_a_column_that_is_no_text(tmp_path: Path, columns: Any, key: str, says: str) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table(columns), path)
    assert re.search(says, refusal(path, text=key))


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    parquet.write_table(twice, path)
    assert "several columns named 'text'" in refusal(path)
    other = pa.Table.from_arrays(
        [pa.array(["a"]), pa.array([1]), pa.array([2])], names=["text", "n", "n"]
    )
    parquet.write_table(other, path)
    assert converted(path) == [("a", "HIGH")]


def test_a_string_of_parquet_that_is_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.array([b"a", b"b\xff"]).view(pa.string())
    parquet.write_table(pa.table({"text": texts}), path)
    assert "row 2 is no UTF-8" in refusal(path)


@pytest.mark.slow
def test_any_damage_to_a_parquet_file_ends_in_a_sentence(tmp_path: Path) -> None:
    path, target = tmp_path / "a.parquet", tmp_path / "out.jsonl.zst"
    write_parquet(path)
    whole, rng = path.read_bytes(), random.Random(9)
    refused = 0
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 1, 8])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            convert(source(path), target)
        except CorpusError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


def empty_parquet(path: Path) -> None:
    parquet.write_table(pa.table({"text": pa.array([], pa.string())}), path)


SKIPPABLE = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
EMPTY: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_bytes(b""),
    "b.jsonl": lambda path: path.write_bytes(b"\n \n"),
    "c.jsonl.zst": lambda path: path.write_bytes(b""),
    "d.jsonl.zst": lambda path: path.write_bytes(zstd.compress(b"") * 2),
    "e.jsonl.zst": lambda path: path.write_bytes(SKIPPABLE),
    "f.parquet": empty_parquet,
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_corpus(tmp_path: Path, name: str) -> None:
    EMPTY[name](tmp_path / name)
    sentence = refusal(tmp_path / name)
    assert "holds no document" in sentence
    assert "delete" not in sentence


def test_empty_parts_of_a_corpus_are_no_fault(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    folder.mkdir()
    for name, write in EMPTY.items():
        write(folder / name)
    assert "holds no document" in refusal(folder)
    write_lines(folder / "g.jsonl", {"text": "a"})
    assert converted(folder) == [("a", "HIGH")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        # The frame header of `zstd --long=31`: a window of 2 GiB (RFC 8878, 3.1.1.1).
        (b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", "window over 128 MiB.* compress it anew"),
        (zstd.compress(b'{"text": "a"}\n')[:-4], "no whole zstd file .* get a whole copy"),
    ],
    ids=["long window", "truncated"],
)
def test_a_file_of_the_user_is_never_to_be_deleted(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(content)
    sentence = refusal(path)
    assert re.search(says, sentence)
    assert "delete" not in sentence


def test_a_file_that_needs_a_dictionary(tmp_path: Path) -> None:
    lines = [orjson.dumps({"text": f"dokument numer {i}"}) + b"\n" for i in range(2000)]
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(zstd.compress(lines[0], zstd_dict=zstd.train_dict(lines, 1000)))
    assert "needs a zstd dictionary" in refusal(path)


def test_endings_of_any_case_and_files_that_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "books"
    folder.mkdir()
    write_txt(folder / "B.TXT")
    write_parquet(folder / "c.Parquet")
    write_jsonl_zst(folder / "d.JSONL.ZST")
    (folder / "e.jsonl.gz").write_bytes(gzip.compress(b'{"text": "e"}\n'))
    (folder / "link").symlink_to(".")
    os.mkfifo(folder / "pipe.txt")
    assert len(converted(folder)) == 7
    assert "left out are 3 files" in caplog.text
    assert "e.jsonl.gz" in caplog.text
    assert converted(folder / "B.TXT") == [(TEXTS[0], "HIGH")]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("**/*.txt", ["a.txt", "x/b.txt", "x/y/c.txt"]),
        ("x/**/*.txt", ["x/b.txt", "x/y/c.txt"]),
        ("**/y/**/c.txt", ["x/y/c.txt"]),
        ("*.txt", ["a.txt", "x/b.txt", "x/y/c.txt"]),
    ],
)
def test_two_stars_also_stand_for_no_folder(tmp_path: Path, pattern: str, names: list[str]) -> None:
    (tmp_path / "x/y").mkdir(parents=True)
    for name in ("a.txt", "x/b.txt", "x/y/c.txt"):
        (tmp_path / name).write_text("a")
    found = find_files(source(tmp_path, files=pattern))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == names


@pytest.mark.parametrize("hidden", ["results", ".venv", ".snakemake"])
def test_what_the_pipeline_makes_is_never_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / hidden).mkdir()
    (tmp_path / hidden / "a.txt").write_text("a")
    (tmp_path / "books" / hidden).mkdir(parents=True)
    (tmp_path / "books" / hidden / "b.txt").write_text("b")
    (tmp_path / "c.txt").write_text("c")
    expected = ["c.txt"] if hidden.startswith(".") else ["books/results/b.txt", "c.txt"]
    assert [str(path) for path in find_files(source(Path()))] == expected
    assert [str(path) for path in find_files(source(Path(hidden)))] == [f"{hidden}/a.txt"]


def test_a_folder_that_cannot_be_read_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "books/closed").mkdir(parents=True)
    (tmp_path / "books/a.txt").write_text("a")
    scandir = os.scandir

    def refuse(path: Any) -> Any:  # root may read any folder
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "closed: cannot be read (Permission denied)" in refusal(tmp_path / "books")


def test_loops_of_links(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    (folder / "x").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "x/up").symlink_to("..")
    (folder / "self").symlink_to("self")
    assert converted(folder) == [("a", "HIGH")]
    (folder / "b.txt").symlink_to("c.txt")
    (folder / "c.txt").symlink_to("b.txt")
    folder.parent.joinpath("converted.jsonl.zst").unlink()
    assert "b.txt: is a link that leads nowhere, or to itself" in refusal(folder)
    assert "is no file and no folder" in refusal(folder / "self")


@pytest.mark.parametrize("when", ["before the first", "after the first"])
@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".txt"])
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, when: str
) -> None:
    path = tmp_path / f"a{ending}"
    WRITERS[ending](path)
    original = FORMATS[ending]

    def reading(*arguments: Any) -> Any:
        rows = original(*arguments)
        if when == "after the first":
            yield next(rows)
        path.write_bytes(path.read_bytes().replace(b"pierwszy", b"ostatni "))
        yield from rows

    monkeypatch.setitem(FORMATS, ending, reading)
    assert "was changed while it was read" in refusal(path)


LETTERS = "ab.*?[]{}'\"\\ %#$~;&|-\n\t\r\x7f\u00a0ż漢😀" + string.ascii_letters


@given(
    st.lists(
        st.one_of(st.text(LETTERS, min_size=1, max_size=60).map(os.fsencode), st.binary(min_size=1))
        .filter(lambda name: not {0, 47} & set(name) and name[:1] != b".")
        .map(lambda name: name[:251] + b".txt"),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_names_of_any_bytes(tmp_path_factory: pytest.TempPathFactory, names: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("names")
    for name in names:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"text")
    target = folder.with_suffix(".jsonl.zst")
    try:
        record = convert(source(folder), target)
    except CorpusError as error:
        assert "has a name that is not UTF-8, or has a control character" in str(error)
        assert str(error).encode().decode().isprintable()
        assert any(map(odd, names))
    else:
        assert not any(map(odd, names))
        assert record.documents == len(names)
        listed = subprocess.run(
            ["sha256sum", "--", *sorted(names, key=bytes.decode)],
            cwd=folder,
            check=True,
            capture_output=True,
        ).stdout
        assert record.sha256 == hashlib.sha256(listed).hexdigest()


def odd(name: bytes) -> bool:
    """Whether a name is no UTF-8, or has a control character."""
    try:
        return any(unicodedata.category(character) == "Cc" for character in name.decode())
    except UnicodeDecodeError:
        return True


def test_a_pattern_with_many_folders_is_matched_at_once_or_refused(tmp_path):
    folder = tmp_path.joinpath(*"abcdefgh")
    folder.mkdir(parents=True)
    write_jsonl(folder / "a.jsonl")
    begin = time.monotonic()
    for pattern in ("**/" * 30 + "a.jsonl", "**/b/**/c/**/d/**/e/**/f/**/g/**/h/*.jsonl"):
        assert find_files(source(tmp_path, files=pattern)) == [folder / "a.jsonl"]
    assert time.monotonic() - begin < 1
    with pytest.raises(ValidationError, match="has more than 8 times"):
        source(tmp_path, files="**/a*" * 9)


POLISH = "Zażółć gęślą jaźń.\nDrugi wiersz: Łódź, świt, ćma."


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1250", "ISO-8859-2", "utf-16", "utf-16-le", "utf_32"]
)
@pytest.mark.parametrize("ending", [".txt", ".jsonl", ".ndjson.zst"])
def test_files_in_other_encodings_give_the_same_text(tmp_path, encoding, ending):
    """Longer than a chunk, so that a character stands astride two of them."""
    documents = [POLISH * 4000, "ż" + POLISH * 4001]
    folder = tmp_path / "corpus"
    folder.mkdir()
    if ending == ".txt":
        for i, document in enumerate(documents):
            (folder / f"{i}.txt").write_bytes(document.encode(encoding))
    else:
        lines_ = "".join(orjson.dumps({"text": d}).decode() + "\n" for d in documents)
        content = lines_.encode(encoding)
        (folder / f"a{ending}").write_bytes(
            zstd.compress(content) if ending.endswith(".zst") else content
        )
    assert converted(folder, encoding=encoding) == [(d, "HIGH") for d in documents]


@pytest.mark.parametrize(
    ("name", "content", "encoding", "place"),
    [
        ("a.txt", "zażółć".encode("cp1250"), "utf-8", "is not in utf-8 at byte 2;"),
        ("a.txt", b"abc\x81", "cp1250", "is not in cp1250 at byte 3;"),
        ("a.txt", "abc".encode("utf-16-le") + b"\x00", "utf-16-le", "at byte 6;"),
        ("a.txt", "zażółć".encode("utf-16"), "utf-8", "is not in utf-8 at byte 0;"),
        (
            "a.jsonl",
            b'{"text": "a"}\n\n{"text": "\xbf"}\n',
            "utf-8",
            "is not in utf-8 at byte 10 of line 3;",
        ),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\x81"}\n', "cp1250", "is not in cp1250 at byte 24;"),
        # Behind a chunk of 2**18 bytes that ends within a character.
        (
            "a.jsonl",
            b'{"text": "' + b"\xe3\x81\x82" * 100_000 + b'\xff"}\n',
            "euc_jp",
            "is not in euc_jp at byte",
        ),
    ],
    ids=["cp1250", "hole", "half", "utf-16", "line", "line of cp1250", "many chunks"],
)
def test_an_undecodable_file_is_named_with_the_place_and_the_key(
    tmp_path, name, content, encoding, place
):
    path = tmp_path / name
    path.write_bytes(content)
    sentence = refusal(path, encoding=encoding)
    assert place in sentence
    assert "set `encoding` of the source" in sentence


def test_the_place_in_a_file_of_many_chunks_is_exact(tmp_path):
    path = tmp_path / "a.jsonl"
    good = orjson.dumps({"text": "x" + "あ" * 300_000}).decode().encode("utf-16-le")[:-2]
    path.write_bytes(good + b"\x00\xd8" + b"a\x00" * 10)  # half of a surrogate pair
    assert f"at byte {len(good)};" in refusal(path, encoding="utf-16-le")


@pytest.mark.parametrize("name", ["utf-9", "base64", "rot13", "", "undefined", "idna\x00", "hex"])
def test_an_encoding_that_python_does_not_have_is_refused(name):
    with pytest.raises(ValidationError, match="is no encoding that Python knows"):
        source(Path("books"), encoding=name)
