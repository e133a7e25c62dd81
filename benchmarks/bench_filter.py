"""Processor time and memory of the quality filter, beside the bare loop that does as little as can.

The bare loop decompresses, decodes each line and compresses it again. Both run in turn in one
process, and processor time is compared: a machine that is busy with other work slows both alike.
"""

from __future__ import annotations

import argparse
import io
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import zstandard

from vramlab.config.corpus import SyntheticSource
from vramlab.data.corpus.quality import filter_quality
from vramlab.data.corpus.synthetic import documents

SPEED_BAR = 0.7
"""Least processor time of the bare loop, as a share of the filter's."""
MEMORY_BAR_MIB = 300
_ROUNDS = 9
_APART = 0.25
"""How far the quartiles of the rounds may be apart for their median to say something."""
_POOL = SyntheticSource(source="synthetic", documents=2000, words=3000)  # about 40 MB of lines


def bench_filter(gigabytes: float = 0.2) -> list[str]:
    """Print processor time and peak memory of the filter; return what fell short of its bar.

    Args:
        gigabytes: decompressed size of the corpus, in units of 1e9 bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl.zst"
        size = _generate(corpus, int(gigabytes * 1e9))
        command = [sys.executable, __file__, "--corpus", str(corpus)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    peak, *seconds = map(float, output.split())
    bare, filtered = seconds[::2], seconds[1::2]
    print(f"quality filter, {size / 1e9:.2f} GB of lines, processor time, best of {_ROUNDS}")
    print(f"  bare decoding and compression     {size / min(bare) / 1e6:6.0f} MB/s")
    print(f"  filter                            {size / min(filtered) / 1e6:6.0f} MB/s")
    short = []
    ratio = middle([one / two for one, two in zip(bare, filtered, strict=True)])
    if ratio is None:
        print("  speed against the bare loop       not measured: the rounds are too far apart")
    else:
        print(f"  speed against the bare loop       {ratio:6.2f}   (bar: {SPEED_BAR})")
        if ratio < SPEED_BAR:
            short.append(f"the filter's speed is {ratio:.2f} of the bare loop's, not {SPEED_BAR}")
    print(f"  peak resident memory              {peak:6.0f} MiB (bar: {MEMORY_BAR_MIB})")
    if peak > MEMORY_BAR_MIB:
        short.append(f"the filter takes {peak:.0f} MiB, more than {MEMORY_BAR_MIB}")
    return short


def middle(ratios: list[float]) -> float | None:
    """The median; None where the quartiles are too far apart."""
    low, median, high = statistics.quantiles(ratios, n=4)
    return median if high - low <= _APART * median else None


def _generate(path: Path, size: int) -> int:
    """Write lines of `size` bytes or a little more; return the bytes written."""
    pool = b"".join(orjson.dumps(document) + b"\n" for document in documents("bench", _POOL))
    repeats = -(-size // len(pool))
    compressor = zstandard.ZstdCompressor(level=3, threads=-1)
    with path.open("wb") as raw, compressor.stream_writer(raw) as output:
        for _ in range(repeats):  # the window is far smaller than the pool
            output.write(pool)
    return repeats * len(pool)


def _bare(corpus: Path) -> None:
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)  # as the filter
    with corpus.open("rb") as raw, corpus.with_name("bare.zst").open("wb") as target:
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        with compressor.stream_writer(target) as output:
            for line in io.BufferedReader(reader):
                orjson.loads(line)
                output.write(line)


def _filter(corpus: Path) -> None:
    # All are kept: what is dropped need not be compressed, and is by the bare loop.
    every = ["HIGH", "MEDIUM", "LOW"]
    filter_quality(corpus, corpus.with_name("kept.jsonl.zst"), every)


def _seconds(task: Callable[[Path], None], corpus: Path) -> float:
    start = time.process_time()  # of all threads
    task(corpus)
    return time.process_time() - start


def main() -> None:
    """Run the benchmark, or measure on a corpus that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=0.2, help="decompressed size")
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.corpus is None:
        sys.exit("; ".join(bench_filter(arguments.gigabytes)) or None)
    seconds = [
        _seconds(task, arguments.corpus) for _ in range(_ROUNDS) for task in (_bare, _filter)
    ]
    # Not ru_maxrss, which a process takes over from the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024, *seconds)


if __name__ == "__main__":
    main()
