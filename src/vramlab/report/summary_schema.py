"""The form of `report/summary.json`: one file a report, for programs that compare reports.

`docs/summary.schema.json` is made from it (`make reference`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from vramlab.base.files import write_text
from vramlab.base.provenance import Provenance
from vramlab.config.technique import Setting, Technique
from vramlab.config.training import TrainingConfig
from vramlab.results.estimate import Estimate
from vramlab.results.run import Status

VERSION: Literal[1] = 1
"""Increased when a field is renamed or removed, or its meaning changes; a new one is none."""
NAME = "summary.schema.json"


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )


class MetricInfo(_Part):
    """What a number is."""

    label: str
    """Its name in English."""
    unit: str
    """Empty for a number without a unit."""
    better: Literal["lower", "higher"] | None
    """Which way is better; null where neither is."""


class Measure(_Part):
    """A number with its spread."""

    value: float
    """The one value: a median of step times, a mean of seeds."""
    samples: int
    """How many values it is of."""
    mean: float | None = None
    """Of the samples; this and the following are there for two samples or more."""
    median: float | None = None
    sd: float | None = None
    """Sample standard deviation."""
    min: float | None = None
    max: float | None = None


class ModelSummary(_Part):
    """The model that was trained."""

    source: Literal["decoder", "transformers", "python"]
    settings: dict[str, Any]
    """The section `model` of the configuration: the shape, or where it comes from."""
    shape: dict[str, Any]
    """The configuration of transformers that was measured, such as hidden_size, with the overrides
    and the tokens of the tokenizer; empty for another source, and for a name on the hub."""
    parameters: int | None
    """Of the model without adapters; null where none was profiled."""


class SplitSummary(_Part):
    """The training or validation data."""

    source: str
    """URL or folder."""
    sha256: str
    """SHA-256 of the file; for a mix, of all files in order."""
    documents: int
    """After the quality filter."""
    characters: int
    utf8_bytes: int
    tokens: int | None
    """Of the stream that is trained on, after overlap is dropped; null where none was made."""
    sequences: dict[int, int]
    """Number of sequences, by their length in tokens."""


class SearchSummary(_Part):
    """The search for the largest batch of a technique at one sequence length."""

    technique: str
    axes: Technique
    """The value on each axis, defaults included."""
    sequence_length: int
    processes: int
    status: Status
    reason: str
    """Why it was skipped or found nothing; empty where it found a batch."""
    bounded_by: Literal["memory", "configuration", "kernel"]
    """What ended the search."""
    metrics: dict[str, float]
    """Such as max_batch_size."""
    trials: list[dict[str, float | bool]]
    """Each batch that was tried, in order: `fits`, and its metrics."""
    origin: int
    """Index into `origins`."""


class RunSummary(_Part):
    """A technique at one sequence length and one batch."""

    technique: str
    sequence_length: int
    setting: Setting
    """equal: at the largest batch of the baseline; own: at its own. The baseline has one run, own,
    which is both."""
    status: Status
    """The first status that is not ok, of the profile and the trainings."""
    reason: str
    """Why the status is not ok."""
    repeatable: bool | None
    """Whether the same steps from the same seed gave the same bits; null where not measured."""
    flops_note: str
    """Why operations are not known."""
    metrics: dict[str, Measure]
    """What was measured; the names are those of the columns of the CSV files."""
    ratios: dict[str, float]
    """Times the baseline's value at the same sequence length."""
    trainings: list[TrainingSummary]
    """One a seed; none at the lengths of a sweep."""
    origin: int
    """Index into `origins`, of the profile."""


class TrainingSummary(_Part):
    """One training run."""

    seed: int
    status: Status
    reason: str
    metrics: dict[str, float]
    origin: int
    """Index into `origins`."""


class BatchSpeedSummary(_Part):
    """The speed of a technique at several batch sizes, at the main sequence length."""

    technique: str
    status: Status
    reason: str
    batches: list[dict[str, Measure]]
    """From the largest batch downwards; by metric, such as batch_size and tokens_per_second."""
    ratios: list[float | None]
    """The speed of each, times that of the largest; null where memory ran out."""
    fastest: int | None
    """The batch that is for certain faster than the largest; null where none is."""
    origin: int
    """Index into `origins`."""


class LongestSequenceSummary(_Part):
    """The search for the longest sequence of a technique."""

    technique: str
    status: Status
    reason: str
    bounded_by: Literal["memory", "model"]
    """What ended the search."""
    metrics: dict[str, float]
    """Such as longest_sequence and batch_size."""
    predicted: int | None
    """Tokens that were predicted under the same limit; null where none were."""
    error_percent: float | None
    """Of the prediction."""
    trials: list[dict[str, float | bool]]
    """Each length that was tried, in order: `fits`, and its metrics."""
    origin: int
    """Index into `origins`."""


class Prediction(_Part):
    """Predicted beside measured, at one sequence length."""

    technique: str
    sequence_length: int
    predicted: dict[str, float]
    """Such as predicted_batch_size; by the columns of the table `estimate`."""
    measured: dict[str, float]
    """The same of what was measured."""
    errors_percent: dict[str, float]
    """Of the prediction, in percent of what was measured."""
    note: str
    """What the prediction leaves out, where the error is large."""


class Recommended(_Part):
    """A technique for one need."""

    need: str
    """memory, speed or balance."""
    technique: str
    setting: Setting
    tied: list[str]
    """For speed: techniques that are not slower for certain."""


class Summary(_Part):
    """A whole report."""

    summary_version: Literal[1] = VERSION
    experiment: str
    title: str
    """Empty for the default title."""
    baseline: str
    """The technique that ratios compare with."""
    sequence_length: int
    """The main one, at which whole epochs are trained."""
    model: ModelSummary
    training: TrainingConfig
    """The section of the configuration, defaults included."""
    seeds: list[int]
    """Each repeats every training."""
    data: dict[str, SplitSummary]
    """By split: train, validation."""
    metrics: dict[str, MetricInfo]
    """What each metric below is, by name."""
    origins: list[Provenance]
    """Code, versions, device and time of each record. Those that differ in nothing but the time
    and the digest of the settings are one, with the time of the last."""
    recommended: list[Recommended]
    searches: list[SearchSummary]
    runs: list[RunSummary]
    batch_speeds: list[BatchSpeedSummary]
    longest_sequences: list[LongestSequenceSummary]
    predictions: list[Prediction]
    """Where both were made."""
    estimates: list[Estimate]
    """All predictions, measured or not."""
    tables: dict[str, list[dict[str, Any]]]
    """The rows of the other CSV files: of the data, and of techniques compared with each other."""


def schema() -> str:
    """The JSON schema."""
    return json.dumps(Summary.model_json_schema(), indent=1) + "\n"


def main(folder: Path) -> None:
    """Write the schema into `folder`."""
    write_text(folder / NAME, schema())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
