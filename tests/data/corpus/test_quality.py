from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from vramlab.base.errors import CorpusError
from vramlab.config.corpus import SpeakLeashSource
from vramlab.data.corpus import lines
from vramlab.data.corpus.documents import read_documents
from vramlab.data.corpus.fetch import fetch
from vramlab.data.corpus.quality import EMPTY_TEXT, NO_LABEL, OTHER_LABEL, filter_quality

Write = Callable[..., Path]


def document(text: str, quality: str | None = "HIGH", **meta: Any) -> dict[str, Any]:
    return {"text": text, "meta": {**meta, "quality": quality} if quality else meta}


def refusal(source: Path, keep: tuple[str, ...] = ("HIGH",)) -> str:
    """The one sentence of the error; no target may be left."""
    target = source.with_name("kept.jsonl.zst")
    with pytest.raises(CorpusError) as caught:
        filter_quality(source, target, keep)
    assert not target.exists()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(source) in sentence
    return sentence


def test_keeps_the_lines_as_they_are(tmp_path: Path) -> None:
    kept = [
        b'{"text": "a \\u017c\\/",   "meta": {"quality": "HIGH", "n": 1e3}, "more": null}\n',
        '{"meta": {"quality": "HIGH"}, "text": "żółć 🦆"}\n'.encode(),
        b'{"text":"no newline at the end","meta":{"quality":"HIGH"}}',
    ]
    dropped = [b'{"text": "b", "meta": {"quality": "LOW"}}\n', b"\n", b"  \r\n"]
    source, target = tmp_path / "in.jsonl.zst", tmp_path / "out.jsonl.zst"
    source.write_bytes(zstd.compress(b"".join([kept[0], *dropped, kept[1], kept[2]])))
    counts = filter_quality(source, target, ["HIGH"])
    assert zstd.decompress(target.read_bytes()) == b"".join(kept) + b"\n"
    assert list(read_documents(target)) == ["a ż/", "żółć 🦆", "no newline at the end"]
    assert counts.documents == 4
    assert counts.kept == 3
    assert counts.dropped == {"quality LOW": 1}
    assert counts.characters == 4 + 6 + 21
    assert counts.utf8_bytes == 5 + 13 + 21


def test_counts_the_reasons(corpus: Write, tmp_path: Path) -> None:
    source = corpus(
        document("a"),
        document("b", "MEDIUM"),
        document("c", "LOW"),
        document("d", "LOW"),
        document("e", None),
        {"text": "f"},
        {"text": "g", "meta": None},
        document(""),
        document(" \n\t\u00a0"),
        document("\u200b\ufeff\u200b"),
        document("", "LOW"),
        document("h", "ż" * 1000),
    )
    counts = filter_quality(source, tmp_path / "out.jsonl.zst", ["MEDIUM", "HIGH"])
    assert counts.kept == 2
    assert counts.dropped == {
        EMPTY_TEXT: 3,
        NO_LABEL: 3,
        "quality LOW": 3,
        "quality " + "ż" * 40: 1,
    }
    assert counts.documents == 12


def test_the_number_of_labels_is_bounded(corpus: Write, tmp_path: Path) -> None:
    source = corpus(document("a"), *(document("b", f"label {i}") for i in range(1000)))
    counts = filter_quality(source, tmp_path / "out.jsonl.zst", ["HIGH"])
    assert len(counts.dropped) == 21
    assert counts.dropped[OTHER_LABEL] == 980


def test_several_frames(tmp_path: Path) -> None:
    line = b'{"text": "a", "meta": {"quality": "HIGH"}}\n'
    source, target = tmp_path / "in.jsonl.zst", tmp_path / "out.jsonl.zst"
    # a line cut by the border of two frames, an empty frame, a skippable frame (RFC 8878, 3.1.2)
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    source.write_bytes(
        zstd.compress(line + line[:10]) + zstd.compress(b"") + skippable + zstd.compress(line[10:])
    )
    assert filter_quality(source, target, ["HIGH"]).kept == 2
    assert zstd.decompress(target.read_bytes()) == line * 2


def test_same_bytes_each_time(layout: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "1.jsonl.zst", tmp_path / "2.jsonl.zst"
    filter_quality(layout / "train.jsonl.zst", first, ["HIGH"])
    filter_quality(layout / "train.jsonl.zst", second, ["HIGH"])
    assert first.read_bytes() == second.read_bytes()


GOOD = {"text": "a", "meta": {"quality": "HIGH"}}


@pytest.mark.parametrize(
    ("line", "clue"),
    [
        (b'{"text": "b", "meta"', "line 3 is no valid JSON"),
        (b'{"text": "b"} {}', "line 3 is no valid JSON"),
        (b'{"text": "\\ud800"}', "line 3 is no valid JSON"),
        (b'{"text": "b", "x": ' + b"[" * 100_000, "line 3 is no valid JSON"),
        (b'{"text": "z\xc5", "meta": {}}', "line 3 is no UTF-8"),
        ("{'text': 'ż'}".encode("iso8859-2"), "line 3"),
        ('{"text": "ż"}'.encode("iso8859-2"), "line 3 is no UTF-8"),
        (b'{"meta": {"quality": "LOW"}}', "line 3 is no {"),
        (b'{"meta": {"quality": "LOW"}}', "`text`"),
        (b'{"text": null}', "$.text"),
        (b'{"text": "b", "meta": {"quality": 1}}', "$.meta.quality"),
        (b'["text"]', "line 3"),
    ],
)
def test_a_bad_line(corpus: Write, line: bytes, clue: str) -> None:
    assert clue in refusal(corpus(GOOD, GOOD, line, GOOD))


def test_blank_lines_count_in_line_numbers(corpus: Write) -> None:
    assert "line 4 " in refusal(corpus(GOOD, b"", b" ", b"{", GOOD))


def test_truncated_at_any_byte(corpus: Write) -> None:
    source = corpus(*[GOOD] * 50)
    whole = source.read_bytes()
    for length in range(len(whole)):
        source.write_bytes(whole[:length])
        assert "no whole zstd file" in refusal(source)


def test_a_cut_second_frame(corpus: Write) -> None:
    source = corpus(GOOD)
    whole = source.read_bytes()
    for length in range(1, len(whole)):
        source.write_bytes(whole + whole[:length])
        assert "no whole zstd file" in refusal(source)


@pytest.mark.parametrize("damage", [b"no zstd at all", b"\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff"])
def test_no_zstd(tmp_path: Path, damage: bytes) -> None:
    source = tmp_path / "in.jsonl.zst"
    source.write_bytes(damage)
    assert "no whole zstd file" in refusal(source)


def test_junk_behind_the_last_frame(corpus: Write) -> None:
    source = corpus(GOOD)
    source.write_bytes(source.read_bytes() + b"junk junk")
    assert "no whole zstd file" in refusal(source)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.jsonl.zst")


def test_nothing_kept(corpus: Write) -> None:
    sentence = refusal(corpus(document("a", "LOW"), document("b", "high"), document("")))
    assert "no document of quality HIGH" in sentence
    assert "quality LOW: 1" in sentence
    assert "quality high: 1" in sentence
    assert "empty text: 1" in sentence
    assert "holds no document" in refusal(corpus())


def test_the_longest_line(corpus: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    frame = len(b'{"text":"","meta":{"quality":"HIGH"}}\n')
    source = corpus(document("a" * (100 - frame)))
    assert filter_quality(source, tmp_path / "out.jsonl.zst", ["HIGH"]).kept == 1
    assert "line 2 is longer than" in refusal(corpus(GOOD, document("a" * (101 - frame))))


def peak_rss_mib(source: Path, target: Path) -> float:
    """Peak resident memory of a process that filters, in MiB."""
    code = (
        "import sys; from pathlib import Path\n"
        "from vramlab.data.corpus.quality import filter_quality\n"
        "from vramlab.base.errors import CorpusError\n"
        "try:\n    filter_quality(Path(sys.argv[1]), Path(sys.argv[2]), ['HIGH'])\n"
        "except CorpusError as error:\n    print(error, file=sys.stderr)\n"
        # not ru_maxrss, which a process takes over from the one that started it
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) / 1024)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(source), str(target)]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, layout: Path) -> None:
    raw = zstd.decompress((layout / "train.jsonl.zst").read_bytes())
    peaks = []
    for size in (16, 128):
        source = tmp_path / f"{size}.jsonl.zst"
        with zstd.open(source, "wb", level=1) as output:
            for _ in range(size * 2**20 // len(raw)):
                output.write(raw)
        peaks.append(peak_rss_mib(source, tmp_path / "out.jsonl.zst"))
    assert peaks[1] < peaks[0] + 8
    assert peaks[1] < 300


def test_a_line_without_end_takes_little_memory(tmp_path: Path) -> None:
    source = tmp_path / "bomb.jsonl.zst"
    with zstd.open(source, "wb", level=1) as output:
        for _ in range(1024):
            output.write(b"a" * 2**20)
    assert source.stat().st_size < 2**20
    assert peak_rss_mib(source, tmp_path / "out.jsonl.zst") < 300
    assert "line 1 is longer than 32 MiB" in refusal(source)


@pytest.mark.parametrize(
    ("name", "kept", "utf8_megabytes"),
    [("eltec_pol_wolnelektury", 37, 25.0), ("eltec_pol_other", 43, 23.1)],
)
def test_real_corpora(
    real_corpora: Path, tmp_path: Path, name: str, kept: int, utf8_megabytes: float
) -> None:
    fetched, target = tmp_path / "fetched.jsonl.zst", tmp_path / "kept.jsonl.zst"
    record = fetch(SpeakLeashSource(name=name, base=real_corpora.as_uri()), fetched)
    counts = filter_quality(fetched, target, ["HIGH"])
    assert counts.documents == record.documents
    assert counts.kept == kept == round(record.quality["HIGH"] * record.documents)
    assert counts.utf8_bytes / 1e6 == pytest.approx(utf8_megabytes, abs=0.06)
    texts = list(read_documents(target))
    assert len(texts) == kept
    assert sum(len(text) for text in texts) == counts.characters
    assert sum(len(text.encode()) for text in texts) == counts.utf8_bytes
