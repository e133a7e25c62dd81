"""`make bench`: the filter, the tokenizer, and a run with nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import bench_filter
import bench_tokenizer

ROOT = Path(__file__).resolve().parents[1]


def up_to_date() -> None:
    """Time `snakemake` on the finished demo (run `make demo` first)."""
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/demo"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    times = []
    for _ in range(4):  # the first finds cold caches, and makes what is missing
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=environment)
        times.append(time.perf_counter() - start)
    print(f"snakemake with nothing to do: {min(times[1:]):.2f} s (best of 3)")


if __name__ == "__main__":
    bench_filter.main()
    bench_tokenizer.main()
    up_to_date()
