"""A results folder of made-up but valid records, in the layout that the workflow writes."""

from __future__ import annotations

import datetime
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vramlab.base.host_load import HostLoad
from vramlab.base.provenance import Device, Provenance
from vramlab.config.experiment import Experiment, parse
from vramlab.config.model import DecoderConfig
from vramlab.config.training import TrainingConfig
from vramlab.report.load import Results, load
from vramlab.report.run_settings import RunSettings
from vramlab.results.base import Record, write
from vramlab.results.batch_size import BatchSizeRecord, Trial
from vramlab.results.batch_speed import BatchSpeed, BatchSpeedRecord
from vramlab.results.corpus import CorpusRecord
from vramlab.results.epoch import EpochRecord, LossPoint, Validation
from vramlab.results.estimate import Estimate, EstimateRecord
from vramlab.results.longest_sequence import LengthTrial, LongestSequenceRecord
from vramlab.results.memory import KINDS, Memory, MemoryPoint, Moment
from vramlab.results.overlap import OverlapPair, OverlapRecord
from vramlab.results.profile import ProfileRecord
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import TokenizerRecord

SETTINGS = RunSettings(model=DecoderConfig(), training=TrainingConfig(), seeds=(9, 10))
LIMIT = 40 * 2**30
STATE = 34 * 2**20
LOAD = HostLoad(
    wall_seconds=2.0,
    cpu_seconds=1.9,
    run_seconds=2.1,
    other_seconds=0.4,
    load_average=1.2,
    cores=16,
)
VALIDATION_TOKENS, VALIDATION_BYTES = 1_000_000, 4_000_000

TECHNIQUES: dict[str, dict[str, Any]] = {
    "fp32": {},
    "tf32": {"precision": "tf32"},
    "bf16": {"precision": "bf16"},
    "math": {"precision": "bf16", "attention": "math"},
    "sdpa": {"precision": "bf16", "attention": "sdpa"},
    "flash": {"precision": "bf16", "attention": "flash"},
    "windowed_masked": {"precision": "bf16", "attention": "masked", "window": 64},
    "checkpointing": {"precision": "bf16", "checkpointing": "block"},
    "chunked": {"precision": "bf16", "loss_head": "chunked"},
}
BUDGETS: dict[str, dict[str, Any]] = {
    "a_quarter": {"precision": "bf16", "checkpointing": {"budget": 0.25}},
    "three_quarters": {"precision": "bf16", "checkpointing": {"budget": 0.75}},
}
# Largest batch, milliseconds for a sequence, share of the peak that is kept after the forward pass.
FIGURES = {
    "fp32": (728, 0.180, 0.70),
    "tf32": (728, 0.109, 0.70),
    "bf16": (944, 0.0705, 0.62),
    "math": (800, 0.090, 0.75),
    "sdpa": (944, 0.0637, 0.62),
    "windowed_masked": (940, 0.066, 0.62),
    "checkpointing": (1072, 0.0857, 0.35),
    "chunked": (5184, 0.073, 0.80),
    "a_quarter": (1040, 0.0800, 0.45),
    "three_quarters": (970, 0.0740, 0.55),
}
H200 = Device(
    kind="cuda",
    name="NVIDIA H200",
    memory_bytes=139 * 2**30,
    capability="9.0",
    cuda="12.8",
    driver="570.86",
)
NO_FLASH = "the package flash-attn is not installed; install it, or use attention sdpa"
NO_MEMORY = "a batch of 728 does not fit: CUDA out of memory"


def experiment(techniques: list[str] | None = None, **changes: Any) -> Experiment:
    names = techniques or list(TECHNIQUES)
    synthetic = {"source": "synthetic"}
    return parse(
        {
            "experiment": "made-up",
            "corpus": {"train": synthetic, "validation": synthetic},
            "techniques": {name: (TECHNIQUES | BUDGETS).get(name, {}) for name in names},
            **changes,
        }
    )


def provenance(device: Device | None = H200) -> Provenance:
    return Provenance(
        vramlab="0.1.0",
        commit="0123456789abcdef0123456789abcdef01234567",
        config_digest="fedcba9876543210",
        python="3.11.9",
        platform="Linux-6.1-x86_64",
        packages={"torch": "2.11.0", "numpy": "2.4.6"},
        device=device,
        command="batch_size.py",
        finished=datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.UTC),
    )


def write_results(
    root: Path,
    config: Experiment,
    *,
    failures: Mapping[tuple[str, str], tuple[str, str]] | None = None,
    energy: bool = True,
) -> dict[str, list[str]]:
    """Write every record that `config` leads to; return the paths by stage.

    Args:
        failures: status and reason by technique and setting ("*" is every one).
        energy: whether the device reports energy.
    """
    failures = {("flash", "*"): ("skipped", NO_FLASH)} if failures is None else failures
    files: dict[str, list[str]] = {}

    def add(stage: str, name: str, record: Record) -> None:
        path = root / stage / f"{name}.json"
        write(record, path)
        files.setdefault(stage, []).append(str(path))

    _data(config, add)
    largest = {search: _largest(*search, config) for search in config.searches()}
    for name, length in config.searches():
        status, reason = failures.get((name, "*"), ("ok", ""))
        most = largest[name, length] if status == "ok" else None
        record = BatchSizeRecord(
            **_fields(config, name, length, status, reason),
            max_batch_size=most,
            memory_limit=LIMIT,
            trials=_trials(most) if most else [],
            results=[most, most + 2] if most and name == "checkpointing" else [],
        )
        add("batch_size", f"{length}/{name}", record)
    for record in _estimates(config, largest):
        add("estimate", f"{record.sequence_length}/{record.technique}", record)
    for name in config.techniques if config.measure.speed_points else ():
        status, reason = failures.get((name, "*"), ("ok", ""))
        fields = _fields(config, name, config.sequence_length, status, reason)
        most = largest[name, config.sequence_length]
        speeds = _batch_speeds(name, most) if status == "ok" else []
        record = BatchSpeedRecord(**fields, speeds=speeds)
        add("batch_speed", f"{config.sequence_length}/{name}", record)
    for name in config.techniques if config.measure.longest_sequence else ():
        status, reason = failures.get((name, "*"), ("ok", ""))
        fields = _fields(config, name, config.sequence_length, status, reason)
        most = 64 * largest[name, config.sequence_length]
        record = LongestSequenceRecord(
            **fields,
            batch_size=config.measure.longest_sequence,
            longest=most if status == "ok" else None,
            memory_limit=LIMIT,
            headroom=2**20,
            trials=_length_trials(most) if status == "ok" else [],
        )
        add("longest_sequence", f"{config.sequence_length}/{name}", record)
    for name, length, setting in config.runs():
        batch = largest[config.baseline if setting == "equal" else name, length]
        failed = failures.get((name, setting)) or failures.get((name, "*"))
        status, reason = failed or ("ok", "")
        fields = _fields(config, name, length, status, reason) | {"setting": setting}
        where = f"{length}/{name}/{setting}"
        if failed:
            tried = {"batch_size": None if status == "skipped" else batch}
            add("profile", where, ProfileRecord(**fields, **tried))
        else:
            add("profile", where, _profile(fields, batch, largest[name, length], energy))
        if length != config.sequence_length:
            continue
        for seed in config.seeds:
            at = f"{where}/seed{seed}"
            if failed:
                add("epoch", at, EpochRecord(**fields, seed=seed, **tried))
            else:
                add("epoch", at, _epoch(fields, batch, seed))
    return files


def make_results(root: Path, config: Experiment, **options: Any) -> Results:
    files = write_results(root, config, **options)
    return load(files, config.baseline, config.sequence_length, list(config.techniques))


def milliseconds(name: str, batch: int, length: int = 256) -> list[float]:
    """The made-up step times: 20, their median within 1 % of batch x milliseconds a sequence."""
    chance = random.Random(name)
    middle = batch * _figures(name)[1] * (length / 256) ** 1.1
    return [middle * (1 + 0.01 * chance.uniform(-1, 1)) for _ in range(20)]


def perplexity(name: str, batch: int, seed: int) -> float:
    return 400.0 + batch / 10 + len(name) + (seed - 9)


def _figures(name: str) -> tuple[int, float, float]:
    return FIGURES.get(name, (900, 0.08, 0.6))


def _largest(name: str, length: int, config: Experiment) -> int:
    return max(1, int(_figures(name)[0] * config.sequence_length / length))


def _fields(config: Experiment, name: str, length: int, status: str, reason: str) -> dict[str, Any]:
    return {
        "provenance": provenance(),
        "technique": name,
        "axes": config.techniques[name],
        "sequence_length": length,
        "status": status,
        "reason": reason,
    }


def _trials(most: int) -> list[Trial]:
    def trial(batch: int) -> Trial:
        size = int(LIMIT * batch / most)
        fits = batch <= most
        peak, reserved = (size - 2**20, size) if fits else (None, None)
        return Trial(
            batch_size=batch, fits=fits, peak_allocated=peak, peak_reserved=reserved, seconds=1.5
        )

    return [trial(batch) for batch in dict.fromkeys((max(1, most // 8), most, most + 1))]


def _profile(fields: dict[str, Any], batch: int, most: int, energy: bool) -> ProfileRecord:
    name = fields["technique"]
    peak = STATE + int((LIMIT - STATE) * batch / most)
    kept = STATE + int((peak - STATE) * _figures(name)[2])

    def point(size: int) -> MemoryPoint:
        return MemoryPoint(allocated=size, reserved=size + 2**20)

    return ProfileRecord(
        **fields,
        batch_size=batch,
        parameters=2_855_680,
        trained_parameters=2_855_680,
        model_flops_per_token=18e6,
        hardware_flops_per_token=24e6 if name == "checkpointing" else 18e6,
        step_seconds=[ms / 1e3 for ms in milliseconds(name, batch, fields["sequence_length"])],
        memory=Memory(
            before=point(STATE),
            after_forward=point(kept),
            after_backward=point(STATE + STATE // 3),
            after_optimizer=point(STATE),
            peak=point(peak),
            by_kind=_kinds(kept, peak),
            timeline=[
                Moment(operation=i * 7, by_kind=_kinds(size, size))
                for i, size in enumerate((STATE, kept, peak, kept, STATE))
            ],
        ),
        host_load=LOAD,
        energy_joules=20 * batch * _figures(name)[1] if energy else None,
    )


def _batch_speeds(name: str, most: int) -> list[BatchSpeed]:
    """Rounds that differ by 1 %; chunked is twice as fast at three quarters of its batch."""

    def speed(batch: int) -> BatchSpeed:
        slow = 2 if name == "chunked" and batch == most else 1
        middle = slow * batch * _figures(name)[1] / 1e3
        return BatchSpeed(
            batch_size=batch,
            tokens=batch * 256,
            step_seconds=[middle, 1.01 * middle, 0.99 * middle],
            allocator_retries=12 if slow > 1 else 0,
        )

    return [speed(most), speed(most * 3 // 4)]


def _length_trials(most: int) -> list[LengthTrial]:
    return [
        LengthTrial(
            batch_size=1,
            length=length,
            fits=length <= most,
            peak_allocated=LIMIT * length // most if length <= most else None,
            peak_reserved=LIMIT * length // most + 2**20 if length <= most else None,
            missing=None if length <= most else 5 * 2**20,
            seconds=2.5,
        )
        for length in (64, most, most + 64)
    ]


def _estimates(
    config: Experiment, largest: Mapping[tuple[str, int], int]
) -> Iterator[EstimateRecord]:
    """Predictions that are right, but for one technique that takes a tenth more."""

    def estimate(name: str, length: int) -> Estimate:
        most, wrong = largest[name, length], 1.1 if name == "checkpointing" else 1
        peaks = {b: STATE + int(wrong * (LIMIT - STATE) * b / most) for b in (4, 32, most)}
        return Estimate(
            technique=name,
            axes=config.techniques[name],
            sequence_length=length,
            device="cuda",
            status="ok",
            peaks=peaks,
            batch_size=32,
            cards=[most // 4, most],
            longest=[16 * most, 64 * most],
            length_peaks={64: STATE, 64 * most: int(wrong * LIMIT)}
            if config.measure.longest_sequence
            else {},
            least_card=1.5,
            caveats=["its scratch space is not known"] if wrong > 1 else [],
        )

    for name, length in largest:
        yield EstimateRecord(
            provenance=provenance(None),
            technique=name,
            sequence_length=length,
            memory_limit_gib=None,
            cards=[8, 40],
            estimates=[estimate(name, length)],
        )


def _kinds(kept: int, size: int) -> dict[str, int]:
    """Made-up kinds: state, and what is on top of it in the modules and the logits."""
    kinds = dict.fromkeys(KINDS, 0) | {
        "parameters": STATE // 3,
        "optimizer state": STATE - STATE // 3,
        "feed-forward": (kept - STATE) // 3,
        "attention": (kept - STATE) // 4,
    }
    return kinds | {"logits and loss": size - sum(kinds.values())}


def _epoch(fields: dict[str, Any], batch: int, seed: int) -> EpochRecord:
    name, length = fields["technique"], fields["sequence_length"]
    sequences = 28_000
    steps = math.ceil(sequences / batch)
    seconds = steps * batch * _figures(name)[1] / 1e3 * (1 + 0.02 * (seed - 9))
    value = perplexity(name, batch, seed)
    nats = VALIDATION_TOKENS * math.log(value)
    curve = [
        LossPoint(
            step=step,
            tokens=step * batch * length,
            seconds=seconds * step / steps,
            loss=math.log(value) + 3.4 / (1 + step * batch / 4000),
        )
        for step in range(1, steps + 1)
    ]
    return EpochRecord(
        **fields,
        seed=seed,
        batch_size=batch,
        learning_rate=1e-3,
        steps=steps,
        tokens=sequences * length,
        train_seconds=seconds,
        host_load=LOAD,
        peak=MemoryPoint(allocated=2**30, reserved=2**30),
        loss_curve=curve,
        validation=Validation(
            nats=nats,
            tokens=VALIDATION_TOKENS,
            utf8_bytes=VALIDATION_BYTES,
            perplexity=value,
            bits_per_byte=nats / math.log(2) / VALIDATION_BYTES,
        ),
    )


def _overlap() -> OverlapRecord:
    def pair(number: int, kind: str, similarity: float | None, share: float) -> OverlapPair:
        return OverlapPair(
            validation=number,
            train=number + 10,
            kind=kind,
            similarity=similarity,
            share=share,
            share_in_one=share / 2,
            validation_opening=f"Dokument {number}",
            train_opening=f"Dokument | {number + 10}",
        )

    return OverlapRecord(
        provenance=provenance(None),
        policy="near",
        threshold=0.5,
        documents={"train": 37, "validation": 43},
        kept={"train": 36, "validation": 40},
        exact_duplicates={"train": 1, "validation": 0},
        near_duplicates={"train": 0, "validation": 0},
        leaked={"exact": 1, "near": 1, "excerpt": 1},
        ngram_words=13,
        ngrams=4_000_000,
        ngrams_seen=250_000,
        sampled=1.0,
        shares=[40, 0, 0, 0, 0, 0, 0, 1, 0, 2],
        pairs=[
            pair(3, "exact", 1.0, 1.0),
            pair(5, "near", 0.75, 0.9),
            pair(8, "excerpt", None, 0.7),
            pair(9, "part", None, 0.04),
        ],
    )


def _data(config: Experiment, add: Any) -> None:
    for split, documents, kept in (("train", 50, 37), ("validation", 60, 43)):
        corpus = CorpusRecord(
            provenance=provenance(None),
            split=split,
            source=f"file:///made-up/{split}.jsonl.zst",
            sha256="ab" * 32,
            compressed_bytes=9 * 2**20,
            documents=documents,
            kept=kept,
            dropped={"quality LOW": documents - kept},
            characters=24_000_000,
            utf8_bytes=25_000_000,
            held_out_wanted=0.05,
            held_out=0.06,
        )
        add("corpus", split, corpus)
        stream = SequencesRecord(
            provenance=provenance(None),
            split=split,
            documents=kept,
            tokens=7_168_001,
            utf8_bytes=25_000_000,
            dtype="uint16",
            sequences={length: 7_168_000 // length for length in config.lengths},
        )
        add("sequences", split, stream)
    add("overlap", "overlap", _overlap())
    fits = {
        "fertility": 1.61,
        "bytes_per_token": 3.49,
        "coverage": 0.9997,
        "unknown": 12,
        "used": 11_000,
        "pieces": 7_167_000,
    }
    tokenizer = TokenizerRecord(
        provenance=provenance(None),
        vocab_size=12_000,
        model_type="unigram",
        cut_lines=3,
        model_vocabulary=32_000,
        **{what: {"train": value, "validation": value} for what, value in fits.items()},
    )
    add("tokenizer", "tokenizer", tokenizer)
