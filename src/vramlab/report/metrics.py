"""The metrics: each number that the report shows of a run, declared once.

A metric knows how its number is read from the records, what it is called, in which unit it is, and
which way is better. Tables, figures, sentences, the comparison with earlier runs and the
recommendation pick metrics by name, so a new number is one entry here and its name where it shows.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vramlab.base.cards import peak_tflops
from vramlab.base.host_load import HostLoad
from vramlab.report import wording
from vramlab.report.language import mark
from vramlab.report.load import Run
from vramlab.report.wording import MIB
from vramlab.results.batch_size import BatchSizeRecord, Trial
from vramlab.results.batch_speed import BatchSpeed
from vramlab.results.epoch import EpochRecord
from vramlab.results.longest_sequence import LengthTrial, LongestSequenceRecord
from vramlab.results.memory import KINDS
from vramlab.results.profile import ProfileRecord
from vramlab.results.run import RunRecord

Values = Sequence[float] | float | None
"""What is read from a record: one number, several samples, or None where it is not known."""
Source = BatchSizeRecord | Trial | ProfileRecord | BatchSpeed | LongestSequenceRecord | EpochRecord


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean; None of nothing. One value stays as it is: a whole number whole."""
    if len(values) < 2:
        return values[0] if values else None
    return statistics.fmean(values)


def median(values: Sequence[float]) -> float | None:
    """The median; None of nothing."""
    return statistics.median(values) if values else None


def least(values: Sequence[float]) -> float | None:
    """The smallest; None of nothing."""
    return min(values, default=None)


def deviation(values: Sequence[float]) -> float | None:
    """The standard deviation of a sample; None of fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def ratio(value: float | None, base: float | None) -> float | None:
    """How many times `base`; None where one of the two is not known."""
    return value / base if value is not None and base else None


def plain(value: float) -> str:
    """A value without a unit: 36.1; a whole number in full."""
    return wording.integer(value) if isinstance(value, int) else wording.number(value)


STATISTICS: dict[str, Callable[[Sequence[float]], float | None]] = {
    "median": median,
    "mean": mean,
    "sd": deviation,
    "min": least,
    "max": lambda values: max(values, default=None),
}
"""What may be computed of the samples of a metric, by the end of its column's name."""


@dataclass(frozen=True)
class Metric:
    """One number of a run. It is read from each kind of record that has a reader here."""

    name: str
    """Its column in a CSV; where there are several, what their names begin with."""
    label: str
    """Its name in running text, in English; with the unit, except for sizes, whose unit a table
    adds."""
    unit: str = ""
    better: Literal["lower", "higher"] | None = None
    text: Callable[[float], str] = plain
    """How a sentence or a figure writes a value, with a unit only where the unit may vary."""
    search: Callable[[BatchSizeRecord], Values] | None = None
    trial: Callable[[Trial], Values] | None = None
    profile: Callable[[ProfileRecord], Values] | None = None
    batch_speed: Callable[[BatchSpeed], Values] | None = None
    sequence: Callable[[LongestSequenceRecord], Values] | None = None
    epoch: Callable[[EpochRecord], Values] | None = None
    unfinished: bool = False
    """Whether a profile or an epoch that failed tells this number as well."""
    average: Callable[[Sequence[float]], float | None] = mean
    """The one value for several samples."""
    overall: Callable[[ProfileRecord], float | None] | None = None
    """The one value of a profile, where it is no average of the samples."""
    statistics: Mapping[str, str] = field(default_factory=dict)
    """The columns `<name>_<statistic>`: a label for each of STATISTICS that tables show."""

    @property
    def needs_epoch(self) -> bool:
        """Whether it is known only of what was trained for whole epochs."""
        return self.epoch is not None and not (self.search or self.profile)

    def samples(self, run: Run) -> list[float]:
        """All values of a run: of its profile, else of its search, else of its epochs (seeds)."""
        records: Sequence[Source] = run.epochs
        if self.profile:
            records = [run.profile]
        elif self.search:
            records = [run.search]
        return [value for record in records for value in self.read(record)]

    def value(self, run: Run) -> float | None:
        """The one value of a run; None where it was not measured."""
        return self.of(run.profile) if self.overall else self.average(self.samples(run))

    def shown(self, run: Run) -> str:
        """The one value of a run as a sentence writes it; a dash where it was not measured."""
        value = self.value(run)
        return "–" if value is None else self.text(value)

    def spread(self, run: Run) -> float | None:
        """The standard deviation of the samples of a run; None of fewer than two."""
        return deviation(self.samples(run))

    def read(self, record: Source) -> list[float]:
        """The values of one record; none where it failed, or says nothing of this metric."""
        readers: dict[type, Callable[[Any], Values] | None] = {
            BatchSizeRecord: self.search,
            Trial: self.trial,
            LengthTrial: self.trial,
            LongestSequenceRecord: self.sequence,
            ProfileRecord: self.profile,
            BatchSpeed: self.batch_speed,
            EpochRecord: self.epoch,
        }
        read = readers[type(record)]
        failed = isinstance(record, ProfileRecord | EpochRecord) and record.status != "ok"
        if read is None or (failed and not self.unfinished):
            return []
        values = read(record)
        if values is None:
            return []
        return [values] if isinstance(values, int | float) else list(values)

    def of(self, record: Source) -> float | None:
        """The one value of a record; None where it is not known."""
        if self.overall and isinstance(record, ProfileRecord) and record.status == "ok":
            return self.overall(record)
        return self.average(self.read(record))


def _mib(size: int | None) -> float | None:
    return None if size is None else size / MIB


def size_text(mib: float) -> str:
    """A size with its unit."""
    return wording.memory(mib * MIB)


def step_tokens(profile: ProfileRecord) -> int | None:
    """Tokens of a timed step, on all devices; None where nothing ran."""
    sequences = profile.sequences_per_step or profile.batch_size
    return sequences * profile.sequence_length if sequences else None


def _step_ms(profile: ProfileRecord) -> list[float]:
    return [seconds * 1e3 for seconds in profile.step_seconds]


def _speeds(profile: ProfileRecord) -> list[float]:
    tokens = step_tokens(profile)
    return [tokens / ms * 1e3 for ms in _step_ms(profile)] if tokens else []


def _speed(profile: ProfileRecord) -> float | None:
    tokens, ms = step_tokens(profile), median(_step_ms(profile))
    return tokens / ms * 1e3 if tokens and ms else None


def _microjoules(profile: ProfileRecord) -> float | None:
    tokens, steps = step_tokens(profile), len(profile.step_seconds)
    if profile.energy_joules is None or not tokens or not steps:
        return None
    return profile.energy_joules / (tokens * steps) * 1e6


def peak_of(profile: ProfileRecord) -> float | None:
    """Peak of a device in TFLOP/s: of the configuration, else of the table of cards."""
    device = profile.provenance.device
    if profile.peak_tflops is not None or device is None or device.kind == "cpu":
        return profile.peak_tflops
    return peak_tflops(device.name, profile.axes.computes_in.products)


def _tflops(profile: ProfileRecord, flops_per_token: float | None) -> float | None:
    """TFLOP/s of all devices."""
    speed = _speed(profile)
    return speed * flops_per_token / 1e12 if speed and flops_per_token else None


def _utilisation(profile: ProfileRecord, flops_per_token: float | None) -> float | None:
    """Percent of the peak of all devices; None where one of the two is not known."""
    share = ratio(_tflops(profile, flops_per_token), peak_of(profile))
    return None if share is None else 100 * share / profile.processes


def _mega(flops: float | None) -> float | None:
    return None if flops is None else flops / 1e6


def _cores_used(load: HostLoad | None) -> float | None:
    """CPU time over time: how many cores the process had on average."""
    return load.cpu_seconds / load.wall_seconds if load and load.wall_seconds else None


def _other_cores(load: HostLoad | None) -> float | None:
    """How many cores programs outside the run used on average."""
    if load is None or load.other_seconds is None or not load.wall_seconds:
        return None
    return load.other_seconds / load.wall_seconds


def _processes(record: RunRecord) -> int | None:
    """None of one, which leaves the column out where no technique takes more."""
    return record.processes if record.processes > 1 else None


def _at(moment: str) -> Callable[[ProfileRecord], float | None]:
    """Live bytes at one moment of a step."""
    return lambda p: _mib(getattr(p.memory, moment).allocated) if p.memory else None


def _size(name: str, label: str, **readers: Any) -> Metric:
    """A size of memory, of which less is better."""
    return Metric(f"{name}_mib", label, "MiB", "lower", size_text, **readers)


def _kind(kind: str) -> Metric:
    """Live bytes of one kind at the peak; what it is called is in `wording`."""
    name = kind.replace(" ", "_").replace("-", "_")
    return _size(name, kind, profile=lambda p: _mib(p.memory and p.memory.by_kind.get(kind)))


KIND_METRICS = {metric.name: metric for metric in map(_kind, KINDS)}
"""What the peak is told apart into, in the order of KINDS."""
_ALL = (
    # The search for the largest batch.
    Metric(
        "max_batch_size",
        mark("largest batch"),
        "sequences",
        "higher",
        search=lambda s: s.results or s.max_batch_size,
        average=least,
        statistics={
            "max": mark("largest batch, best search"),
            "sd": mark("largest batch sd"),
        },
    ),
    Metric(
        "longest_sequence",
        mark("longest sequence"),
        "tokens",
        "higher",
        sequence=lambda s: s.longest,
    ),
    Metric(
        "length",
        mark("tokens of a sequence"),
        "tokens",
        trial=lambda t: t.length if isinstance(t, LengthTrial) else None,
    ),
    Metric(
        "limit_mib",
        mark("limit"),
        "MiB",
        search=lambda s: _mib(s.memory_limit),
        sequence=lambda s: _mib(s.memory_limit),
    ),
    Metric(
        "headroom_mib",
        mark("headroom"),
        "MiB",
        search=lambda s: _mib(s.headroom or None),
        sequence=lambda s: _mib(s.headroom or None),
    ),
    Metric("missing_mib", mark("short by"), "MiB", trial=lambda t: _mib(t.missing)),
    Metric("kernel_limit", mark("kernel takes"), trial=lambda t: t.kernel_limit),
    Metric("seconds", mark("time (s)"), "s", trial=lambda t: t.seconds),
    # What a run was made with.
    Metric(
        "batch_size",
        mark("batch size"),
        "sequences",
        trial=lambda t: t.batch_size,
        profile=lambda p: p.batch_size,
        batch_speed=lambda b: b.batch_size,
        sequence=lambda s: s.batch_size,
        epoch=lambda e: e.batch_size,
        unfinished=True,
    ),
    Metric(
        "processes",
        mark("processes"),
        search=_processes,
        profile=_processes,
        sequence=_processes,
        epoch=_processes,
    ),
    Metric("seed", mark("seed"), epoch=lambda e: e.seed, unfinished=True),
    Metric("accumulation", mark("accumulation"), epoch=lambda e: e.accumulation),
    Metric(
        "sequences_per_step",
        mark("sequences per step"),
        "sequences",
        profile=lambda p: p.sequences_per_step,
        epoch=lambda e: e.sequences_per_step,
        unfinished=True,
    ),
    Metric(
        "learning_rate", mark("learning rate"), epoch=lambda e: e.learning_rate, unfinished=True
    ),
    Metric("parameters", mark("parameters of the model"), profile=lambda p: p.parameters),
    Metric(
        "trained_parameters", mark("trained parameters"), profile=lambda p: p.trained_parameters
    ),
    # Memory through a step.
    _size("before", mark("before"), profile=_at("before")),
    _size("after_forward", mark("after forward"), profile=_at("after_forward")),
    _size("after_backward", mark("after backward"), profile=_at("after_backward")),
    _size("after_optimizer", mark("after optimizer"), profile=_at("after_optimizer")),
    _size(
        "peak",
        mark("peak"),
        trial=lambda t: _mib(t.peak_allocated),
        profile=_at("peak"),
        epoch=lambda e: _mib(e.peak and e.peak.allocated),
        unfinished=True,
    ),
    _size(
        "peak_reserved",
        mark("peak reserved"),
        trial=lambda t: _mib(t.peak_reserved),
        profile=lambda p: _mib(p.memory and p.memory.peak.reserved),
        epoch=lambda e: _mib(e.peak and e.peak.reserved),
        unfinished=True,
    ),
    *KIND_METRICS.values(),
    # Speed and energy of a step.
    Metric("samples", mark("samples"), profile=lambda p: len(p.step_seconds) or None),
    Metric(
        "step_ms",
        mark("ms/step"),
        "ms",
        "lower",
        profile=_step_ms,
        batch_speed=lambda b: [seconds * 1e3 for seconds in b.step_seconds],
        average=median,
        statistics={
            "median": mark("ms/step median"),
            "mean": mark("ms/step mean"),
            "sd": mark("ms/step sd"),
            "min": mark("ms/step min"),
            "max": mark("ms/step max"),
        },
    ),
    Metric(
        "tokens_per_second",
        mark("tokens/s"),
        "tokens/s",
        "higher",
        wording.short,
        profile=_speeds,
        batch_speed=lambda b: [b.tokens / seconds for seconds in b.step_seconds],
        overall=_speed,
        statistics={"sd": mark("tokens/s sd")},
    ),
    Metric(
        "model_mflop_per_token",
        mark("MFLOP/token of the model"),
        "MFLOP",
        profile=lambda p: _mega(p.model_flops_per_token),
    ),
    Metric(
        "hardware_mflop_per_token",
        mark("MFLOP/token with recomputation"),
        "MFLOP",
        "lower",
        profile=lambda p: _mega(p.hardware_flops_per_token),
    ),
    Metric(
        "model_tflops",
        mark("TFLOP/s of the model"),
        "TFLOP/s",
        "higher",
        profile=lambda p: _tflops(p, p.model_flops_per_token),
    ),
    Metric("peak_tflops", mark("peak TFLOP/s"), "TFLOP/s", profile=peak_of),
    Metric(
        "mfu_percent",
        mark("MFU (%)"),
        "%",
        "higher",
        profile=lambda p: _utilisation(p, p.model_flops_per_token),
    ),
    Metric(
        "hfu_percent",
        mark("HFU (%)"),
        "%",
        profile=lambda p: _utilisation(p, p.hardware_flops_per_token),
    ),
    Metric("microjoules_per_token", mark("µJ/token"), "µJ", "lower", profile=_microjoules),
    Metric(
        "allocator_retries",
        mark("allocator retries"),
        better="lower",
        profile=lambda p: p.allocator_retries,
        batch_speed=lambda b: b.allocator_retries,
    ),
    Metric(
        "retried_steps",
        mark("steps taken again"),
        better="lower",
        profile=lambda p: p.retried_steps,
        batch_speed=lambda b: b.retried_steps,
        epoch=lambda e: e.retried_steps,
    ),
    Metric(
        "cores_used",
        mark("cores used"),
        profile=lambda p: _cores_used(p.host_load),
        epoch=lambda e: _cores_used(e.host_load),
    ),
    Metric(
        "other_cores",
        mark("cores used by others"),
        profile=lambda p: _other_cores(p.host_load),
        epoch=lambda e: _other_cores(e.host_load),
    ),
    Metric(
        "load_average",
        mark("load of the machine"),
        profile=lambda p: p.host_load.load_average if p.host_load else None,
        epoch=lambda e: e.host_load.load_average if e.host_load else None,
    ),
    # Training.
    Metric("steps", mark("steps"), better="lower", epoch=lambda e: e.steps),
    Metric("tokens", mark("tokens"), batch_speed=lambda b: b.tokens, epoch=lambda e: e.tokens),
    Metric(
        "train_seconds",
        mark("training (s)"),
        "s",
        "lower",
        epoch=lambda e: e.train_seconds,
        statistics={"sd": mark("training sd (s)")},
    ),
    Metric("interruptions", mark("interruptions"), epoch=lambda e: e.interruptions),
    Metric(
        "last_loss",
        mark("last loss (nats)"),
        "nats",
        "lower",
        epoch=lambda e: e.loss_curve[-1].loss if e.loss_curve else None,
        unfinished=True,
    ),
    Metric(
        "perplexity",
        mark("perplexity"),
        better="lower",
        text=lambda value: wording.number(value, 4),
        epoch=lambda e: e.validation.perplexity if e.validation else None,
        statistics={"sd": mark("perplexity sd")},
    ),
    Metric(
        "bits_per_byte",
        mark("bits/byte"),
        better="lower",
        epoch=lambda e: e.validation.bits_per_byte if e.validation else None,
    ),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""By name."""


_RATIOS = {
    "max_batch_ratio": ("max_batch_size", mark("× baseline")),
    "peak_ratio": ("peak_mib", mark("peak × baseline")),
    "speed_ratio": ("tokens_per_second", mark("speed × baseline")),
    "max_batch_factor": ("max_batch_size", mark("largest batch ×")),
    "peak_factor": ("peak_mib", mark("peak ×")),
    "speed_factor": ("tokens_per_second", mark("speed ×")),
}
"""Metric and label of each column that says how many times that of another run a value is: of the
baseline, or of the technique that one axis was changed in."""


@dataclass(frozen=True)
class Column:
    """A column of a table whose rows are runs."""

    label: str
    """Its name in running text, in English."""
    value: Callable[[Run, Run], float | None]
    """What it holds for a run; the second run is the one that ratios compare with."""


def _column(metric: Metric) -> Column:
    return Column(metric.label, lambda run, _: metric.value(run))


def _statistic(metric: Metric, name: str) -> Column:
    compute = STATISTICS[name]
    return Column(metric.statistics[name], lambda run, _: compute(metric.samples(run)))


def _ratio(metric: Metric, label: str) -> Column:
    return Column(label, lambda run, base: ratio(metric.value(run), metric.value(base)))


COLUMNS: Mapping[str, Column] = {
    **{name: _column(metric) for name, metric in METRICS.items()},
    **{f"{m.name}_{name}": _statistic(m, name) for m in _ALL for name in m.statistics},
    **{name: _ratio(METRICS[metric], label) for name, (metric, label) in _RATIOS.items()},
}
"""The columns that metrics make, by name: their values, statistics and ratios."""
