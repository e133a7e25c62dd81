"""Wraps the script of each rule: logging, and errors reported in one sentence."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from vramlab.base.allocator_setting import use_expandable_segments
from vramlab.base.errors import Stopped, VramlabError
from vramlab.base.files import remove_leftovers
from vramlab.base.progress import IN_THE_LOG_ONLY, PlainFormatter, Terminal
from vramlab.base.provenance import edited_code, note_code, recorded
from vramlab.base.text import first_line, printable
from vramlab.stages.job_lock import job_lock

log = logging.getLogger(__name__)

TOLD_BY_THE_RUN = "VRAMLAB_TOLD_BY_THE_RUN"
"""Environment variable of the jobs of a run that tells their mistakes, each once: its machine."""
_ADVICE = {
    errno.ENOSPC: "make room on this disk",
    errno.EDQUOT: "make room in your quota",
    errno.EFBIG: "raise the limit of the size of files (ulimit -f)",
    errno.EROFS: "make this folder writable",
    errno.EACCES: "make this folder writable for you",
    errno.EPERM: "make this folder writable for you",
    errno.EISDIR: "move the folder that stands there away",
    errno.ELOOP: "move the link that stands there away",
    errno.ENOTDIR: "move the file that stands in the place of a folder away",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the network file system",
}
"""Advice for the user on system errors that are not bugs in this program."""


@contextmanager
def stage(snakemake: Any) -> Iterator[None]:
    """Run the block under the job's lock; log to the rule's `log:` file, warnings to the terminal.

    An error that the user can fix ends the script with a one-sentence message and exit status 1;
    for any other exception, the traceback is logged as well.
    """
    use_expandable_segments()
    path = Path(snakemake.log[0])
    terminal = Terminal(job_name(snakemake.rule, snakemake.wildcards))
    logging.basicConfig(level=logging.INFO, handlers=[terminal], force=True)
    logging.captureWarnings(capture=True)
    # torch writes its warnings to the terminal itself; torchao, which peft imports, causes some.
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it has a handler of its own
    try:
        note_code(
            snakemake.input.get("code", [])
        )  # before waiting for the lock, which can take hours
        with job_lock(path.with_name(f"{path.name}.lock")):
            logging.root.addHandler(
                _file(path)
            )  # only while holding the lock: another process may be writing it
            for output in snakemake.output:
                remove_leftovers(output)
            yield
            _say_what_was_edited(snakemake.output)
    except Stopped as error:
        log.error("%s", error, extra=IN_THE_LOG_ONLY)
        sys.exit(1)
    except VramlabError as error:
        if error.__cause__ is not None:
            log.info("the traceback of %s:", error, exc_info=error, extra=IN_THE_LOG_ONLY)
        _refuse(str(error))
    except OSError as error:
        if error.errno not in _ADVICE:
            _unexpected(snakemake.rule, error)
        where = error.filename2 or error.filename or snakemake.output[0]
        advice = _ADVICE[error.errno]
        _refuse(f"{where}: {error.strerror}; {advice}, and run snakemake again")
    except Exception as error:  # noqa: BLE001  ends the process after logging the traceback
        _unexpected(snakemake.rule, error)


def _say_what_was_edited(outputs: Sequence[str]) -> None:
    """Warn if source files changed while the job ran: the result comes from the old code."""
    if not (edited := edited_code()):
        return
    names = ", ".join(edited)
    if recorded(outputs) is None:
        raise VramlabError(f"{names}: edited while this job ran; run snakemake again")
    log.warning(
        "%s: edited while this job ran; the result is of the code as it was, and the next run of "
        "snakemake makes it again",
        names,
    )


def _refuse(sentence: str) -> NoReturn:
    """End with a sentence; where a run of this machine can read it in the log, that says it."""
    told = os.environ.get(TOLD_BY_THE_RUN) == os.uname().nodename
    if told:
        log.error("%s", sentence, extra=IN_THE_LOG_ONLY)
    files = [handler for handler in logging.root.handlers if isinstance(handler, _LogFile)]
    if not told or not files or files[0].lost:
        log.error("%s", sentence)
    sys.exit(1)


def _unexpected(rule: str, error: Exception) -> NoReturn:
    what = f"{type(error).__name__}: {printable(first_line(error))}"
    log.exception("unexpected error in the rule %s (%s); please report it", rule, what)
    sys.exit(2)


class _LogFile(logging.FileHandler):
    """A log file whose write errors are ignored: a full disk must not cost the result."""

    lost = False
    """Whether a line could not be written."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the line."""
        self.lost = True

    def close(self) -> None:
        """Close the file, whether or not its last lines can be written."""
        with contextlib.suppress(OSError):
            super().close()


def _file(path: Path) -> logging.Handler:
    _LogFile(path, mode="w", encoding="utf-8").close()
    # Append mode: all ranks of a parallel technique write to this file.
    handler = _LogFile(path, mode="a", encoding="utf-8")
    handler.setFormatter(
        PlainFormatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    )
    return handler


def job_name(rule: str, wildcards: Any) -> str:
    """The job's name in log lines, such as "epoch flash own 256 9", to tell parallel jobs apart."""
    values = dict(wildcards.items())
    first = ("technique", "setting")
    names = [*(name for name in first if name in values), *values]
    return " ".join([rule, *(values[name] for name in dict.fromkeys(names))])
