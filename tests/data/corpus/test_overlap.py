from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from backports import zstd
from data.corpus.planted import edited, excerpt, text

from vramlab.base.errors import CorpusError
from vramlab.data.corpus.documents import read_documents
from vramlab.data.corpus.overlap import PAIRS, Overlap, drop_documents, measure, worst_pairs

Write = Callable[..., Path]

TRAIN = [*(text(i) for i in range(20)), text(3).upper(), edited(text(5), 0.02), text(20)]
VALIDATION = [
    text(100),
    text(2).replace(" ", "\n") + ".",  # an exact copy of training document 3
    edited(text(7), 0.02),  # a near copy of training document 8
    excerpt(text(11), 200, 100),  # a part of training document 12
    text(101) + " " + excerpt(text(13), 0, 60),  # quotes training document 14
    text(100),  # repeats its own first
    edited(text(101), 0.01) + " ",  # alone: the quotation above is a tenth of its like
    text(102),
]
KINDS = [None, "exact", "near", "excerpt", None, None, None, None]


@pytest.fixture
def files(corpus: Write) -> tuple[Path, Path]:
    def write(name: str, texts: list[str]) -> Path:
        return corpus(*({"text": t, "meta": {"quality": "HIGH"}} for t in texts), name=name)

    return write("train", TRAIN), write("validation", VALIDATION)


@pytest.fixture
def overlap(files: tuple[Path, Path]) -> Overlap:
    return measure(*files, 0.5)


def test_what_was_planted_is_found(overlap: Overlap) -> None:
    assert overlap.kinds() == KINDS
    assert overlap.across.partner[:3].tolist() == [-1, 2, 7]
    assert overlap.source[3:5].tolist() == [11, 13]
    share = overlap.share()
    assert share[[0, 1, 3, 7]].tolist() == [0, 1, 1, 0]
    assert share[2] == pytest.approx(0.98**13, abs=0.1)
    assert share[4] == pytest.approx(48 / 648)


def test_the_counts(overlap: Overlap) -> None:
    counts = overlap.counts()
    assert counts["documents"] == {"train": 23, "validation": 8}
    assert counts["exact_duplicates"] == {"train": 1, "validation": 1}
    assert counts["near_duplicates"] == {"train": 1, "validation": 1}
    assert counts["leaked"] == {"exact": 1, "near": 1, "excerpt": 1}
    assert counts["sampled"] == 1
    assert sum(counts["shares"]) == 8
    assert counts["shares"][9] == 2


@pytest.mark.parametrize(
    ("policy", "train", "validation"),
    [("none", [], []), ("exact", [20], [1, 5]), ("near", [20, 21], [1, 2, 3, 5, 6])],
)
def test_the_policy_drops(
    overlap: Overlap,
    files: tuple[Path, Path],
    tmp_path: Path,
    policy: str,
    train: list[int],
    validation: list[int],
) -> None:
    dropped = overlap.dropped(policy)  # type: ignore[arg-type]
    for split, source, texts, gone in zip(
        dropped, files, (TRAIN, VALIDATION), (train, validation), strict=True
    ):
        assert dropped[split].nonzero()[0].tolist() == gone
        target = tmp_path / f"{split}-kept.jsonl.zst"
        drop_documents(source, target, dropped[split])
        assert list(read_documents(target)) == [t for i, t in enumerate(texts) if i not in gone]


def test_nothing_dropped_leaves_the_same_bytes(
    overlap: Overlap, files: tuple[Path, Path], tmp_path: Path
) -> None:
    drop_documents(files[0], tmp_path / "kept.jsonl.zst", overlap.dropped("none")["train"])
    assert (tmp_path / "kept.jsonl.zst").read_bytes() == files[0].read_bytes()


def test_the_worst_pairs(overlap: Overlap, files: tuple[Path, Path]) -> None:
    pairs = worst_pairs(overlap, *files)
    found = {pair.validation: (pair.train, pair.kind) for pair in pairs}
    assert found == {2: (3, "exact"), 3: (8, "near"), 4: (12, "excerpt"), 5: (14, "part")}
    assert [pair.validation for pair in pairs[-2:]] == [3, 5]
    exact = next(pair for pair in pairs if pair.kind == "exact")
    assert exact.similarity == exact.share == exact.share_in_one == 1
    assert exact.train_opening == text(2)[:60]
    assert exact.validation_opening == text(2)[:60]
    assert next(pair for pair in pairs if pair.kind == "excerpt").similarity is None


def test_the_list_of_pairs_is_bounded(corpus: Write) -> None:
    texts = [{"text": text(i, 30)} for i in range(PAIRS + 10)]
    both = corpus(*texts, name="train"), corpus(*texts, name="validation")
    assert len(worst_pairs(measure(*both, 0.5), *both)) == PAIRS


def test_corpora_without_overlap(corpus: Write) -> None:
    both = corpus({"text": text(1)}, name="train"), corpus({"text": text(2)}, name="validation")
    overlap = measure(*both, 0.5)
    assert worst_pairs(overlap, *both) == []
    assert not overlap.dropped("near")["validation"].any()


def test_a_validation_corpus_that_is_all_in_training(corpus: Write, tmp_path: Path) -> None:
    texts = [{"text": text(i)} for i in range(3)]
    both = corpus(*texts, name="train"), corpus(*texts[:2], name="validation")
    dropped = measure(*both, 0.5).dropped("exact")
    with pytest.raises(CorpusError, match=r"all of its 2 documents overlap.*corpus\.overlap"):
        drop_documents(both[1], tmp_path / "kept.jsonl.zst", dropped["validation"])
    assert not (tmp_path / "kept.jsonl.zst").exists()


def test_a_damaged_corpus(corpus: Write) -> None:
    good = corpus({"text": "a"}, name="train")
    with pytest.raises(CorpusError, match="line 1 is damaged"):
        measure(good, corpus(b"{", name="validation"), 0.5)
    with pytest.raises(CorpusError, match="No such file"):
        measure(good.with_name("none.jsonl.zst"), good, 0.5)


def peak_rss_mib(train: Path, validation: Path) -> float:
    """Peak resident memory of a process that measures, in MiB."""
    code = (
        "import sys; from pathlib import Path\n"
        "from vramlab.data.corpus.overlap import measure\n"
        "measure(Path(sys.argv[1]), Path(sys.argv[2]), 0.5)\n"
        # not ru_maxrss, which a process takes over from the one that started it
        "print(Path('/proc/self/status').read_text())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(train), str(validation)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return int(re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)[0]) / 1024


@pytest.mark.slow
def test_memory_grows_by_the_document_not_by_the_text(tmp_path: Path, corpus: Write) -> None:
    validation = corpus(*({"text": text(i)} for i in range(10)), name="validation")
    lines = [orjson.dumps({"text": text(i, 3000)}) + b"\n" for i in range(400)]
    peaks = []
    for repeats in (1, 8):
        train = tmp_path / f"train-{repeats}.jsonl.zst"
        with zstd.open(train, "wb", level=1) as output:
            for _ in range(repeats):
                output.writelines(lines)
        peaks.append(peak_rss_mib(train, validation))
    assert peaks[1] < peaks[0] + 16  # 120 MB of text and 2,800 documents more
