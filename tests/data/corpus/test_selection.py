from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from vramlab.base.errors import CorpusError
from vramlab.config.corpus import HeldOut, Limits, Selection
from vramlab.data.corpus.documents import read_documents
from vramlab.data.corpus.quality import BEYOND_LIMIT, HELD_OUT, NOT_HELD_OUT, select
from vramlab.data.corpus.selection import Document, limited, mixed

Write = Callable[..., Path]
HIGH = ("HIGH",)


def documents(prefix: str, count: int, size: int = 10) -> list[Document]:
    texts = [f"{prefix}{i}".ljust(size, ".") for i in range(count)]
    return [Document(orjson.dumps({"text": text}), text, size) for text in texts]


def lines(prefix: str, count: int, quality: str = "HIGH") -> list[dict]:
    return [{"text": f"{prefix} {i}", "meta": {"quality": quality}} for i in range(count)]


def texts(path: Path) -> list[str]:
    return list(read_documents(path))


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ({}, 9),
        ({"max_documents": 4}, 4),
        ({"max_documents": 9}, 9),
        ({"max_documents": 99}, 9),
        ({"max_bytes": 40}, 4),
        ({"max_bytes": 49}, 4),
        ({"max_bytes": 9}, 0),
        ({"max_documents": 3, "max_bytes": 60}, 3),
    ],
)
def test_limits(limits: dict[str, int], count: int) -> None:
    made = documents("a", 9)
    assert list(limited(made, Limits(**limits))) == made[:count]


def test_a_limit_on_documents_reads_no_further() -> None:
    stream = iter(documents("a", 9))
    assert len(list(limited(stream, Limits(max_documents=2)))) == 2
    assert next(stream).text.startswith("a2")


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (1, 9), (0.2, 0.1)])
def test_a_mix_holds_its_shares_at_every_point(weights: tuple[float, float]) -> None:
    streams = documents("a", 400, 30), documents("b", 900, 10)
    bytes_of = {"a": 0, "b": 0}
    total = 0
    for document in mixed([iter(stream) for stream in streams], weights):
        bytes_of[document.text[0]] += document.size
        total += document.size
        expected = total * weights[0] / sum(weights)
        assert abs(bytes_of["a"] - expected) <= 30
    assert total >= 9000  # until one of them ran out


def test_a_mix_keeps_the_order_of_each() -> None:
    made = [d.text for d in mixed([iter(documents(p, 9)) for p in "ab"], (2, 1))]
    for prefix in "ab":
        own = [text for text in made if text[0] == prefix]
        assert own == sorted(own)


def test_select_mixes_what_passed_the_filter(corpus: Write, tmp_path: Path) -> None:
    sources = [
        corpus(*lines("a", 50, "LOW"), *lines("a", 20), name="a"),
        corpus(*lines("b", 40), name="b"),
    ]
    selection = Selection(
        quality=HIGH,
        weights=(1, 1),
        part_limits=(Limits(max_documents=10), Limits()),
        limits=Limits(max_documents=15),
    )
    target = tmp_path / "out.jsonl.zst"
    counts = select(sources, target, selection)
    kept = texts(target)
    assert counts.kept == len(kept) == 15
    assert sum(text.startswith("a") for text in kept) in (7, 8)
    assert counts.dropped == {"quality LOW": 50}
    first = target.read_bytes()
    select(sources, target, selection)
    assert target.read_bytes() == first


@pytest.mark.parametrize(("share", "count"), [(0.05, 10), (0.5, 100), (0.001, 1), (0.999, 199)])
def test_a_split_takes_each_document_to_one_side(
    corpus: Write, tmp_path: Path, share: float, count: int
) -> None:
    source = corpus(*lines("a", 100, "LOW"), *lines("b", 200))
    sides, counted = [], []
    for kept in (False, True):
        target = tmp_path / f"{kept}.jsonl.zst"
        held_out = HeldOut(share=share, seed=9, kept=kept)
        counts = select([source], target, Selection(quality=HIGH, held_out=held_out))
        counted.append(counts)
        sides.append(texts(target))
    assert sorted(sides[0] + sides[1]) == sorted(f"b {i}" for i in range(200))
    assert len(sides[1]) == count
    assert counted[0].dropped == {"quality LOW": 100, HELD_OUT: count}
    assert counted[1].dropped == {"quality LOW": 100, NOT_HELD_OUT: 200 - count}


def test_the_seed_decides_the_split(corpus: Write, tmp_path: Path) -> None:
    source, target = corpus(*lines("a", 200)), tmp_path / "out.jsonl.zst"

    def held(seed: int) -> list[str]:
        held_out = HeldOut(share=0.1, seed=seed, kept=True)
        select([source], target, Selection(quality=HIGH, held_out=held_out))
        return texts(target)

    assert held(1) == held(1) != held(2)


def test_equal_texts_stand_on_one_side(corpus: Write, tmp_path: Path) -> None:
    source = corpus(*lines("a", 30), *lines("a", 30))
    sides = []
    for kept in (False, True):
        target = tmp_path / f"{kept}.jsonl.zst"
        held_out = HeldOut(share=0.3, seed=9, kept=kept)
        select([source], target, Selection(quality=HIGH, held_out=held_out))
        sides.append(set(texts(target)))
    assert not sides[0] & sides[1]


@pytest.mark.parametrize(
    ("repeats", "held", "warned"),
    [
        ([61, *[1] * 39], 5, False),  # one text again and again: it stays for training
        ([2] * 50, 4, False),
        ([50, 50], 50, True),  # no choice is near the share
        ([60, 40], 40, True),
        ([100], 100, True),
    ],
)
def test_a_split_keeps_its_share_where_texts_are_repeated_or_warns(
    corpus: Write,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    repeats: list[int],
    held: int,
    warned: bool,
) -> None:
    rows = [line for i, n in enumerate(repeats) for line in lines(f"{i} ", 1) * n]
    held_out = HeldOut(share=0.05, seed=5, kept=True)
    source, target = corpus(*rows), tmp_path / "held.jsonl.zst"
    counts = select([source], target, Selection(quality=HIGH, held_out=held_out))
    assert counts.kept == held
    assert counts.held_out == held / 100
    assert ("equal ones stay together" in caplog.text) is warned


def test_a_split_of_one_document_is_refused(corpus: Write, tmp_path: Path) -> None:
    held_out = HeldOut(share=0.05, seed=9, kept=False)
    with pytest.raises(CorpusError, match="a split leaves no document for training"):
        select(
            [corpus(*lines("a", 1))],
            tmp_path / "out.jsonl.zst",
            Selection(quality=HIGH, held_out=held_out),
        )


def test_a_limit_below_the_first_document_is_refused(corpus: Write, tmp_path: Path) -> None:
    selection = Selection(quality=HIGH, limits=Limits(max_bytes=1))
    with pytest.raises(CorpusError, match=r"larger than max_bytes .* higher limit"):
        select([corpus(*lines("a", 5))], tmp_path / "out.jsonl.zst", selection)


@pytest.mark.parametrize(
    ("limits", "part", "kept", "beyond"),
    [
        ({"max_bytes": 10}, {}, 3, 1),  # of the whole
        ({}, {"max_bytes": 10}, 6, 1),  # of one part, which ends the mix
        ({"max_bytes": 9}, {}, 3, 1),  # full to the byte: the next one is read, and left out
        ({"max_documents": 3}, {}, 3, 0),
        ({}, {}, 18, 0),
    ],
)
def test_each_document_that_was_read_is_kept_or_dropped_for_a_reason(
    corpus: Write, tmp_path: Path, limits: dict, part: dict, kept: int, beyond: int
) -> None:
    sources = [corpus(*lines(p, 9), *lines(p, 3, "LOW"), name=p) for p in "ab"]
    selection = Selection(
        quality=HIGH,
        weights=(1, 1),
        part_limits=(Limits(**part), Limits()),
        limits=Limits(**limits),
    )
    counts = select(sources, tmp_path / "out.jsonl.zst", selection)
    assert counts.kept == kept
    assert counts.dropped.get(BEYOND_LIMIT, 0) == beyond
    assert counts.documents == counts.kept + sum(counts.dropped.values())


def sides(source: Path, folder: Path, **options: object) -> tuple[list[str], list[str]]:
    """The texts for training and for validation."""
    found = []
    for kept in (False, True):
        target = folder / f"{kept}.jsonl.zst"
        held_out = HeldOut(seed=9, kept=kept, **options)
        select([source], target, Selection(quality=HIGH, held_out=held_out))
        found.append(texts(target))
    return found[0], found[1]


def size(found: list[str]) -> int:
    return sum(len(text.encode()) for text in found)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_a_split_by_bytes_holds_out_the_share_of_the_bytes(
    corpus: Write, tmp_path: Path, share: float
) -> None:
    """Lengths as they are: most documents are short, and a few have most of the bytes."""
    documents = [f"{i} " + "ż" * (40_000 // (i + 1)) for i in range(300)]
    rows = [{"text": t, "meta": {"quality": "HIGH"}} for t in documents]
    train, validation = sides(corpus(*rows), tmp_path, share=share, by="bytes")
    assert sorted(train + validation) == sorted(documents)
    assert size(validation) / size(documents) == pytest.approx(share, rel=0.02)


def test_a_split_by_bytes_keeps_equal_texts_together(corpus: Write, tmp_path: Path) -> None:
    rows = [*lines("a", 30), *lines("a", 30)]
    train, validation = sides(corpus(*rows), tmp_path, share=0.3, by="bytes")
    assert not set(train) & set(validation)
    assert size(validation) / size(train + validation) == pytest.approx(0.3, abs=0.05)


def test_where_all_documents_exceed_the_share_the_shortest_is_held_out_and_said(
    corpus: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"text": "x" * n, "meta": {"quality": "HIGH"}} for n in (500, 400, 600)]
    train, validation = sides(corpus(*rows), tmp_path, share=0.05, by="bytes")
    assert validation == ["x" * 400]
    assert len(train) == 2
    assert "400 of the 1500 bytes are held out for validation, not 75" in caplog.text
    assert "the split leaves one document for validation" in caplog.text


@pytest.mark.parametrize(("count", "share", "said"), [(20, 0.05, 1), (20, 0.96, 1), (20, 0.5, 0)])
def test_a_split_that_leaves_one_document_is_said(
    corpus: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture, count, share, said
) -> None:
    sides(corpus(*lines("a", count)), tmp_path, share=share)
    assert caplog.text.count("the split leaves one document") == said
