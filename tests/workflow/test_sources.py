"""Own data through the workflow: local files, a mix, a split; and which change reruns what."""

import copy
import json

import pyarrow as pa
import pytest
from data.corpus.planted import edited, excerpt, text
from pipeline import TINY
from pyarrow import parquet

from vramlab.data.corpus.documents import read_documents

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CORPUS = "results/tiny/corpus"
TARGETS = (f"{CORPUS}/train.jsonl.zst", f"{CORPUS}/validation.jsonl.zst", f"{CORPUS}/overlap.json")


def config(train, validation, **corpus):
    result = copy.deepcopy(TINY)
    result["corpus"] = {"train": train, "validation": validation, **corpus}
    return result


def local(path, **options):
    return {"source": "local", "path": str(path), **options}


def texts(checkout, split):
    return list(read_documents(checkout.root / CORPUS / f"{split}.jsonl.zst"))


def record(checkout, name):
    return json.loads((checkout.root / CORPUS / f"{name}.json").read_text())


def test_local_files_of_two_formats_split_and_cleaned(fresh):
    books = fresh.root / "books"
    books.mkdir()
    made = [text(i) for i in range(40)]
    parquet.write_table(pa.table({"text": made[:20]}), books / "a.parquet")
    for i, document in enumerate(made[20:]):
        (books / f"b{i:02}.txt").write_text(document)
    (books / "c.txt").write_text(edited(made[0], 0.01))
    fresh.configure(config(local("books"), {"source": "split", "share": 0.25}, overlap="near"))
    fresh.run(*TARGETS)
    overlap = record(fresh, "overlap")
    assert sum(overlap["documents"].values()) == 41
    assert overlap["documents"]["validation"] == 10
    # The edited copy is gone, from whichever side it was on.
    assert sorted(texts(fresh, "train") + texts(fresh, "validation")) in (
        sorted(made),
        sorted([*made[1:], edited(made[0], 0.01)]),
    )
    assert record(fresh, "train")["source"] == "books"
    assert fresh.planned(*TARGETS) == set()
    (books / "d.txt").write_text(text(99))
    assert "corpus/download/train.jsonl.zst" in fresh.planned(*TARGETS)


def test_a_mix_of_sources_and_a_leak_into_it(fresh):
    lines = [json.dumps({"body": text(i)}) for i in range(30)]
    (fresh.root / "own.jsonl").write_text("\n".join(lines))
    (fresh.root / "held.jsonl").write_text(
        "\n".join(
            json.dumps({"text": t})
            for t in (text(200), text(3), excerpt(text(4), 50, 200), text(201))
        )
    )
    synthetic = {"source": "synthetic", "documents": 100, "words": 600}
    train = {
        "source": "mix",
        "max_documents": 40,
        "parts": [
            {"weight": 1, "corpus": local("own.jsonl", text="body")},
            {"weight": 1, "corpus": synthetic},
        ],
    }
    fresh.configure(config(train, local("held.jsonl"), overlap="exact"))
    fresh.run(*TARGETS)
    kept = texts(fresh, "train")
    assert len(kept) == 40
    assert 10 < sum(t.startswith("słowo") for t in kept) < 30
    overlap = record(fresh, "overlap")
    assert overlap["leaked"] == {"exact": 1, "near": 0, "excerpt": 1}
    assert len(texts(fresh, "validation")) == 3
    assert {pair["kind"] for pair in overlap["pairs"]} == {"exact", "excerpt"}
    # How much is used is no matter of the download.
    train["parts"][0]["weight"] = 2
    train["parts"][1]["corpus"]["max_bytes"] = 50_000
    fresh.configure(config(train, local("held.jsonl"), overlap="exact"))
    planned = fresh.planned(*TARGETS)
    assert "corpus/quality/train.jsonl.zst" in planned
    assert not {f for f in planned if f.startswith(("corpus/download/", "corpus/synthetic/"))}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"path": "none.jsonl"}, "is no file and no folder"),
        ({"path": "."}, "is a link that leads out of the folder"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(fresh, change, says):
    (fresh.root / "escape.txt").symlink_to("/etc/hostname")
    fresh.configure(config(local(**change), local(**change)))
    done = fresh.snakemake(TARGETS[0])
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert says in output
    assert "Traceback" not in output
