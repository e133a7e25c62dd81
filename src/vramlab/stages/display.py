"""What a run shows: one line of progress, warnings, and at its end what failed or was stopped.

Snakemake finds a logger plugin (`--logger`) only as an installed package of a certain name. vramlab
runs from its checkout, so the Snakefile puts this handler in the place of Snakemake's own. That
one's full text stays in `.snakemake/log`, and `--verbose` or `--printshellcmds` bring it back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from snakemake_interface_logger_plugins.common import LogEvent

from vramlab.base.errors import suggestion
from vramlab.base.progress import CLEAR, duration, seconds_left
from vramlab.base.text import printable, without_credentials
from vramlab.stages.frame import TOLD_BY_THE_RUN, job_name
from vramlab.stages.interrupt import Interruption
from vramlab.stages.plan import PlannedJob, plan
from vramlab.stages.time_left import Earlier, Left, TimeLeft

SECONDS_BETWEEN_LINES = 60.0
"""Where there is no terminal."""
_SECONDS_BETWEEN_DRAWINGS = 1.0
_TAIL_BYTES = 1 << 14
_LOGS_READ = 8
_LINE = re.compile(r"^\d\d:\d\d:\d\d ([A-Z]+) (.*)$", re.MULTILINE)
_SAVED = re.compile(r"after step (\d+), which is saved in")
_ENDED = re.compile(r"died with <Signals\.(\w+): \d+>|returned non-zero exit status (\d+)")
_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGHUP: "the end of its terminal (SIGHUP)"}
_NO_RULE = re.compile(r"^No rule to produce (.+) \(if you use input functions", re.MULTILINE)
_WILDCARDS = "Target rules may not contain wildcards."
_UNEXPECTED = "unexpected error in the rule"
"""What an error of vramlab's own begins with; its job shows it by itself, with a traceback."""
_NAMES = 4
"""Jobs that are named for one mistake, as far as there are so many."""
_NOTHING = "Nothing to be done"
_NOISE = "Assuming unrestricted shared filesystem usage."
_AFTER_FAILURES = ("At least one job did not complete", "Exiting because a job execution failed")
_AGAIN = "run the same command again to go on"


@dataclass
class _Job:
    """A job that runs, and what its log says."""

    rule: str
    name: str
    local: bool
    log: Path | None
    outputs: list[str]
    began: float = field(default_factory=time.time)

    def lines(self, *levels: str) -> list[str]:
        """The last messages of these levels that this job, not one before it, has logged."""
        if self.log is None:
            return []
        with contextlib.suppress(OSError), self.log.open("rb") as stream:
            if self.log.stat().st_mtime < self.began - 1:  # clocks of file systems are coarse
                return []
            stream.seek(max(stream.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            text = stream.read().decode(errors="replace")
            return [message for level, message in _LINE.findall(text) if level in levels]
        return []

    @property
    def writes_to_terminal(self) -> bool:
        """Whether it shows a result: it has a script, which logs, and no output."""
        return not self.outputs and self.log is not None


@dataclass
class _Failure:
    name: str
    sentence: str
    log: str


class Display(logging.Handler):
    """Takes what Snakemake logs, and shows little of it."""

    def __init__(
        self,
        default: logging.Handler,
        stream: TextIO,
        interruption: Interruption,
        plans: bool = False,
        reasons: bool = False,
    ) -> None:
        """Show on `stream`.

        Args:
            default: Snakemake's handler, which writes what is not of a run or went wrong.
            stream: a terminal or a file.
            interruption: tells whether the run was stopped.
            plans: whether this is a dry run.
            reasons: whether a dry run tells why each job would run.
        """
        super().__init__()
        self.name = "vramlab"
        self._default, self._stream, self._interruption = default, stream, interruption
        self._plans, self._reasons = plans, reasons
        self._on_terminal = stream.isatty()
        self._started = self._drawn = False
        self._start = self._said = time.monotonic()
        self._last = ""
        self._counts: dict[str, int] = {}
        self._time_left = TimeLeft({}, self._start)
        self._done = 0
        self._jobs: dict[int, _Job] = {}
        self._heard: dict[int, str] = {}
        self._planned: list[PlannedJob] = []
        self._failures: dict[int, _Failure] = {}
        self._causes: dict[int, str] = {}
        self._mistakes: set[str] = set()  # the sentences that were said
        self._farewell: list[str] = []
        self._end = threading.Event()
        self.on_nothing: Callable[[], None] = lambda: None
        """Called where all is up to date, so that no job says what there is."""
        self.targets: Callable[[], Collection[str]] = lambda: ()
        """The rules that can be asked for by their names."""
        self.earlier: Callable[[], Earlier] = Earlier
        """Tells what earlier runs of the experiment took."""
        self._on: Mapping[Any, Callable[[Any], None]] = {
            LogEvent.WORKFLOW_STARTED: self._on_start,
            LogEvent.RUN_INFO: self._on_counts,
            LogEvent.JOB_INFO: self._on_job,
            LogEvent.JOB_FINISHED: self._on_finished,
            LogEvent.JOB_ERROR: self._on_failed,
            LogEvent.ERROR: self._on_error,
            None: self._on_text,
        }

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record; of the events that no method handles, nothing is shown."""
        if handle := self._on.get(getattr(record, "event", None)):
            handle(record)

    def _on_start(self, _: Any) -> None:
        self._started = True

    def _on_counts(self, record: Any) -> None:
        """The jobs of each rule, in the order of the workflow; said again at a dry run's end."""
        first = not self._counts
        self._counts = {rule: n for rule, n in record.stats.items() if rule != "total"}
        if first and not self._plans:
            self._time_left = TimeLeft(self._counts, time.monotonic(), self.earlier())
            if not self._on_terminal:
                self._say(self._progress())
            threading.Thread(target=self._tick, daemon=True).start()

    def _on_job(self, record: Any) -> None:
        name = job_name(record.rule_name, record.wildcards)
        if self._plans:
            values = name.removeprefix(record.rule_name).strip()
            # A target, which has no log, says at a run's end what there is by then.
            message = record.rule_msg if record.log else ""
            described = values, message or "", record.reason
            self._planned.append(PlannedJob(record.jobid, record.rule_name, *described))
            return
        log = Path(record.log[0]) if record.log else None
        self._jobs[record.jobid] = _Job(
            record.rule_name, name, bool(record.local), log, list(record.output)
        )
        self._time_left.started(record.jobid, record.rule_name, time.monotonic())
        if log is None and record.rule_msg:  # a target, such as `all`
            self._farewell.append(record.rule_msg)
        self._draw()

    def _on_finished(self, record: Any) -> None:
        job = self._jobs.pop(record.job_id, None)
        if job is None:
            return
        said = job.lines("WARNING")
        skipped = any("skipped" in line for line in job.lines("INFO", "WARNING"))
        self._time_left.finished(record.job_id, time.monotonic(), typical=not skipped)
        self._failures.pop(record.job_id, None)  # of an earlier attempt
        self._done += 1
        if not job.local:  # its own terminal is elsewhere
            for line in said:
                self._say(f"{job.name}: {line}")
        self._draw()

    def _on_failed(self, record: Any) -> None:
        if self._interruption.received is not None:
            return  # what still ran is told at the end
        job = self._jobs.pop(record.jobid, None)
        if job is None:
            return
        self._time_left.failed(record.jobid)
        said = job.lines("ERROR")
        cause = self._causes.pop(record.thread, "")
        if not said and record.indent:
            return  # of a group whose other jobs ended well, or did not begin
        sentence = said[-1] if said else record.rule_msg or _ended(cause)
        failure = _Failure(job.name, printable(sentence.strip()), ", ".join(record.log))
        self._failures[record.jobid] = failure
        told = failure.sentence.startswith(_UNEXPECTED) or not said  # by the job, or at the end
        if not (job.local and told) and failure.sentence not in self._mistakes:
            self._mistakes.add(failure.sentence)
            self._say(f"{failure.name}: {failure.sentence}")
        self._draw()

    def _on_error(self, record: Any) -> None:
        """An exception in Snakemake; that a job's script failed is told by its log."""
        text = record.getMessage()
        if "CalledProcessError" in text:
            self._causes[record.thread] = text
        elif not (self._failures and any(words in text for words in _AFTER_FAILURES)):
            self._pass_on(record)

    def _on_text(self, record: logging.LogRecord) -> None:
        text = str(record.msg)
        if record.levelno >= logging.WARNING:
            hidden = self._failures and any(words in text for words in _AFTER_FAILURES)
        else:
            hidden = (self._started and not text.startswith(_NOTHING)) or text == _NOISE
        if not hidden:
            self._pass_on(record)
        if text.startswith(_NOTHING) and not self._plans:
            self.on_nothing()

    def _pass_on(self, record: logging.LogRecord) -> None:
        if self._interruption.received is not None:
            return  # a consequence
        self._clear()
        if sentence := self._no_target(record.getMessage()):
            self._say(sentence)
        else:
            self._default.handle(record)
        self._draw()

    def _no_target(self, text: str) -> str:
        """What a user asked for that no rule makes, in a sentence; empty for any other text."""
        if found := _NO_RULE.search(text):
            name, known = found[1], self.targets()
            if "/" in name:
                listed = ", ".join(sorted(known))
                what = f"{name}: no rule makes such a file; name another, or one of {listed}"
            else:
                what = f"there is no target {name!r}; {suggestion(name, known)}"
            return f"vramlab: {what}"
        if _WILDCARDS in text:
            listed = ", ".join(sorted(self.targets()))
            return (
                "vramlab: a rule that makes one file for each technique or corpus is no target; "
                f"name one of its files, or one of {listed}"
            )
        return ""

    def _tick(self) -> None:
        while not self._end.wait(_SECONDS_BETWEEN_DRAWINGS):
            with self.lock or contextlib.nullcontext():
                self._draw()

    def _draw(self) -> None:
        """Show how far the run is: on a terminal now, elsewhere now and then."""
        if not self._counts or self._plans or self._end.is_set():
            return
        if self._on_terminal:
            if any(job.writes_to_terminal for job in self._jobs.values()):
                self._clear()
                return
            self._write(f"{CLEAR}{self._progress()[: self._width() - 1]}")
            self._drawn = True
        elif time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            if (text := self._progress()) != self._last:
                self._say(text)
            self._said, self._last = time.monotonic(), text

    def _width(self) -> int:
        """The terminal's columns; 80 where it does not say, or is gone while its run goes on."""
        with contextlib.suppress(OSError, ValueError):
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        return 80

    def _progress(self) -> str:
        if self._interruption.received is not None:
            return "stopping: waiting for jobs to save what they have; Ctrl-C ends them at once"
        text = f"{self._done} of {sum(self._counts.values())} jobs"
        if self._failures:
            text += f", {len(self._failures)} failed"
        if self._jobs:
            # The first of those that run whose log tells how far it is; few, if there are many.
            some = [*self._jobs.items()][:_LOGS_READ]
            said = [(number, job, job.lines("INFO")) for number, job in some]
            self._hear((number, lines[-1]) for number, _, lines in said if lines)
            if left := self._time_left.left(time.monotonic()):
                text += _told(left)
            _, job, lines = max(said, key=lambda found: bool(found[2]))
            text += f"; {job.name}{f': {lines[-1]}' if lines else ''}"
        return printable(without_credentials(text))

    def _hear(self, said: Iterable[tuple[int, str]]) -> None:
        """Let jobs that run tell how much is left of them, by the last lines of their logs."""
        for number, line in said:
            if self._heard.get(number) != line and (seconds := seconds_left(line)) is not None:
                self._heard[number] = line
                self._time_left.says(number, seconds, time.monotonic())

    def _say(self, text: str) -> None:
        self._clear()
        self._write(f"{without_credentials(text)}\n")
        self._said = time.monotonic()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the terminal's line to what the caller prints."""
        with self.lock or contextlib.nullcontext():
            self._clear()
            yield

    def _clear(self) -> None:
        if self._drawn:
            self._write(CLEAR)
            self._drawn = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a terminal that is gone
            self._stream.write(text)
            self._stream.flush()

    def close(self) -> None:
        """Say how the run ended."""
        if not self._end.is_set():
            self._end.set()
            with self.lock or contextlib.nullcontext():
                if text := self._summary():
                    self._say(text)
                self._clear()
            self._default.close()
        super().close()

    def _summary(self) -> str:
        total = sum(self._counts.values())
        if self._interruption.received is not None:
            return self._stopped(self._interruption.received, total)
        if self._plans:
            return plan(self._counts, self._planned, self._reasons) if total else ""
        if self._failures:
            return self._failed(total)
        if total and self._done == total:
            after = duration(time.monotonic() - self._start)
            done = f"{total} job{'s' * (total > 1)} done after {after}."
            return "\n".join([done, *self._farewell])
        return ""

    def _failed(self, total: int) -> str:
        count, rest = len(self._failures), total - self._done - len(self._failures)
        lines = [f"{count} of {total} jobs failed, {self._done} are done"]
        if rest:
            lines[0] += f", and {rest} did not run"
        lines[0] += ":"
        alike: dict[str, list[_Failure]] = {}
        for failure in self._failures.values():
            alike.setdefault(failure.sentence, []).append(failure)
        for sentence, failures in alike.items():
            lines.append(f"  {_names(failures)}: {sentence}")
            lines += [f"    log: {failures[0].log}"] if failures[0].log else []
        return "\n".join(lines)

    def _stopped(self, number: signal.Signals, total: int) -> str:
        by = f"Stopped by {_SIGNALS.get(number, number.name)}"
        if not total or self._plans:
            return f"{by}; no job had begun."
        saved = [_left_by(job) for job in self._jobs.values()]
        return f"{by}: {'; '.join([f'{self._done} of {total} jobs are done', *saved])}; {_AGAIN}."


def _names(failures: Sequence[_Failure]) -> str:
    """The jobs that made the same mistake."""
    names = [failure.name for failure in failures]
    if len(names) > _NAMES:
        names[_NAMES - 1 :] = [f"{len(names) - _NAMES + 1} more jobs"]
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _left_by(job: _Job) -> str:
    """What a job that was stopped has left for the next run."""
    for line in reversed(job.lines("ERROR")):
        if found := _SAVED.search(line):
            return f"{job.name} is saved after step {found[1]}"
    if job.rule == "epoch":
        return f"{job.name} goes on from its last checkpoint, if it had one"
    partial = [p for name in job.outputs for p in Path(name).parent.glob(f"{Path(name).name}.*")]
    if any(path.suffix == ".partial" for path in partial):
        return f"{job.name} keeps what it has fetched"
    return f"{job.name} begins again"


def _ended(cause: str) -> str:
    """A sentence on a job that ended without one, from the text of Snakemake's exception."""
    if not (found := _ENDED.search(cause)):
        return "failed; see its log"
    if found[1] == "SIGKILL":
        return (
            "ended by SIGKILL; if the machine ran out of memory give it more, and run snakemake "
            "again"
        )
    how = f"ended by {found[1]}" if found[1] else f"exit status {found[2]}"
    return f"{how}; see its log, and run snakemake again"


def _told(left: Left) -> str:
    """The clause on the time that is left; none where all that is known is less than a minute."""
    minutes = int(left.seconds / 60) if left.at_least else round(left.seconds / 60)
    if minutes < 1:
        return "" if left.at_least else ", less than a minute left"
    kind = "at least" if left.at_least else "about"
    return f", {kind} {f'{minutes // 60} h ' if minutes >= 60 else ''}{minutes % 60} min left"


def show_one_line(
    logger: logging.Logger, settings: Any, interruption: Interruption
) -> Display | None:
    """Put a Display in the place of Snakemake's handler; None if the user asked for its text.

    Args:
        logger: `snakemake.logging.logger`.
        settings: `workflow.output_settings`.
        interruption: of this run.
    """
    quiet = {choice.name for choice in settings.quiet or ()}
    default: Any = next((h for h in logger.handlers if h.name == "DefaultStreamHandler"), None)
    wanted = settings.verbose or settings.debug_dag or settings.printshellcmds or "ALL" in quiet
    wanted = wanted or ("PROGRESS" in quiet and not settings.dryrun)
    if default is None or wanted:
        return None
    logger.removeHandler(default)
    os.environ[TOLD_BY_THE_RUN] = os.uname().nodename
    reasons = "REASON" not in quiet
    display = Display(default, default.stream, interruption, settings.dryrun, reasons)
    logger.addHandler(display)
    return display
