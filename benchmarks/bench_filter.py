"""Speed and memory of the quality filter, beside bare zstandard and orjson decoding."""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson
import zstandard

from vramlab.config.corpus import SyntheticSource
from vramlab.data.corpus.quality import filter_quality
from vramlab.data.corpus.synthetic import documents

SPEED_BAR = 0.7
"""Lowest speed of the filter, as a share of the bare decoding."""
MEMORY_BAR_MIB = 300
_ROUNDS = 3
_POOL = SyntheticSource(source="synthetic", documents=2000, words=3000)  # about 40 MB of lines


def bench_filter(gigabytes: float = 2.0) -> bool:
    """Print speed and peak memory of the filter; True when both are within their bars.

    Each figure is the best of a few runs, each run in a process of its own, the two in turn.

    Args:
        gigabytes: decompressed size of the corpus, in units of 1e9 bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl.zst"
        size = _generate(corpus, int(gigabytes * 1e9))
        runs = [(_measure("bare", corpus), _measure("filter", corpus)) for _ in range(_ROUNDS)]
    bare, filtered = (min(seconds for seconds, _ in task) for task in zip(*runs, strict=True))
    peak = max(memory for _, (_, memory) in runs)
    print(f"quality filter, {size / 1e9:.2f} GB of lines, best of {_ROUNDS} runs")
    print(f"  bare zstandard + orjson decoding  {size / bare / 1e6:6.0f} MB/s")
    print(f"  filter, kept lines written        {size / filtered / 1e6:6.0f} MB/s")
    print(f"  speed against bare decoding       {bare / filtered:6.2f}   (bar: {SPEED_BAR})")
    print(f"  peak resident memory              {peak:6.0f} MiB (bar: {MEMORY_BAR_MIB})")
    return bare / filtered >= SPEED_BAR and peak <= MEMORY_BAR_MIB


def _generate(path: Path, size: int) -> int:
    """Write lines of `size` bytes or a little more; return the bytes written."""
    pool = b"".join(orjson.dumps(document) + b"\n" for document in documents("bench", _POOL))
    repeats = -(-size // len(pool))
    compressor = zstandard.ZstdCompressor(level=3, threads=-1)
    with path.open("wb") as raw, compressor.stream_writer(raw) as output:
        for _ in range(repeats):  # the window is far smaller than the pool
            output.write(pool)
    return repeats * len(pool)


def _measure(task: str, corpus: Path) -> tuple[float, float]:
    """Seconds and peak resident memory in MiB of a task in a process of its own."""
    command = [sys.executable, __file__, "--task", task, "--corpus", str(corpus)]
    seconds, memory = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    return float(seconds), float(memory)


def _decode(corpus: Path) -> None:
    with corpus.open("rb") as raw:
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        for line in io.BufferedReader(reader):
            orjson.loads(line)


def main() -> None:
    """Run the benchmark, or one task of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="decompressed size")
    parser.add_argument("--task", choices=["bare", "filter"], help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task is None:
        sys.exit(0 if bench_filter(arguments.gigabytes) else 1)
    start = time.perf_counter()
    if arguments.task == "bare":
        _decode(arguments.corpus)
    else:
        filter_quality(arguments.corpus, arguments.corpus.with_name("kept.jsonl.zst"), ["HIGH"])
    seconds = time.perf_counter() - start
    # Not ru_maxrss, which a process takes over from the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(seconds, int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024)


if __name__ == "__main__":
    main()
