"""Run a function in several processes of this machine, by torchrun's own agent.

The processes find each other at a free port of the loopback address. What rank 0 returns comes
back; what goes wrong first, in whichever of them, is raised here, and the others are ended.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from torch import distributed

from vramlab.base.errors import VramlabError
from vramlab.memory.out_of_memory import is_out_of_memory

log = logging.getLogger(__name__)

SECONDS_TO_SAVE = 90
"""How long the processes may take to save themselves after a signal; SLURM's profile gives 120."""
_SECONDS_FOR_THE_CAUSE = 1.0
"""A process whose peer is gone waits so long, for the agent to see first which one it was."""
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
_AGENT = ("torch.distributed.elastic", "torchelastic", "torch.multiprocessing")
_Handlers = list[tuple[str | None, str | None, str | None]]


class RankError(VramlabError):
    """A process of a parallel technique ended without a word."""


class _InRank(Exception):
    """The traceback of an error in another process, which that error is raised from."""


def launch(function: Callable[..., Any], *arguments: Any, processes: int, cuda: bool) -> Any:
    """Call a function in `processes` new processes at once; return what that of rank 0 returns.

    Inside it, torch.distributed is initialised: over NCCL for tensors on a GPU, where rank r has
    the r-th GPU that is visible, and over gloo for those on a CPU. The function, its arguments and
    its result travel as pickles. This process itself touches no GPU.

    Raises:
        RankError: a process was killed, or a signal ended all of them.
        Exception: the first one that a process raised.
    """
    # Here, since the import takes a part of a second that a technique of one process has not.
    from torch.distributed.elastic.multiprocessing import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    _silence_the_agent()
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(SECONDS_TO_SAVE)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",  # a machine's own name need not resolve
        max_restarts=0,
        start_method="spawn",
    )
    folder = Path(tempfile.mkdtemp(prefix="vramlab-ranks-"))
    cause: BaseException
    try:
        with _signals(SignalException):
            results = elastic_launch(config, _work)(folder, _handlers(), cuda, function, arguments)
        return results[0]
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        cause = _error_of(folder, rank, failure.exitcode) or RankError(
            f"process {rank} of {processes} was ended by "
            f"{failure.signal_name() or f'exit status {failure.exitcode}'}; if the machine ran out "
            "of memory give it more or take fewer processes, and run snakemake again"
        )
    except SignalException as error:
        cause = _error_of(folder) or RankError(
            f"stopped by {error.sigval.name}; run snakemake again"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    raise cause


def _silence_the_agent() -> None:
    """What it says of errors and signals is said here, in one sentence."""
    for name in logging.root.manager.loggerDict:
        if name.startswith(_AGENT):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _signals(exception: type[Any]) -> Iterator[None]:
    """Pass SIGUSR1 on as the agent does SIGTERM; afterwards put back what the agent changed."""

    def stop(number: int, _: FrameType | None) -> NoReturn:
        raise exception("stopped", signal.Signals(number))

    before = {number: signal.getsignal(number) for number in _HANDLED}
    signal.signal(signal.SIGUSR1, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _error_of(folder: Path, rank: int | None = None, status: int = 1) -> BaseException | None:
    """The first error that a process wrote down; None where `rank` was killed before it could."""
    if rank is not None and status < 0 and not (folder / str(rank)).exists():
        return None
    found = [pickle.loads(path.read_bytes()) for path in folder.glob("[0-9]*")]
    if not found:
        return None
    _, its_rank, content, told = min(found)
    try:
        error: BaseException = pickle.loads(content)
    except Exception:  # noqa: BLE001  an error of a library need not survive the journey
        error = RuntimeError(told.splitlines()[-1])
    error.__cause__ = _InRank(f"process {its_rank}:\n{told}")
    return error


def _work(
    folder: Path,
    handlers: _Handlers,
    cuda: bool,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> Any:
    """What each process does."""
    rank = int(os.environ["RANK"])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # also sent where the parent is gone
    _log_as(handlers, rank)
    try:
        _join(rank, cuda)
        result = function(*arguments)
        distributed.destroy_process_group()
        return result if rank == 0 else None
    except Exception as error:  # noqa: BLE001  it is raised in the parent
        _tell(folder, rank, error)
        # A clean end would wait for operations that the others are in as well.
        os._exit(1)


def _join(rank: int, cuda: bool) -> None:
    """Meet the other processes."""
    if not cuda:
        distributed.init_process_group("gloo")
        return
    importlib.import_module("torch._dynamo")  # seconds, which the first step would take
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    distributed.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
    # NCCL takes its buffers at its first operation, outside torch's allocator: before all else.
    count = distributed.get_world_size()
    one, all_of_them = torch.zeros(1, device=device), torch.zeros(count, device=device)
    distributed.all_reduce(one)
    distributed.all_gather_into_tensor(all_of_them, one)
    distributed.reduce_scatter_tensor(one, all_of_them)
    torch.cuda.synchronize(device)


def _tell(folder: Path, rank: int, error: Exception) -> None:
    """Write an error down for the parent, with its moment: the first one is the cause."""
    moment, told = time.monotonic_ns(), traceback.format_exc()  # the clock is the machine's
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends anyway, and must be heard first
    try:
        content = pickle.dumps(error)
    except Exception:  # noqa: BLE001  whatever an error of a library holds
        content = pickle.dumps(RuntimeError(str(error)))
    temporary = folder / f".{rank}"
    temporary.write_bytes(pickle.dumps((moment, rank, content, told)))
    temporary.rename(folder / str(rank))
    if isinstance(error, RuntimeError) and not is_out_of_memory(error):
        time.sleep(_SECONDS_FOR_THE_CAUSE)


def _handlers() -> _Handlers:
    """Where this process logs to: the file, or None for the terminal; formats of line and date."""
    return [
        (getattr(handler, "baseFilename", None), handler.formatter._fmt, handler.formatter.datefmt)
        for handler in logging.root.handlers
        if isinstance(handler, logging.StreamHandler) and handler.formatter is not None
    ]


def _log_as(handlers: _Handlers, rank: int) -> None:
    """Log to the same places: rank 0 all, the others what is wrong."""
    logging.root.handlers.clear()
    for path, line, date in handlers:
        handler = logging.StreamHandler(sys.stderr) if path is None else logging.FileHandler(path)
        handler.setFormatter(logging.Formatter(line, date))
        logging.root.addHandler(handler)
    logging.root.setLevel(logging.WARNING if rank else logging.INFO)
    logging.captureWarnings(capture=True)
