"""Run the whole experiment on a GPU in one go: capped, uncapped, tests; keep what is needed of it.

Serves a folder in the layout of SpeakLeash over HTTP on loopback, so that the experiment needs no
network, runs `snakemake` once for each memory limit, then the GPU tests, and packs result files,
reports and logs into one archive a step.

    python tools/gpu_experiment.py --corpora FOLDER --train NAME --validation NAME --out FOLDER
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve `folder` on loopback; yield its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def write_config(path: Path, base: str, options: argparse.Namespace, **changes: Any) -> None:
    """The shipped configuration with another address, names and memory limit."""
    source = ROOT / "config" / f"{options.config}.yaml"
    config = yaml.safe_load(source.read_text(encoding="utf-8"))
    config["experiment"] = changes["experiment"]
    config["measure"] |= changes["measure"]
    config |= changes.get("sections", {})
    if options.corpora:
        for split in ("train", "validation"):
            config["corpus"][split] |= {"name": getattr(options, split), "base": base}
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def timed(name: str, command: list[str], log: Path, limit: float) -> bool:
    """Run a command with its output in `log`; print its last lines; True if it succeeded."""
    start = time.monotonic()
    with log.open("w") as stream:
        try:
            code = subprocess.run(
                command,
                cwd=ROOT,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=limit,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = 124
    seconds = time.monotonic() - start
    print(f"== {name}: exit {code} after {seconds:.1f} s", flush=True)
    if code:
        print(*log.read_text(errors="replace").splitlines()[-40:], sep="\n", flush=True)
    return code == 0


def pack(archive: Path, folder: Path) -> None:
    """Archive records, tables, figures and logs of a results folder; no corpora, no models."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".json", ".csv", ".md", ".png", ".svg", ".log", ".tsv"}:
                tar.add(path, path.relative_to(folder.parent))


def main() -> int:
    """Run it; the exit status is the number of steps that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="config", help="config/NAME.yaml to start from")
    parser.add_argument("--corpora", type=Path, help="folder in the layout of SpeakLeash")
    parser.add_argument("--train", help="name of the training data set in it")
    parser.add_argument("--validation", help="name of the validation data set in it")
    parser.add_argument("--limits", nargs="*", default=["39.4", "none"], help="GiB, or none")
    parser.add_argument("--out", type=Path, required=True, help="folder for the archives")
    parser.add_argument("--tests", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seconds", type=float, default=560, help="limit of the whole run")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + options.seconds
    failed = 0
    with served(options.corpora or ROOT) as base:
        for limit in options.limits:
            name = f"gpu-{'uncapped' if limit == 'none' else limit + 'gib'}".replace(".", "_")
            config = options.out / f"{name}.yaml"
            value = None if limit == "none" else float(limit)
            write_config(
                config, base, options, experiment=name, measure={"memory_limit_gib": value}
            )
            command = [sys.executable, "-m", "snakemake", "--configfile", str(config)]
            log = options.out / f"{name}.log"
            failed += not timed(name, command, log, end - time.monotonic())
            results = ROOT / "results" / name
            pack(options.out / f"{name}.tar.gz", results)
            index = results / "report" / "tables" / "summary.md"
            if index.exists():
                print(index.read_text(encoding="utf-8"), flush=True)
    if options.tests:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu"]
        log = options.out / "tests.log"
        failed += not timed("tests", command, log, max(10.0, end - time.monotonic()))
        print(*log.read_text(errors="replace").splitlines()[-15:], sep="\n", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
