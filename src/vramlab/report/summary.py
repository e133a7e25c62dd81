"""What a report says, as one JSON file that programs can compare with those of other reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from vramlab.base.provenance import Provenance
from vramlab.report import estimate, longest_sequence, pareto, tables
from vramlab.report.certainty import Certainty
from vramlab.report.fastest_batch import faster_batch
from vramlab.report.language import SOURCE, use
from vramlab.report.load import SETTINGS, Results, Run
from vramlab.report.metrics import COLUMNS, METRICS, STATISTICS, Source, ratio
from vramlab.report.run_settings import RunSettings
from vramlab.report.summary_schema import (
    BatchSpeedSummary,
    LongestSequenceSummary,
    Measure,
    MetricInfo,
    ModelSummary,
    Prediction,
    Recommended,
    RunSummary,
    SearchSummary,
    SplitSummary,
    Summary,
    TrainingSummary,
)
from vramlab.results.base import Record
from vramlab.results.corpus import CorpusRecord
from vramlab.results.estimate import EstimateRecord
from vramlab.results.sequences import SequencesRecord

_AS_ROWS = (
    *("corpus", "overlap", "overlap_pairs"),
    *("marginal_effects", "next_technique", "earlier"),
)
"""The tables whose rows are copied; all others are made of what stands elsewhere in the file."""
_RATIOS = ("max_batch_ratio", "peak_ratio", "speed_ratio")


def summary(
    results: Results, experiment: str, title: str, settings: RunSettings, shape: Mapping[str, Any]
) -> Summary:
    """All that a report says.

    Args:
        results: the records.
        experiment: its name.
        title: of the report.
        settings: of the model and its training.
        shape: the configuration that the model was made from, where there is one.
    """
    with use(SOURCE):
        return _summary(results, experiment, title, settings, shape)


def _summary(
    results: Results, experiment: str, title: str, settings: RunSettings, shape: Mapping[str, Any]
) -> Summary:
    origins = _Origins()
    return Summary(
        experiment=experiment,
        title=title,
        baseline=results.baseline,
        sequence_length=results.length,
        model=ModelSummary(
            source=settings.model.source,
            settings=settings.model.model_dump(mode="json"),
            shape=dict(shape),
            parameters=_parameters(results),
        ),
        training=settings.training,
        seeds=list(settings.seeds),
        data=_data(results),
        metrics={
            name: MetricInfo(label=metric.label, unit=metric.unit, better=metric.better)
            for name, metric in METRICS.items()
        },
        searches=list(_searches(results, origins)),
        runs=[_run(run, results, origins) for run in _runs(results)],
        recommended=[
            Recommended(
                need=choice.need,
                technique=choice.run.technique,
                setting=choice.run.setting,
                tied=[run.technique for run in choice.tied],
            )
            for choice in pareto.recommended(results).found
        ],
        batch_speeds=list(_batch_speeds(results, origins)),
        longest_sequences=list(_longest_sequences(results, origins)),
        predictions=list(_predictions(results)),
        estimates=[e for record in results.records(EstimateRecord) for e in record.estimates],
        origins=origins.found(results.files.values()),
        tables={name: _rows(tables.TABLES[name](results)) for name in _AS_ROWS},
    )


class _Origins:
    """The different origins of records, numbered."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._origins: list[Provenance] = []

    def __call__(self, record: Record) -> int:
        """The number of a record's origin."""
        origin = record.provenance
        rest = {"finished", "config_digest", "code_digest", "command"}
        number = self._numbers.setdefault(origin.model_dump_json(exclude=rest), len(self._origins))
        if number == len(self._origins):
            self._origins.append(origin)
        elif self._origins[number].finished < origin.finished:
            self._origins[number] = origin
        return number

    def found(self, records: Iterable[Record]) -> list[Provenance]:
        """All of them, those of the other records included."""
        for record in records:
            self(record)
        return self._origins


def _parameters(results: Results) -> int | None:
    """Those of the model itself: a technique with adapters has more."""
    counts = [p for run in results.runs("own") if (p := run.profile.parameters) is not None]
    return min(counts, default=None)


def _data(results: Results) -> dict[str, SplitSummary]:
    streams = {stream.split: stream for stream in results.records(SequencesRecord)}
    return {
        corpus.split: SplitSummary(
            source=corpus.source,
            sha256=corpus.sha256,
            documents=corpus.kept,
            characters=corpus.characters,
            utf8_bytes=corpus.utf8_bytes,
            tokens=streams[corpus.split].tokens if corpus.split in streams else None,
            sequences=streams[corpus.split].sequences if corpus.split in streams else {},
        )
        for corpus in results.records(CorpusRecord)
    }


def _searches(results: Results, origins: _Origins) -> Iterator[SearchSummary]:
    for length in results.lengths:
        for name in results.measured(length):
            record = results.searches[length, name]
            yield SearchSummary(
                technique=name,
                axes=record.axes,
                sequence_length=length,
                processes=record.processes,
                status=record.status,
                reason=record.reason,
                bounded_by=record.bounded_by,
                metrics=_numbers(record),
                trials=[{"fits": trial.fits, **_numbers(trial)} for trial in record.trials],
                origin=origins(record),
            )


def _runs(results: Results) -> Iterator[Run]:
    for length in results.lengths:
        for name in results.measured(length):
            for setting in SETTINGS:
                if results.has_run(name, setting, length):
                    yield results.run(name, setting, length)


def _run(run: Run, results: Results, origins: _Origins) -> RunSummary:
    base = results.run(results.baseline, "own", run.length)
    ratios = {name: COLUMNS[name].value(run, base) for name in _RATIOS}
    return RunSummary(
        technique=run.technique,
        sequence_length=run.length,
        setting=run.setting,
        status=run.status,
        reason=run.reason,
        repeatable=run.profile.repeatable,
        flops_note=run.profile.flops_note,
        metrics=dict(_measures(run)),
        ratios={name: value for name, value in ratios.items() if value is not None},
        trainings=[
            TrainingSummary(
                seed=epoch.seed,
                status=epoch.status,
                reason=epoch.reason,
                metrics=_numbers(epoch),
                origin=origins(epoch),
            )
            for epoch in run.epochs
        ],
        origin=origins(run.profile),
    )


def _measures(run: Run) -> Iterator[tuple[str, Measure]]:
    """What is known of a run, beside what each trial and training has of its own."""
    for name, metric in METRICS.items():
        value = metric.value(run)
        if value is not None:
            yield name, _measure(value, metric.samples(run))


def _measure(value: float, samples: Sequence[float]) -> Measure:
    spread = {key: compute(samples) for key, compute in STATISTICS.items()}
    return Measure(value=value, samples=len(samples), **(spread if len(samples) > 1 else {}))


def _batch_speeds(results: Results, origins: _Origins) -> Iterator[BatchSpeedSummary]:
    certainty, rate = Certainty(results), METRICS["tokens_per_second"]
    for name, record in results.batch_speeds.items():
        rates = [rate.of(speed) for speed in record.speeds]
        faster = faster_batch(results, name, certainty)
        yield BatchSpeedSummary(
            technique=name,
            status=record.status,
            reason=record.reason,
            batches=[
                {
                    key: _measure(value, metric.read(speed))
                    for key, metric in METRICS.items()
                    if (value := metric.of(speed)) is not None
                }
                for speed in record.speeds
            ],
            ratios=[ratio(value, rates[0]) for value in rates],
            fastest=faster.batch_size if faster else None,
            origin=origins(record),
        )


def _longest_sequences(results: Results, origins: _Origins) -> Iterator[LongestSequenceSummary]:
    rows = _rows(longest_sequence.longest_sequences(results))
    for row in rows:
        record = results.longest_sequences[row["technique"]]
        yield LongestSequenceSummary(
            technique=record.technique,
            status=record.status,
            reason=record.reason,
            bounded_by=record.bounded_by,
            metrics=_numbers(record) | _picked(row, lambda name: name == "times_baseline"),
            predicted=row.get("predicted_longest"),
            error_percent=row.get("longest_error_percent"),
            trials=[{"fits": trial.fits, **_numbers(trial)} for trial in record.trials],
            origin=origins(record),
        )


def _numbers(record: Source) -> dict[str, float]:
    """The metrics that a record holds."""
    values = ((name, metric.of(record)) for name, metric in METRICS.items())
    return {name: value for name, value in values if value is not None}


def _predictions(results: Results) -> Iterator[Prediction]:
    if not results.records(EstimateRecord):
        return
    for row in _rows(estimate.comparison(results)):
        if "sequence_length" not in row:  # a sentence: nothing that was predicted was measured
            continue
        yield Prediction(
            technique=row["technique"],
            sequence_length=row["sequence_length"],
            predicted=_picked(row, lambda name: name.startswith("predicted_")),
            measured=_picked(row, lambda name: name in METRICS),
            errors_percent=_picked(row, lambda name: name.endswith("_error_percent")),
            note=row.get("note", ""),
        )


def _picked(row: Mapping[str, Any], wanted: Callable[[str], bool]) -> dict[str, float]:
    return {name: value for name, value in row.items() if wanted(name)}


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, without its empty cells."""
    return [
        {str(name): value for name, value in row.items() if not pd.isna(value)}
        for row in frame.to_dict("records")
    ]
