"""Processes that predict for the jobs of one run, so that a job need not import torch for itself.

A job of the stage `estimates` is a process, and most of its time would go to importing torch, and
to work that the job before it did as well. So Snakemake's process starts a server where a run has
several such jobs on this machine: it imports once, answers the first job, and then becomes as many
workers as there are cores. What a technique was answered holds for another that is counted alike,
as for TF32 beside FP32. A job sends its question through a socket and waits for the answer;
where there is none, as on a cluster or after a failure, it predicts for itself, with the same
result.

The server ends with Snakemake, however that ends, since the pipe to its standard input is closed
then; and after IDLE_SECONDS without a question, so that a long run does not keep its memory.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

from pydantic import TypeAdapter

from vramlab.base.files import write_text
from vramlab.base.provenance import digest
from vramlab.config.measure import MeasureConfig
from vramlab.config.workload import Workload
from vramlab.results.estimate import Estimate

VARIABLE = "VRAMLAB_PREDICTOR"
"""Environment variable of the jobs: the path of the server's socket."""
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Environment of what predicts: no part of it is to start CUDA, nor compile for a real card."""
IDLE_SECONDS = 60.0
_FEW_COLLECTIONS = 50_000
"""Objects beyond which garbage is looked for: a step makes many, and nearly none in cycles."""
_ANSWER = TypeAdapter(list[Estimate])
_started: list[subprocess.Popen[bytes]] = []  # the pipe to a server is open as long as this is


class Question(TypedDict):
    """The arguments of `vramlab.predict.estimate.estimates`, as plain values."""

    name: str
    workload: dict[str, Any]
    measure: dict[str, Any]
    cards: list[float]
    micro_batches: int
    compared_at: dict[str, int | None]


class Known:
    """Answers by the question, in files, so that what one worker has answered the others know."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of the server."""
        self._folder = folder

    def get(self, key: str) -> list[Estimate] | None:
        """An answer; None if it is not known."""
        with contextlib.suppress(FileNotFoundError):
            return _ANSWER.validate_json(self._path(key).read_bytes())
        return None

    def keep(self, key: str, found: list[Estimate]) -> None:
        """Note an answer."""
        write_text(self._path(key), _ANSWER.dump_json(found).decode())

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def start(workers: int) -> None:
    """Start a server for the jobs that this process starts; it accepts questions at once.

    Args:
        workers: number of processes; each answers one question at a time.
    """
    folder = tempfile.mkdtemp(prefix="vramlab-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "predictor"
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
    except OSError:  # the path of the temporary folder is too long for a socket
        return
    with listener:
        listener.listen(128)
        # A session of its own: the terminal's Ctrl-C is for Snakemake, which ends its jobs.
        command = [sys.executable, "-m", __name__, str(path), str(listener.fileno()), str(workers)]
        server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **NO_GPU},
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    _started.append(server)
    os.environ[VARIABLE] = str(path)


def answer(question: Question, code: Iterable[str | Path] = ()) -> list[Estimate]:
    """Predict, by the server of this run if there is one.

    Args:
        question: what to predict.
        code: source files; where one has changed since the server was started, it is not asked.
    """
    asked = _ask(question, code)
    return predict(question) if asked is None else asked


def predict(question: Question) -> list[Estimate]:
    """Predict in this process."""
    from vramlab.predict.estimate import Limits, estimates  # noqa: PLC0415  imports torch

    measure = MeasureConfig.model_validate(question["measure"])
    return [
        *estimates(
            question["name"],
            Workload.model_validate(question["workload"]),
            Limits(measure, question["cards"]),
            question["micro_batches"],
            question["compared_at"],
        )
    ]


def _ask(question: Question, code: Iterable[str | Path]) -> list[Estimate] | None:
    """The server's answer; None if there is none."""
    path = Path(os.environ.get(VARIABLE, ""))
    try:
        began = path.stat().st_mtime_ns
        if any(Path(file).stat().st_mtime_ns > began for file in code):
            return None
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(json.dumps(question).encode())
            connection.shutdown(socket.SHUT_WR)
            found = _all(connection)
    except OSError:
        return None
    return _ANSWER.validate_json(found) if found else None


def _all(connection: socket.socket) -> bytes:
    """What the other side sends, to its end."""
    with connection.makefile("rb") as stream:
        return stream.read()


def _serve(path: Path, listener: socket.socket, workers: int) -> None:
    """Answer questions, until there are none or Snakemake has ended.

    The first one, which is the baseline's and which the others wait for, is answered before there
    are more processes: these then have what it took to answer it.
    """
    gc.disable()  # nothing of what an import makes is garbage
    importlib.import_module("torch._dynamo")  # otherwise in the first step of each worker
    importlib.import_module("vramlab.predict.estimate")
    gc.freeze()
    gc.set_threshold(_FEW_COLLECTIONS)
    gc.enable()
    listener.settimeout(IDLE_SECONDS)
    _end_with_snakemake(path)
    known = Known(path.parent)
    try:
        _answer_next(listener, known)
        for _ in range(workers - 1 if _a_fork_can_train() else 0):
            if not os.fork():
                _end_with_snakemake(path)
                break
        while True:
            _answer_next(listener, known)
    except TimeoutError:
        return


def _a_fork_can_train() -> bool:
    """Whether a forked process can run a backward pass, after this process has run one.

    torch has threads for it where it knows of a device that is no CPU, be it a stand-in that a fake
    tensor registered; a forked process lacks them, and each backward pass there fails.
    """
    torch = importlib.import_module("torch")
    child = os.fork()
    if not child:
        status = 1
        try:
            torch.ones(1, requires_grad=True).sum().backward()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def predict_once(question: Question, known: Known) -> list[Estimate]:
    """Predict, unless a technique that is counted alike was predicted already, by any worker.

    Only for CUDA: what a CPU lacks differs between such techniques.

    Args:
        question: what to predict.
        known: the answers so far; gets this one.
    """
    from vramlab.predict.estimate import counted_alike  # noqa: PLC0415  imports torch

    workload = Workload.model_validate(question["workload"])
    same = {
        "workload": counted_alike(workload).model_dump(mode="json"),
        "name": "",
        "compared_at": {},
    }
    key = digest({**question, **same})
    found = known.get(key)
    # The peaks are those on the way to the largest batches, and that of the batch compared at.
    if found is None or any(
        estimate.device != "cuda"
        or estimate.batch_size is None
        or question["compared_at"].get(estimate.device) != estimate.batch_size
        for estimate in found
    ):
        found = predict(question)
        known.keep(key, found)
    named = {"technique": question["name"], "axes": workload.technique}
    return [estimate.model_copy(update=named) for estimate in found]


def _answer_next(listener: socket.socket, known: Known) -> None:
    """Wait for a question and answer it; where that fails, the job predicts for itself."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(None)
        found = predict_once(json.loads(_all(connection)), known)
        with contextlib.suppress(ConnectionError):  # the job was stopped
            connection.sendall(_ANSWER.dump_json(found))


def _end_with_snakemake(path: Path) -> None:
    """Let a thread end this process when the pipe to its standard input is closed."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        shutil.rmtree(path.parent, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]))
