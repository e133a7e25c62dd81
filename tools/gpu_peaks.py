"""Measure the peaks of training steps on a GPU, each beside its prediction.

The cases are those of tests/measured_peaks.py, whose numbers come from here: each is one trial of
the search, of three steps, in a process of its own. A case that does not fit the card is left out.

    python tools/gpu_peaks.py [--only NAME ...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from measured_peaks import ELSEWHERE, ELSEWHERE_AXES, OF_THE_DEFAULT  # noqa: E402
from workloads import workload  # noqa: E402

from vramlab.config.model import DecoderConfig  # noqa: E402
from vramlab.config.workload import Workload  # noqa: E402
from vramlab.measure.trial import Trials  # noqa: E402
from vramlab.memory.budget import Budget  # noqa: E402
from vramlab.predict.fake_run import FakeRun  # noqa: E402
from vramlab.training.device import resolve  # noqa: E402


class Case(NamedTuple):
    """One workload, and the bytes by batch size that are on record."""

    name: str
    workload: Workload
    recorded: dict[int, int]


def cases() -> Iterator[Case]:
    """All of them."""
    for name, (axes, recorded) in OF_THE_DEFAULT.items():
        yield Case(name, workload(axes, DecoderConfig(), 12_000, 256), recorded)
    for name, (model, vocabulary, length, recorded) in ELSEWHERE.items():
        yield Case(name, workload(ELSEWHERE_AXES, model, vocabulary, length), recorded)


def measure(case: Case, batch_size: int) -> None:
    """Print what one batch takes."""
    run = FakeRun(case.workload, cuda=True)
    predicted = run.peak(batch_size)
    run.close()
    trial = Trials(case.workload, Budget(resolve("cuda"), None), 3)(batch_size)
    took = trial.peak_allocated
    error = "" if took is None else f"{100 * (predicted / took - 1):+.3f} %"
    print(
        f"| {case.name} | {batch_size} | {predicted} | {took} | {error} | "
        f"{case.recorded[batch_size]} |",
        flush=True,
    )


def main() -> None:
    """Measure each case in a process of its own, as the search does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--at", type=int, help="the batch size, for one case in this process")
    options = parser.parse_args()
    chosen = [case for case in cases() if not options.only or case.name in options.only]
    if options.at:
        measure(chosen[0], options.at)
        return
    print("| case | batch | predicted | measured | error | on record |", flush=True)
    print("|---|--:|--:|--:|--:|--:|", flush=True)
    for case in chosen:
        for batch_size in case.recorded:
            command = [sys.executable, __file__, "--only", case.name, "--at", str(batch_size)]
            done = subprocess.run(command, check=False)
            if done.returncode:
                print(f"| {case.name} | {batch_size} | status {done.returncode} |", flush=True)


if __name__ == "__main__":
    main()
