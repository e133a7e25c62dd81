from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import orjson
import pytest
from backports import zstd

from vramlab.config.corpus import SyntheticSource
from vramlab.data.corpus.synthetic import documents, write_layout

SOURCE = SyntheticSource(source="synthetic", documents=300)


def words(name: str, quality: str, source: SyntheticSource = SOURCE) -> list[str]:
    """The words of all documents of that quality, without punctuation."""
    found = documents(name, source)
    texts = (d["text"] for d in found if d["meta"]["quality"] == quality)
    return [word.strip(".,?!") for text in texts for word in text.lower().split()]


def test_the_layout(layout: Path) -> None:
    assert orjson.loads((layout / "speakleash.json").read_bytes()) == [
        {"name": "train"},
        {"name": "validation"},
    ]
    for name in ("train", "validation"):
        manifest = orjson.loads((layout / f"{name}.manifest").read_bytes())
        compressed = (layout / f"{name}.jsonl.zst").read_bytes()
        made = [orjson.loads(line) for line in zstd.decompress(compressed).splitlines()]
        assert manifest["name"] == name
        assert manifest["file_size"] == len(compressed)
        assert manifest["stats"]["documents"] == len(made) == 300
        assert manifest["stats"]["characters"] == sum(len(d["text"]) for d in made)
        assert manifest["stats"]["words"] == sum(len(d["text"].split()) for d in made)
        assert manifest["stats"]["quality"] == {"HIGH": 0.7, "MEDIUM": 0.2, "LOW": 0.1}
        labels = Counter(d["meta"]["quality"] for d in made)
        assert labels == {"HIGH": 210, "MEDIUM": 60, "LOW": 30}


def test_same_seed_same_bytes(layout: Path, tmp_path: Path) -> None:
    write_layout({"train": SOURCE, "validation": SOURCE}, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in layout.iterdir())
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (layout / path.name).read_bytes()


def test_seed_and_name_make_other_documents() -> None:
    other_seed = SOURCE.model_copy(update={"seed": SOURCE.seed + 1})
    sets = [
        {d["text"] for d in documents(name, source)}
        for name, source in [("train", SOURCE), ("train", other_seed), ("validation", SOURCE)]
    ]
    assert all(len(texts) == 300 for texts in sets)
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]


def entropies(train: list[str], validation: list[str]) -> tuple[float, float]:
    """Bits per word of `validation` under add-one smoothed uni- and bigrams of `train`."""
    unigrams, bigrams = Counter(train), Counter(itertools.pairwise(train))
    vocabulary = len(set(train) | set(validation))
    single = double = 0.0
    for first, second in itertools.pairwise(validation):
        word = (unigrams[second] + 1) / (len(train) + vocabulary)
        pair = (bigrams[first, second] + 20 * word) / (unigrams[first] + 20)
        single -= math.log2(word)
        double -= math.log2(pair)
    return single / (len(validation) - 1), double / (len(validation) - 1)


def test_a_language_to_be_learned() -> None:
    """What is learned of the training set holds in the validation set; and quality is a thing."""
    single, double = entropies(words("train", "HIGH"), words("validation", "HIGH"))
    assert double < single - 2
    low_single, low_double = entropies(words("train", "HIGH"), words("validation", "LOW"))
    assert low_double > low_single - 0.5


def test_words_follow_zipf() -> None:
    counts = sorted(Counter(words("train", "LOW")).values(), reverse=True)
    assert 5 < counts[0] / counts[50] < 40
    assert len(counts) > 1000


def test_looks_like_prose() -> None:
    text = next(iter(documents("train", SOURCE)))["text"]
    assert "\n\n" in text
    assert any(letter in text for letter in "ąęłńóśźż")
    for paragraph in text.split("\n\n"):
        assert paragraph[0].isupper()
        assert paragraph[-1] in ".?!"


def high(folder: Path, name: str) -> list[str]:
    lines = zstd.decompress((folder / f"{name}.jsonl.zst").read_bytes()).splitlines()
    made = map(orjson.loads, lines)
    return [d["text"] for d in made if d["meta"]["quality"] == "HIGH"]


def test_planted_copies(tmp_path: Path) -> None:
    plain = SyntheticSource(source="synthetic", documents=30)
    write_layout({"train": plain, "validation": plain}, tmp_path / "0")
    planted = plain.model_copy(update={"copies": 4})
    write_layout({"train": plain, "validation": planted}, tmp_path / "4")
    train, validation = (high(tmp_path / "4", name) for name in ("train", "validation"))
    assert train == high(tmp_path / "0", "train")
    assert validation[4:] == high(tmp_path / "0", "validation")[4:]
    assert [validation[0], validation[3]] == [train[0], train[3]]
    pairs = list(zip(validation[1].split(" "), train[1].split(" "), strict=True))
    assert 0 < sum(a != b for a, b in pairs) <= len(pairs) // 100 + 1
    assert train[2].endswith(validation[2])
    assert len(train[2]) // 5 < len(validation[2]) < len(train[2]) // 2


@pytest.mark.parametrize(("count", "length"), [(1, 1), (2, 1), (1, 7), (9, 3)])
def test_small_corpora(tmp_path: Path, count: int, length: int) -> None:
    source = SyntheticSource(source="synthetic", documents=count, words=length)
    write_layout({"train": source}, tmp_path)
    made = list(documents("train", source))
    assert len(made) == count
    assert all(d["text"] for d in made)
    assert any(d["meta"]["quality"] == "HIGH" for d in made)


def test_mean_length() -> None:
    source = SyntheticSource(source="synthetic", documents=1000, words=50)
    lengths = [len(d["text"].split()) for d in documents("train", source)]
    assert sum(lengths) / 1000 == pytest.approx(50, rel=0.05)
    assert min(lengths) >= 25
    assert max(lengths) <= 75
