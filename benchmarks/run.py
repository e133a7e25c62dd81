"""`make bench`: the filter, the tokenizer, and a run with nothing to do; then what fell short."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import bench_filter
import bench_tokenizer

ROOT = Path(__file__).resolve().parents[1]


def up_to_date() -> list[str]:
    """Time `snakemake` on the finished demo; it has no bar."""
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/demo"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if not (ROOT / "results/demo/report/index.html").exists():
        print("snakemake with nothing to do: not measured: run `make demo` first")
        return []
    times = []
    for _ in range(4):  # the first finds cold caches, and makes what is missing
        start = time.perf_counter()
        done = subprocess.run(
            command, check=False, cwd=ROOT, capture_output=True, text=True, env=environment
        )
        times.append(time.perf_counter() - start)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return [f"snakemake with nothing to do ended with status {done.returncode}: {last}"]
    print(f"snakemake with nothing to do: {min(times[1:]):.2f} s (best of 3)")
    return []


def tokenizer() -> list[str]:
    """Print the tokenizer's speed; it has no bar."""
    bench_tokenizer.main()
    return []


def measure_all(benchmarks: Sequence[Callable[[], list[str]]]) -> list[str]:
    """Run each benchmark, whatever the others say; return what fell short of a bar, or broke."""
    short = []
    for benchmark in benchmarks:
        try:
            short += benchmark()
        except (OSError, subprocess.CalledProcessError) as error:
            short.append(f"{benchmark.__name__}: {error}")
    return short


if __name__ == "__main__":
    found = measure_all((bench_filter.bench_filter, tokenizer, up_to_date))
    for line in found:
        print(f"falls short: {line}")
    sys.exit(bool(found))
