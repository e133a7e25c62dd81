"""The result files of an experiment, as the report sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from vramlab.base.errors import ResultError
from vramlab.config.technique import Setting, Technique
from vramlab.results.base import Record, read
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.batch_speed import BatchSpeedRecord
from vramlab.results.corpus import CorpusRecord
from vramlab.results.epoch import EpochRecord
from vramlab.results.estimate import EstimateRecord
from vramlab.results.longest_sequence import LongestSequenceRecord
from vramlab.results.memory import Memory
from vramlab.results.overlap import OverlapRecord
from vramlab.results.profile import ProfileRecord
from vramlab.results.run import Status
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import TokenizerRecord

R = TypeVar("R", bound=Record)

SETTINGS: tuple[Setting, ...] = ("equal", "own")
KINDS: dict[str, type[Record]] = {
    "corpus": CorpusRecord,
    "overlap": OverlapRecord,
    "tokenizer": TokenizerRecord,
    "sequences": SequencesRecord,
    "batch_size": BatchSizeRecord,
    "estimate": EstimateRecord,
    "profile": ProfileRecord,
    "batch_speed": BatchSpeedRecord,
    "longest_sequence": LongestSequenceRecord,
    "epoch": EpochRecord,
}
"""The records of each stage, by the name of its folder."""


@dataclass(frozen=True)
class Run:
    """One technique at one sequence length and batch setting: all that was measured of it."""

    setting: Setting
    search: BatchSizeRecord
    profile: ProfileRecord
    epochs: tuple[EpochRecord, ...]
    """By seed; none at the lengths of a sweep."""

    @property
    def technique(self) -> str:
        """Name of the technique."""
        return self.search.technique

    @property
    def axes(self) -> Technique:
        """What the technique is made of."""
        return self.search.axes

    @property
    def length(self) -> int:
        """Sequence length in tokens."""
        return self.search.sequence_length

    @property
    def status(self) -> Status:
        """The first status that is not ok: of the profile, then of the epochs by seed."""
        return next((part.status for part in self._failures()), "ok")

    @property
    def reason(self) -> str:
        """Why the status is not ok."""
        return next((part.reason for part in self._failures()), "")

    def _failures(self) -> Iterator[ProfileRecord | EpochRecord]:
        return (part for part in self._parts if part.status != "ok")

    @property
    def _parts(self) -> list[ProfileRecord | EpochRecord]:
        return [self.profile, *self.epochs]

    @property
    def batch_size(self) -> int | None:
        """Sequences on a device at a time; None where nothing ran."""
        return next((part.batch_size for part in self._parts if part.batch_size), None)

    @property
    def memory(self) -> Memory | None:
        """Memory at the moments of a step; None where the profile failed."""
        return self.profile.memory if self.profile.status == "ok" else None

    @cached_property
    def trained(self) -> list[EpochRecord]:
        """The training runs that came to their end."""
        return [epoch for epoch in self.epochs if epoch.status == "ok"]

    @property
    def completed(self) -> bool:
        """Whether there was a training, and every seed came to its end."""
        return bool(self.trained) and len(self.trained) == len(self.epochs)


@dataclass(frozen=True)
class Results:
    """All result files of an experiment."""

    baseline: str
    length: int
    """The main sequence length, at which whole epochs are trained."""
    techniques: tuple[str, ...]
    """In the order of the configuration."""
    files: Mapping[str, Record]
    """Every record by the path of its file."""
    earlier: Mapping[str, Results] = field(default_factory=dict)
    """Earlier runs to compare with, by the paths of their folders."""

    def records(self, kind: type[R]) -> list[R]:
        """The records of one kind, in the order of the files."""
        return [record for record in self.files.values() if isinstance(record, kind)]

    @cached_property
    def searches(self) -> dict[tuple[int, str], BatchSizeRecord]:
        """The search for the largest batch, by sequence length and technique."""
        return {(r.sequence_length, r.technique): r for r in self.records(BatchSizeRecord)}

    @cached_property
    def lengths(self) -> list[int]:
        """All sequence lengths, ascending."""
        return sorted({length for length, _ in self.searches})

    def measured(self, length: int) -> list[str]:
        """The techniques that were measured at a sequence length."""
        return [name for name in self.techniques if (length, name) in self.searches]

    def swept(self, technique: str) -> bool:
        """Whether a technique was measured at several sequence lengths."""
        return all((length, technique) in self.searches for length in self.lengths)

    @cached_property
    def batch_speeds(self) -> dict[str, BatchSpeedRecord]:
        """The speeds of several batch sizes at the main sequence length, by technique."""
        return {
            record.technique: record
            for record in self.records(BatchSpeedRecord)
            if record.sequence_length == self.length
        }

    @cached_property
    def longest_sequences(self) -> dict[str, LongestSequenceRecord]:
        """The search for the longest sequence, by technique."""
        return {
            record.technique: record
            for record in self.records(LongestSequenceRecord)
            if record.sequence_length == self.length
        }

    def max_batch_size(self, technique: str, length: int | None = None) -> int | None:
        """The largest batch of a technique; None where it has none."""
        return self.searches[length or self.length, technique].max_batch_size

    def has_run(self, technique: str, setting: Setting, length: int) -> bool:
        """Whether there are results of a technique at a batch setting of its own name."""
        return (length, technique, setting) in self._profiles

    def run(self, technique: str, setting: Setting, length: int | None = None) -> Run:
        """One run; the baseline's own largest batch is the equal one as well."""
        length = length or self.length
        stored = "own" if technique == self.baseline else setting
        epochs = self._epochs.get((length, technique, stored), [])
        try:
            search = self.searches[length, technique]
            profile = self._profiles[length, technique, stored]
        except KeyError:
            raise ResultError(
                f"the results lack {technique!r} at {length} tokens and its {stored} batch; "
                "delete its files and run snakemake again"
            ) from None
        return Run(setting, search, profile, tuple(sorted(epochs, key=lambda e: e.seed)))

    def runs(self, setting: Setting, length: int | None = None) -> list[Run]:
        """All techniques at one batch setting, in the order of the configuration."""
        length = length or self.length
        return [self.run(name, setting, length) for name in self.measured(length)]

    @cached_property
    def _profiles(self) -> dict[tuple[int, str, str], ProfileRecord]:
        return {(r.sequence_length, r.technique, r.setting): r for r in self.records(ProfileRecord)}

    @cached_property
    def _epochs(self) -> dict[tuple[int, str, str], list[EpochRecord]]:
        found: dict[tuple[int, str, str], list[EpochRecord]] = {}
        for record in self.records(EpochRecord):
            key = record.sequence_length, record.technique, record.setting
            found.setdefault(key, []).append(record)
        return found


def load(
    files: Mapping[str, Iterable[str]],
    baseline: str,
    length: int,
    techniques: Iterable[str],
    peak_tflops: Mapping[str, float | None] | None = None,
) -> Results:
    """Read the result files of an experiment.

    Args:
        files: paths by the name of the stage's folder (see KINDS).
        baseline: the technique that the others are compared with.
        length: the main sequence length in tokens.
        techniques: all techniques, in the order in which they are shown.
        peak_tflops: what the configuration says of the card's peaks, by the type of products.

    Raises:
        ResultError: a file is missing, damaged, or of another version of vramlab.
    """
    records = {path: read(KINDS[stage], path) for stage, paths in files.items() for path in paths}
    given = {kind: peak for kind, peak in (peak_tflops or {}).items() if peak is not None}
    records = {path: _with_peak(record, given) for path, record in records.items()}
    return Results(baseline, length, tuple(techniques), records)


def _with_peak(record: Record, given: Mapping[str, float]) -> Record:
    """A profile with the peak that the configuration gives for its precision."""
    if not isinstance(record, ProfileRecord):
        return record
    peak = given.get(record.axes.computes_in.products)
    return record if peak is None else record.model_copy(update={"peak_tflops": peak})
