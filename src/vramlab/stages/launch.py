"""Run a function in several processes on this machine, with torchrun's elastic agent.

How it works: the agent spawns one process per rank. They meet at a free port on localhost, join a
process group (NCCL on GPUs, gloo on CPUs) and call the function. The agent returns the result of
rank 0. A rank that fails pickles its exception, with a timestamp, into a temporary folder and exits
without cleaning up, because a clean exit would wait for collective operations that the other ranks
never finish. The agent then stops the other ranks, which often fail too because their peer is gone.
The parent raises the exception with the earliest timestamp, since the later ones are consequences.
A rank that was killed leaves no file, so the parent reports its signal or exit status instead.
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

from vramlab.base.errors import Stopped, VramlabError
from vramlab.base.progress import for_the_user
from vramlab.memory.out_of_memory import is_out_of_memory

log = logging.getLogger(__name__)

SECONDS_TO_SAVE = 90
"""How long the processes may take to write a checkpoint after a signal; SLURM grants 120."""
_SECONDS_FOR_THE_CAUSE = 1.0
"""A rank waits this long before it exits, so that the agent sees first which peer failed."""
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
_AGENT = ("torch.distributed.elastic", "torchelastic", "torch.multiprocessing")
_Handlers = list[tuple[str | None, str | None, str | None, int]]


class RankError(VramlabError):
    """A process of a parallel technique was killed."""


class _InRank(Exception):
    """The traceback from another process, set as the cause of the error that is raised here."""


def launch(function: Callable[..., Any], *arguments: Any, processes: int, cuda: bool) -> Any:
    """Call a function in `processes` new processes; return the result of rank 0.

    In each process torch.distributed is initialised: NCCL for CUDA tensors, where rank r uses the
    r-th visible GPU, and gloo for CPU tensors. The function, its arguments and its result are
    pickled. The calling process does not use a GPU.

    Raises:
        RankError: a process was killed.
        Stopped: a signal ended all of them.
        Exception: the first one that a process raised, unless a signal had stopped them.
    """
    # Imported here: it is slow, and only parallel techniques need it.
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
        cause = _saved_error(folder, rank, failure.exitcode) or RankError(
            f"process {rank} of {processes} was ended by "
            f"{failure.signal_name() or f'exit status {failure.exitcode}'}; if the machine ran out "
            "of memory give it more or take fewer processes, and run snakemake again"
        )
    except SignalException as error:
        # A rank that the signal ends before it can handle it closes its connections, and the others
        # fail for that: only a sentence of vramlab's own (a saved checkpoint) says more than the
        # signal.
        saved = _saved_error(folder)
        cause = Stopped(f"stopped by {error.sigval.name}; run snakemake again")
        if isinstance(saved, VramlabError):
            cause = saved
        else:
            cause.__cause__ = saved
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    raise cause


def _silence_the_agent() -> None:
    """Turn off the agent's log: `launch` reports errors and signals in one sentence."""
    for name in logging.root.manager.loggerDict:
        if name.startswith(_AGENT):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _signals(exception: type[Any]) -> Iterator[None]:
    """Forward SIGUSR1 as the agent does SIGTERM; restore all signal handlers afterwards."""

    def stop(number: int, _: FrameType | None) -> NoReturn:
        raise exception("stopped", signal.Signals(number))

    before = {number: signal.getsignal(number) for number in _HANDLED}
    signal.signal(signal.SIGUSR1, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _saved_error(folder: Path, rank: int | None = None, status: int = 1) -> BaseException | None:
    """The earliest exception that a process saved; None if `rank` was killed before it could."""
    if rank is not None and status < 0 and not (folder / str(rank)).exists():
        return None
    found = [pickle.loads(path.read_bytes()) for path in folder.glob("[0-9]*")]
    if not found:
        return None
    _, failed_rank, content, trace = min(found)
    try:
        error: BaseException = pickle.loads(content)
    except Exception:  # noqa: BLE001  some libraries' exceptions cannot be unpickled
        error = RuntimeError(trace.splitlines()[-1])
    error.__cause__ = _InRank(f"process {failed_rank}:\n{trace}")
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
        _save_error(folder, rank, error)
        # A clean exit would wait for collective operations that never finish.
        os._exit(1)


def _join(rank: int, cuda: bool) -> None:
    """Join the process group."""
    if not cuda:
        distributed.init_process_group("gloo")
        # A rank that has joined may end while another one still connects, which then fails.
        distributed.barrier()
        return
    importlib.import_module("torch._dynamo")  # takes seconds: not in the first step
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    distributed.init_process_group("cpu:gloo,cuda:nccl", device_id=device)
    # NCCL allocates its buffers, outside torch's allocator, at the first collective operation of
    # each kind. Run each kind once now, so that free memory is measured without these buffers.
    count = distributed.get_world_size()
    one, all_of_them = torch.zeros(1, device=device), torch.zeros(count, device=device)
    distributed.all_reduce(one)
    distributed.all_gather_into_tensor(all_of_them, one)
    distributed.reduce_scatter_tensor(one, all_of_them)
    torch.cuda.synchronize(device)


def _save_error(folder: Path, rank: int, error: Exception) -> None:
    """Save an exception for the parent, with a timestamp: the earliest one is the cause."""
    moment, trace = time.monotonic_ns(), traceback.format_exc()  # one clock for all processes
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it exits anyway, after it has saved the error
    try:
        content = pickle.dumps(error)
    except Exception:  # noqa: BLE001  some libraries' exceptions cannot be pickled
        content = pickle.dumps(RuntimeError(str(error)))
    temporary = folder / f".{rank}"
    temporary.write_bytes(pickle.dumps((moment, rank, content, trace)))
    temporary.rename(folder / str(rank))
    if isinstance(error, RuntimeError) and not is_out_of_memory(error):
        time.sleep(_SECONDS_FOR_THE_CAUSE)


def _handlers() -> _Handlers:
    """Where this process logs to: file, or None for the terminal; formats of line, date; level."""
    return [
        (
            getattr(handler, "baseFilename", None),
            handler.formatter._fmt,
            handler.formatter.datefmt,
            handler.level,
        )
        for handler in logging.root.handlers
        if isinstance(handler, logging.StreamHandler) and handler.formatter is not None
    ]


def _log_as(handlers: _Handlers, rank: int) -> None:
    """Log to the same places: rank 0 everything, the others only warnings and errors."""
    logging.root.handlers.clear()
    for path, line, date, level in handlers:
        handler = logging.StreamHandler(sys.stderr) if path is None else logging.FileHandler(path)
        handler.setFormatter(logging.Formatter(line, date))
        handler.setLevel(level)
        if path is None:
            handler.addFilter(for_the_user)
        logging.root.addHandler(handler)
    logging.root.setLevel(logging.WARNING if rank else logging.INFO)
    logging.captureWarnings(capture=True)
