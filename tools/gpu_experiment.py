"""Run the whole experiment on a GPU in one go; keep the records, reports and logs of it.

Serves a folder in the layout of SpeakLeash over HTTP on loopback, so that the experiment needs no
network, and runs `snakemake` once for each entry of --runs: techniques (core: those of CORE; all:
the configuration's; or names, with commas) and a memory limit in GiB, none, or own; before them the
configuration, where it is another than config/config.yaml. Then, as asked for, the GPU tests and
the benchmark of the harness. Each experiment is packed into one archive.

    python tools/gpu_experiment.py --corpora FOLDER --train NAME --validation NAME --out FOLDER \\
        --runs core@39.4 core@none lengths/all@39.4 --tests --bench
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
CORE = ("fp32", "tf32", "bf16", "flash", "windowed", "checkpointing")
"""The techniques that the pipeline began with."""
PORT = 48127
"""Of the local server; always the same, so that a second call finds the first one's data fresh."""


class Run(NamedTuple):
    """One entry of --runs."""

    config: str
    techniques: str
    limit: str

    @classmethod
    def of(cls, text: str) -> Run:
        """Read [CONFIG/]SET@GIB."""
        what, _, limit = text.partition("@")
        config, _, techniques = what.rpartition("/")
        return cls(config or "config", techniques, limit or "none")

    @property
    def experiment(self) -> str:
        """The name of its results folder."""
        limit = "uncapped" if self.limit == "none" else f"{self.limit}gib".replace(".", "_")
        return f"gpu-{limit}" if self.config == "config" else f"gpu-{self.config}-{limit}"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve `folder` on loopback; yield its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", PORT), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{PORT}/"
        server.shutdown()


def write_config(
    path: Path, base: str, options: argparse.Namespace, run: Run, experiment: str
) -> None:
    """A shipped configuration with another address, names, techniques and memory limit."""
    source = ROOT / "config" / f"{run.config}.yaml"
    config = yaml.safe_load(source.read_text(encoding="utf-8"))
    config["experiment"] = experiment
    if run.limit != "own":
        config["measure"]["memory_limit_gib"] = None if run.limit == "none" else float(run.limit)
    if run.techniques != "all":
        names = CORE if run.techniques == "core" else run.techniques.split(",")
        config["techniques"] = {name: config["techniques"][name] for name in names}
        if config["baseline"] not in names:
            config["baseline"] = names[0]
    if options.corpora:
        for split in ("train", "validation"):
            config["corpus"][split] |= {"name": getattr(options, split), "base": base}
            config["corpus"][split]["max_bytes"] = options.max_bytes
    if options.vocab_size:
        config["tokenizer"]["vocab_size"] = options.vocab_size
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def timed(name: str, command: list[str], log: Path, limit: float) -> bool:
    """Run a command with its output in `log`; print its last lines; True if it succeeded."""
    start = time.monotonic()
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    with log.open("w") as stream:
        environment = {**os.environ, "PYTHONPATH": path}
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                stop(process)
                code = 124
    seconds = time.monotonic() - start
    print(f"== {name}: exit {code} after {seconds:.1f} s", flush=True)
    if code:
        print(*log.read_text(errors="replace").splitlines()[-40:], sep="\n", flush=True)
    return code == 0


def stop(process: subprocess.Popen[bytes], seconds: float = 15) -> None:
    """End a command with all its jobs; what it has measured is still to be packed."""
    process.terminate()  # Snakemake then waits for its jobs, and unlocks its folder
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def pack(archive: Path, folder: Path) -> None:
    """Archive records, tables, figures and logs of a results folder; no corpora, no models."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".json", ".csv", ".md", ".png", ".svg", ".log", ".tsv", ".yaml"}:
                tar.add(path, path.relative_to(folder.parent))


def reuse_data(source: Path, target: Path) -> None:
    """Take over corpus, tokenizer and sequences, which do not depend on the memory limit."""
    for name in ("corpus", "tokenizer", "sequences"):
        if (source / name).exists() and not (target / name).exists():
            shutil.copytree(source / name, target / name)  # with the times of the files


def main() -> int:
    """Run it; the exit status is the number of steps that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=Path, help="folder in the layout of SpeakLeash")
    parser.add_argument("--train", help="name of the training data set in it")
    parser.add_argument("--validation", help="name of the validation data set in it")
    parser.add_argument(
        "--runs", nargs="*", default=["all@39.4", "all@none"], help="[CONFIG/]SET@GIB"
    )
    parser.add_argument("--max-bytes", type=int, help="most bytes of text of each corpus")
    parser.add_argument("--vocab-size", type=int, help="pieces, where so little text has fewer")
    parser.add_argument("--until", help="rule after which to stop, such as profile")
    parser.add_argument("--jobs", type=int, default=4, help="GPU jobs that get ready at a time")
    parser.add_argument("--out", type=Path, required=True, help="folder for the archives")
    parser.add_argument("--tests", action="store_true", help="run the GPU tests afterwards")
    parser.add_argument("--bench", action="store_true", help="run the benchmark of the harness")
    parser.add_argument(
        "--seconds",
        type=float,
        default=560,
        help="limit of the whole run, 15 s less than it may take",
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + options.seconds
    failed = 0
    first: Path | None = None
    with served(options.corpora or ROOT) as base:
        for text in options.runs:
            run = Run.of(text)
            name = run.experiment
            results = ROOT / "results" / name
            results.mkdir(parents=True, exist_ok=True)
            config = results / "run.yaml"
            write_config(config, base, options, run, name)
            if first:
                reuse_data(first, results)
            first = first or results
            command = [sys.executable, "-m", "snakemake", "--configfile", str(config)]
            command += ["--resources", f"gpu_jobs={options.jobs}"]
            command += ["--until", options.until] if options.until else []
            log = results / "run.log"
            failed += not timed(text, command, log, end - time.monotonic())
            pack(options.out / f"{name}.tar.gz", results)
            index = results / "report" / "tables" / "summary.md"
            if index.exists():
                print(index.read_text(encoding="utf-8"), flush=True)
    if options.bench:
        log = options.out / "bench.log"
        command = [sys.executable, "benchmarks/bench_harness.py"]
        failed += not timed("bench", command, log, max(10.0, end - time.monotonic()))
        print(log.read_text(errors="replace"), flush=True)
    if options.tests:
        command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=short", "--show-capture=no"]
        command += ["--durations=10", "-m", "gpu", "tests/gpu"]
        log = options.out / "tests.log"
        failed += not timed("tests", command, log, max(10.0, end - time.monotonic()))
        print(*log.read_text(errors="replace").splitlines()[-150:], sep="\n", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
