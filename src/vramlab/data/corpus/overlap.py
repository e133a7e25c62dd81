"""What the validation corpus shares with the training corpus, and each corpus with itself.

Three kinds of overlap, from the surest on: *exact* copies (the same words in the same order),
*near* copies (alike by MinHash), *excerpts* (documents whose n-grams occur in a training document).

Both corpora stream by once. Memory is 0.3 GiB at most for the process and the sample of n-grams,
which is bounded, and about 0.6 KiB a document while signatures are compared (see `ngrams` and
`duplicates`). Measured: 0.29 GiB for 500 MB in 926 novels, 0.38 GiB for 500 MB in 272,000 pages,
0.59 GiB for 1.25 GB in 680,000 pages; so 2 GB of novels take 0.3 GiB, of a million pages 0.8 GiB.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from backports import zstd

from vramlab.base.errors import CorpusError
from vramlab.base.files import atomic_path
from vramlab.base.progress import Advance, progress
from vramlab.config.corpus import OverlapPolicy
from vramlab.data.corpus.documents import read_documents
from vramlab.data.corpus.duplicates import Matches, Signatures
from vramlab.data.corpus.fingerprint import word_hashes
from vramlab.data.corpus.lines import COMPRESSION, read_lines
from vramlab.data.corpus.ngrams import NgramIndex
from vramlab.results.overlap import OverlapKind, OverlapPair

PAIRS = 25
"""Most pairs of documents that are listed."""
_OPENING = 60
_MIN_SHARE = 0.01


@dataclass(frozen=True)
class Split:
    """One corpus: which of its documents repeat an earlier one."""

    documents: int
    inside: Matches
    """Each document against the earlier ones of the same corpus."""


@dataclass(frozen=True)
class Overlap:
    """What the two corpora share."""

    threshold: float
    train: Split
    validation: Split
    across: Matches
    """[validation documents], each against the training documents."""
    ngrams: npt.NDArray[np.int64]
    """[validation documents], the distinct n-grams that were looked for."""
    seen: npt.NDArray[np.int64]
    """[validation documents], those of them that occur in the training corpus."""
    seen_in_one: npt.NDArray[np.int64]
    """[validation documents], those that occur in the training document that has most of them."""
    source: npt.NDArray[np.int64]
    """[validation documents], that training document; -1 where there is none."""
    sampled: float
    """Share of all n-grams that were looked for."""

    def share(self) -> npt.NDArray[np.float64]:
        """[validation documents], the share of the n-grams that the training corpus has."""
        return _divided(self.seen, self.ngrams)

    def share_in_one(self) -> npt.NDArray[np.float64]:
        """[validation documents], the share that one training document has."""
        return _divided(self.seen_in_one, self.ngrams)

    def kinds(self) -> list[OverlapKind | None]:
        """[validation documents], how each overlaps with the training corpus; None: it does not."""
        near = self.across.partner >= 0
        # A few n-grams could be a quotation: an excerpt has most of its words elsewhere.
        excerpt = (self.share() >= self.threshold) & (self.ngrams > 0)
        return [
            "exact" if exact else "near" if alike else "excerpt" if part else None
            for exact, alike, part in zip(self.across.exact, near, excerpt, strict=True)
        ]

    def counts(self) -> dict[str, Any]:
        """The fields of an `OverlapRecord` that count."""
        splits = {"train": self.train, "validation": self.validation}
        kinds = self.kinds()
        # A document too short for an n-gram has no share of them, even where it is a copy.
        bins = np.minimum(self.share()[self.ngrams > 0] * 10, 9).astype(np.int64)
        return {
            "documents": {name: split.documents for name, split in splits.items()},
            "exact_duplicates": {n: int(s.inside.exact.sum()) for n, s in splits.items()},
            "near_duplicates": {
                n: int((s.inside.partner >= 0).sum() - s.inside.exact.sum())
                for n, s in splits.items()
            },
            "leaked": {kind: kinds.count(kind) for kind in get_args(OverlapKind)},
            "ngrams": int(self.ngrams.sum()),
            "ngrams_seen": int(self.seen.sum()),
            "sampled": self.sampled,
            "shares": np.bincount(bins, minlength=10).tolist(),
        }

    def dropped(self, policy: OverlapPolicy) -> dict[str, npt.NDArray[np.bool_]]:
        """Which documents of each split the policy drops, [documents] each.

        `exact` drops exact copies, `near` every overlap: of validation documents with the training
        corpus, and of documents with an earlier one of the same corpus.
        """
        repeated = {"train": self.train.inside, "validation": self.validation.inside}
        if policy == "none":
            return {split: np.zeros(len(m.partner), np.bool_) for split, m in repeated.items()}
        exact_only = policy == "exact"
        drop = {
            split: m.exact.copy() if exact_only else m.partner >= 0 for split, m in repeated.items()
        }
        leaked = [kind == "exact" if exact_only else kind is not None for kind in self.kinds()]
        drop["validation"] |= np.array(leaked, np.bool_)
        return drop


def measure(train: Path, validation: Path, threshold: float) -> Overlap:
    """Compare two corpora.

    Args:
        train: `.jsonl.zst` of the training documents.
        validation: `.jsonl.zst` of the validation documents.
        threshold: least Jaccard similarity of a near copy, least share of n-grams of an excerpt.

    Raises:
        CorpusError: a file is missing or damaged.
    """
    index, own, both = NgramIndex(), Signatures(), Signatures()
    sizes = [path.stat().st_size if path.is_file() else 0 for path in (validation, train)]
    with progress("compare train and validation", sum(sizes), "B") as advance:
        asked = 0
        for words in _fingerprints(validation, advance):
            own.add(words)
            index.add(words)
            asked += 1
        index.freeze()
        trained = 0
        for words in _fingerprints(train, advance):
            both.add(words)
            index.look(words, trained)
            trained += 1
    inside_validation = own.matches(threshold)
    inside_train = both.matches(threshold)
    both.extend(own)
    across = both.matches(threshold, border=trained)
    return Overlap(
        threshold=threshold,
        train=Split(trained, inside_train),
        validation=Split(asked, inside_validation),
        across=Matches(
            across.partner[trained:], across.similarity[trained:], across.exact[trained:]
        ),
        ngrams=index.sizes,
        seen=index.seen(),
        seen_in_one=index.best,
        source=index.partner,
        sampled=index.sampled,
    )


def worst_pairs(overlap: Overlap, train: Path, validation: Path) -> list[OverlapPair]:
    """The validation documents that overlap most, each with its training document; worst first.

    Raises:
        CorpusError: a file is missing or damaged.
    """
    share, in_one, kinds = overlap.share(), overlap.share_in_one(), overlap.kinds()
    severity = np.maximum(overlap.across.similarity, share)
    ranked = np.argsort(-severity, kind="stable")[:PAIRS]
    worst = [int(i) for i in ranked if kinds[i] or severity[i] >= _MIN_SHARE]
    partners = {
        i: int(p if (p := overlap.across.partner[i]) >= 0 else overlap.source[i]) for i in worst
    }
    asked = _openings(validation, set(partners))
    trained = _openings(train, set(partners.values()))
    return [
        OverlapPair(
            validation=i + 1,
            train=partners[i] + 1,
            kind=kinds[i] or "part",
            similarity=float(overlap.across.similarity[i]) or None,
            share=float(share[i]),
            share_in_one=float(in_one[i]),
            validation_opening=asked[i],
            train_opening=trained[partners[i]],
        )
        for i in worst
    ]


def drop_documents(source: Path, target: Path, dropped: npt.NDArray[np.bool_]) -> None:
    """Copy a corpus without some of its documents; the lines stay as they are.

    Args:
        source: `.jsonl.zst` to read.
        target: `.jsonl.zst` to write, whole or not at all.
        dropped: [documents], whether each is left out.

    Raises:
        CorpusError: the source is damaged, or no document would be left.
    """
    if dropped.all():
        raise CorpusError(
            f"{source}: all of its {len(dropped)} documents overlap with others; set "
            "corpus.overlap to none or exact, or give another validation corpus"
        )
    with atomic_path(target) as temporary:
        if not dropped.any():
            shutil.copyfile(source, temporary)
            return
        with zstd.ZstdFile(temporary, "w", options=COMPRESSION) as output:
            for drop, (_, line) in zip(dropped, read_lines(source), strict=True):
                if not drop:
                    output.write(line if line.endswith(b"\n") else line + b"\n")


def _fingerprints(path: Path, advance: Advance) -> Iterator[npt.NDArray[np.uint64]]:
    for text in read_documents(path, advance):
        yield word_hashes(text)


def _openings(path: Path, wanted: set[int]) -> dict[int, str]:
    """The first words of some documents, by their index."""
    found: dict[int, str] = {}
    for index, text in enumerate(read_documents(path) if wanted else ()):
        if index in wanted:
            found[index] = " ".join(text[: 4 * _OPENING].split())[:_OPENING]
            if len(found) == len(wanted):
                break
    return found


def _divided(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return part / np.maximum(whole, 1)
