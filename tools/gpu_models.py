"""Search the largest batches of many architectures on a GPU, and set them beside the prediction.

Each architecture of MODELS is an experiment of its own, run by Snakemake up to the search in a
folder of its own; some run at a time, since a job waits for the GPU while others get ready. Ends
with one table, and as many rows in a CSV file.

    python tools/gpu_models.py --out FOLDER [--models llama phi] [--limit 24] [--length 1024] \\
        [--seconds 560]
"""

from __future__ import annotations

import argparse
import csv
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from gpu_experiment import timed

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from vramlab.measure.predicted_peaks import PredictedPeaks  # noqa: E402
from vramlab.results.base import read  # noqa: E402
from vramlab.results.batch_size import BatchSizeRecord  # noqa: E402
from vramlab.results.estimate import EstimateRecord  # noqa: E402

MODELS: dict[str, dict[str, Any]] = {
    "llama": {
        **{"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 4},
        **{"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64},
        **{"vocab_size": 128_256, "tie_word_embeddings": True},
    },
    "qwen2": {
        **{"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 8},
        **{"num_attention_heads": 14, "num_key_value_heads": 2},
        **{"vocab_size": 151_936, "tie_word_embeddings": True},
    },
    "qwen3": {
        **{"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 8},
        **{"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128},
        **{"vocab_size": 151_936, "tie_word_embeddings": True},
    },
    "gemma2": {
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 4},
        **{"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 128},
        **{"vocab_size": 128_000, "sliding_window": 512},
    },
    "gemma3_text": {
        **{"hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 6},
        **{"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256},
        **{"vocab_size": 262_144, "sliding_window": 512},
    },
    "mistral": {
        **{"hidden_size": 1024, "intermediate_size": 3584, "num_hidden_layers": 8},
        **{"num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 64},
        **{"vocab_size": 32_768, "sliding_window": 256},
    },
    "phi": {
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 8},
        **{"num_attention_heads": 16, "vocab_size": 51_200},
    },
    "gpt2": {"n_embd": 768, "n_layer": 8, "n_head": 12, "n_positions": 1024},
    "gpt_neox": {
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 8},
        **{"num_attention_heads": 16, "vocab_size": 50_432},
    },
    "olmo2": {
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 8},
        **{"num_attention_heads": 16, "vocab_size": 100_352},
    },
}
"""Configurations of transformers: the widths of real models, and few layers."""

_BF16 = {"precision": "bf16", "attention": "sdpa"}
TECHNIQUES: dict[str, dict[str, Any]] = {
    "bf16": _BF16,
    "math": _BF16 | {"attention": "math"},
    "checkpointing": _BF16 | {"checkpointing": "block"},
    "selective": _BF16 | {"checkpointing": "selective", "loss_head": "chunked"},
    "fused_head": _BF16 | {"loss_head": "fused"},
    "pure_bf16": _BF16 | {"precision": "pure-bf16", "optimizer": "in-backward"},
    "lora": _BF16 | {"adapter": "lora", "checkpointing": "block"},
    "qlora": _BF16 | {"adapter": "qlora", "loss_head": "fused"},
}


def configuration(model: str, options: argparse.Namespace) -> dict[str, Any]:
    """The experiment of one architecture."""
    techniques = {n: TECHNIQUES[n] for n in options.techniques or TECHNIQUES}
    return {
        "experiment": model,
        "sequence_length": options.length,
        "corpus": {name: {"source": "synthetic"} for name in ("train", "validation")},
        "model": {
            "source": "transformers",
            "config": {"model_type": model, **MODELS[model]},
            "vocabulary": "own",
        },
        "measure": {"memory_limit_gib": options.limit, "device": options.device},
        "estimate": {"cards": [options.limit]},
        "baseline": next(iter(techniques)),
        "techniques": techniques,
    }


def run(model: str, options: argparse.Namespace) -> bool:
    """Predict and search one architecture; whether all of it was done in time."""
    folder = options.work / model
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(configuration(model, options), sort_keys=False))
    names = options.techniques or TECHNIQUES
    stages = ("estimate", "batch_size")
    targets = [f"results/{model}/{s}/{options.length}/{n}.json" for s in stages for n in names]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(config), "--keep-going"]
    command += ["--cores", "8", "--resources", "gpu_jobs=3", "--workflow-profile", "none", *targets]
    limit = options.end - time.monotonic()
    return timed(model, command, folder / "run.log", limit) if limit > 0 else False


def rows(model: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Predicted beside measured, for each technique of one architecture."""
    results = options.work / model / "results" / model
    predicted = {
        e.technique: e
        for path in results.glob(f"estimate/{options.length}/*.json")
        for e in read(EstimateRecord, path).estimates
        if e.device == "cuda"
    }
    if not predicted:
        return []
    found = []
    for name in options.techniques or TECHNIQUES:
        path = results / "batch_size" / str(options.length) / f"{name}.json"
        row: dict[str, Any] = {"model": model, "technique": name}
        found.append(row)
        if not path.exists():
            row["note"] = "no record"
            continue
        search, guess = read(BatchSizeRecord, path), predicted[name]
        row["trials"] = len(search.trials)
        if search.status != "ok" or guess.status != "ok":
            row["note"] = search.reason or guess.reason
            continue
        assert search.max_batch_size is not None and search.headroom is not None
        limit = search.memory_limit - search.headroom - guess.fragmentation
        peaks = PredictedPeaks(guess.peaks)
        peak = {t.batch_size: t.peak_allocated for t in search.trials}[search.max_batch_size]
        held = {t.batch_size: t.peak_reserved for t in search.trials}[search.max_batch_size]
        row |= {
            "predicted_batch": peaks.largest(limit),
            "largest_batch": search.max_batch_size,
            "predicted_gib": peaks.at(search.max_batch_size) / 2**30,
            "peak_gib": peak / 2**30,
            "reserved_gib": held / 2**30,
            "peak_error_percent": 100 * (peaks.at(search.max_batch_size) / peak - 1),
        }
    return found


def table(found: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    names = list(dict.fromkeys(name for row in found for name in row))
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    for row in found:
        cells = [row.get(name, "") for name in names]
        lines.append(" | ".join(f"{c:.3f}" if isinstance(c, float) else str(c) for c in cells))
    return "\n".join(f"| {line} |" for line in lines)


def main() -> int:
    """Run it; the exit status is the number of experiments that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for table and archive")
    parser.add_argument("--work", type=Path, default=Path("results/gpu-models"))
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--techniques", nargs="*", default=[])
    parser.add_argument("--limit", type=float, default=24.0, help="GiB")
    parser.add_argument("--length", type=int, default=1024, help="tokens")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--at-a-time", type=int, default=4, help="experiments")
    parser.add_argument("--seconds", type=float, default=560, help="limit of the whole run")
    options = parser.parse_args()
    options.end = time.monotonic() + options.seconds
    options.work = options.work.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    failed, found = 0, []
    with ThreadPoolExecutor(options.at_a_time) as pool:
        done = pool.map(lambda m: run(m, options), options.models)
        for model, succeeded in zip(options.models, done, strict=True):
            failed += not succeeded
            found += rows(model, options)
            (options.out / "table.md").write_text(table(found) + "\n")
    print(table(found), flush=True)
    with (options.out / "table.csv").open("w", newline="") as file:
        names = list(dict.fromkeys(name for row in found for name in row))
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(found)
    with tarfile.open(options.out / "records.tar.gz", "w:gz") as tar:
        for path in sorted(options.work.rglob("*")):
            if path.suffix in {".json", ".log", ".yaml"} and ".snakemake" not in path.parts:
                tar.add(path, path.relative_to(options.work))
    return failed


if __name__ == "__main__":
    sys.exit(main())
