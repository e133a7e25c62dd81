"""What a run shows, from the records that Snakemake logs."""

import io
import logging
import os
import signal
import time

import pytest
from snakemake.exceptions import MissingRuleException
from snakemake_interface_logger_plugins.common import LogEvent

from vramlab.stages import display as module
from vramlab.stages.display import Display, show_one_line
from vramlab.stages.interrupt import Interruption
from vramlab.stages.time_left import Earlier

SCRIPT_FAILED = """RuleException:
CalledProcessError in file "rules/epoch.smk", line 36:
Command 'set -euo pipefail; python epoch.py' {how}."""


class Output(io.StringIO):
    terminal = False

    def isatty(self):
        return self.terminal

    def fileno(self):
        return 0


class Run:
    """Makes the records of a run, and keeps what is shown."""

    def __init__(self, folder, terminal=False, **options):
        self.folder, self.output = folder, Output()
        self.output.terminal = terminal
        default = logging.StreamHandler(self.output)
        self.interruption = Interruption()
        self.display = Display(default, self.output, self.interruption, **options)
        self.says("Assuming unrestricted shared filesystem usage.")
        self.event(LogEvent.WORKFLOW_STARTED)

    def event(self, event=None, message="", level=logging.INFO, **fields):
        record = logging.LogRecord("snakemake", level, "", 0, message, (), None)
        vars(record).update(fields)
        if event is not None:
            record.event = event
        self.display.handle(record)

    def says(self, message, level=logging.INFO):
        self.event(None, message, level)

    def counts(self, **counts):
        self.event(LogEvent.RUN_INFO, stats={**counts, "total": sum(counts.values())})

    def starts(self, number, rule="epoch", local=True, log="", output=("made",), **wildcards):
        path = self.folder / f"{number}.log"
        if log is not None:
            path.write_text(log)
        described = {"rule_name": rule, "rule_msg": f"Do {rule}", "reason": "code"}
        described |= {"log": [] if log is None else [str(path)], "output": list(output)}
        self.event(LogEvent.JOB_INFO, jobid=number, local=local, wildcards=wildcards, **described)

    def finishes(self, number):
        self.event(LogEvent.JOB_FINISHED, job_id=number)

    def fails(self, number, how="returned non-zero exit status 1", message=None, indent=False):
        text = SCRIPT_FAILED.format(how=how)
        self.event(LogEvent.ERROR, text, logging.ERROR, exception="RuleException")
        log = [str(self.folder / f"{number}.log")]
        described = {"log": log, "rule_msg": message, "indent": indent}
        self.event(LogEvent.JOB_ERROR, "Error", logging.ERROR, jobid=number, **described)

    def ends(self):
        self.display.close()
        return self.output.getvalue()


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_a_run_that_ends_well_is_three_lines(run):
    run.says("Building DAG of jobs...")
    run.counts(epoch=1, all=1)
    run.says("Select jobs to execute...")
    run.event(LogEvent.JOB_STARTED, "Execute 1 jobs...")
    run.starts(1, technique="flash", log="12:00:00 INFO train: 3 of 3 steps\n")
    run.finishes(1)
    run.event(LogEvent.PROGRESS, None, done=1, total=2)
    run.starts(0, rule="all", log=None, output=())
    run.finishes(0)
    run.says("Complete log(s): .snakemake/log/x.log")
    assert run.ends().splitlines() == ["0 of 2 jobs", "2 jobs done after 0 s.", "Do all"]


def lines_of(run, monkeypatch):
    """Let each drawing be a line."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0)
    return run.output


def test_a_job_that_runs_tells_how_much_is_left(run, monkeypatch):
    output = lines_of(run, monkeypatch)
    run.counts(epoch=3)
    line = "12:00:00 INFO train: 10 of 40 steps (25%) after 2 min 00 s, 10 min 00 s left, loss 7\n"
    run.starts(1, technique="fp32", log=line)
    # Two more jobs as long as this one, of which one runs at a time.
    assert (
        output.getvalue().splitlines()[-1].startswith("0 of 3 jobs, about 30 min left; epoch fp32")
    )


def test_earlier_runs_tell_how_much_is_left(run, monkeypatch):
    output = lines_of(run, monkeypatch)
    run.display.earlier = lambda: Earlier({"epoch": 1000.0, "profile": 600.0}, 2.0)
    run.counts(profile=6, epoch=6)
    run.starts(1, rule="profile", technique="fp32")
    assert output.getvalue().splitlines()[-1] == "0 of 12 jobs, about 1 h 20 min left; profile fp32"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(90.0, ", at least 6 min left"), (14.0, "")],
    ids=["minutes", "less than a minute"],
)
def test_what_is_known_is_the_least(run, monkeypatch, seconds, told):
    output = lines_of(run, monkeypatch)
    run.display.earlier = lambda: Earlier({"profile": seconds}, 1.0)
    run.counts(profile=4, epoch=1)
    run.starts(1, rule="epoch", technique="fp32")
    assert output.getvalue().splitlines()[-1] == f"0 of 5 jobs{told}; epoch fp32"


def test_a_line_now_and_then_where_there_is_no_terminal(run, monkeypatch):
    run.counts(epoch=3)
    for number in range(2):
        run.starts(number, technique="flash", log="12:00:00 INFO train: 1 step\n")
        run.finishes(number)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0)
    run.starts(2, technique="fp32", log="12:00:00 INFO train: 1 step\n")
    said = run.ends()
    assert said.splitlines() == [
        "0 of 3 jobs",
        "2 of 3 jobs, less than a minute left; epoch fp32: train: 1 step",
    ]
    assert "\r" not in said


def test_one_line_is_drawn_over_and_over_on_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((30, 24)))
    run = Run(tmp_path, terminal=True)
    run.counts(epoch=2)
    run.starts(1, technique="flash", log="12:00:00 INFO train: 3 of 30000 steps\n")
    run.says("a warning", logging.WARNING)
    clear = "\r\x1b[2K"
    line = "0 of 2 jobs; epoch flash: tra"
    assert run.output.getvalue() == f"{clear}{line}{clear}a warning\n{clear}{line}"
    assert run.ends().endswith(clear)


def test_a_terminal_that_is_gone_does_not_end_the_line(tmp_path, monkeypatch):
    def gone(_):
        raise OSError("Inappropriate ioctl for device")

    monkeypatch.setattr(os, "get_terminal_size", gone)
    run = Run(tmp_path, terminal=True)
    run.counts(epoch=2)
    run.starts(1, technique="flash", log="")
    assert "0 of 2 jobs; epoch flash" in run.ends()


def test_a_job_that_shows_its_result_has_the_terminal_to_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    run = Run(tmp_path, terminal=True)
    run.counts(estimate=1)
    run.starts(0, rule="estimate", output=())
    assert run.output.getvalue() in {"", "\r\x1b[2K"}
    run.finishes(0)
    assert "Do estimate" not in run.ends()


def test_a_failed_job_is_told_at_once_and_at_the_end_with_its_sentence(run):
    run.counts(epoch=3, page=1)
    run.starts(
        1, technique="flash", log="12:00:00 INFO train\n12:00:01 ERROR x is wrong; change it\n"
    )
    run.fails(1)
    run.starts(2, technique="fp32")
    run.finishes(2)
    run.says("Exiting because a job execution failed. Look above for error messages", 40)
    run.event(LogEvent.ERROR, "WorkflowError:\nAt least one job did not complete", 40)
    assert run.ends().splitlines()[1:] == [
        "epoch flash: x is wrong; change it",
        "1 of 4 jobs failed, 1 are done, and 2 did not run:",
        "  epoch flash: x is wrong; change it",
        f"    log: {run.folder / '1.log'}",
    ]


def test_one_mistake_of_several_jobs_is_told_once(run):
    run.counts(epoch=7)
    for number in range(7):
        sentence = "y is wrong" if number == 3 else "x is wrong; change it"
        run.starts(number, technique=f"t{number}", log=f"12:00:00 ERROR {sentence}\n")
        run.fails(number)
    assert run.ends().splitlines()[1:] == [
        "epoch t0: x is wrong; change it",
        "epoch t3: y is wrong",
        "7 of 7 jobs failed, 0 are done:",
        "  epoch t0, epoch t1, epoch t2 and 3 more jobs: x is wrong; change it",
        f"    log: {run.folder / '0.log'}",
        "  epoch t3: y is wrong",
        f"    log: {run.folder / '3.log'}",
    ]


def test_an_error_of_vramlab_is_told_by_its_job_and_at_the_end(run):
    sentence = "unexpected error in the rule epoch (KeyError: 'x'); please report it"
    run.counts(epoch=1)
    run.starts(
        1, technique="a", log=f"12:00:00 ERROR {sentence}\nTraceback (most recent call last)\n"
    )
    run.fails(1)
    assert run.ends().splitlines()[1:3] == [
        "1 of 1 jobs failed, 0 are done:",
        f"  epoch a: {sentence}",
    ]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("died with <Signals.SIGKILL: 9>", "if the machine ran out of memory give it more"),
        ("died with <Signals.SIGSEGV: 11>", "ended by SIGSEGV; see its log"),
        ("returned non-zero exit status 3", "exit status 3; see its log"),
    ],
)
def test_a_job_that_could_not_say_why_it_failed(run, how, said):
    run.counts(epoch=1)
    run.starts(1, technique="flash")
    run.fails(1, how)
    assert said in run.ends()


def test_the_log_of_an_earlier_run_is_not_taken_for_this_one(run):
    run.counts(epoch=1)
    run.starts(1, log="12:00:00 ERROR of yesterday\n")
    os.utime(run.folder / "1.log", (time.time() - 99, time.time() - 99))
    run.fails(1)
    assert "yesterday" not in run.ends()


def test_a_job_elsewhere_is_told_when_it_ends_and_forgiven_when_its_retry_succeeds(run):
    run.counts(batch_size=1)
    run.starts(1, rule="batch_size", local=False, technique="flash")
    run.fails(1, message="SLURM-job '7' failed, SLURM status is: 'TIMEOUT'. ")
    log = "12:00:00 WARNING skipped: no GPU\n"
    run.starts(1, rule="batch_size", local=False, technique="flash", log=log)
    run.finishes(1)
    assert run.ends().splitlines()[1:] == [
        "batch_size flash: SLURM-job '7' failed, SLURM status is: 'TIMEOUT'.",
        "batch_size flash: skipped: no GPU",
        "1 job done after 0 s.",
    ]


def test_of_a_group_the_job_that_failed_is_told(run):
    run.counts(profile=2)
    run.starts(1, rule="profile", technique="a")
    run.starts(2, rule="profile", technique="b", log="12:00:00 ERROR b is wrong\n")
    run.fails(1, indent=True)
    run.fails(2, indent=True)
    said = run.ends()
    assert "profile b: b is wrong" in said
    assert "profile a" not in said


def test_what_is_wrong_with_the_workflow_is_shown(run):
    run.event(LogEvent.ERROR, "MissingInputException: no file x", logging.ERROR)
    assert run.ends() == "MissingInputException: no file x\n"


def test_that_nothing_is_to_be_done_is_said(run):
    run.says("Nothing to be done (all requested files are present and up to date).")
    assert run.ends().startswith("Nothing to be done")


def test_a_stopped_run_says_what_was_saved_in_one_sentence(run, monkeypatch):
    run.counts(epoch=2, batch_size=1, download=1, tokenizer=1)
    run.starts(9, rule="tokenizer")
    run.finishes(9)
    saved = "12:00:00 ERROR stopped by SIGTERM after step 12, which is saved in x; run\n"
    run.starts(1, technique="flash", log=saved)
    run.starts(2, rule="batch_size", technique="fp32")
    target = run.folder / "train.jsonl.zst"
    (run.folder / "train.jsonl.zst.abc.partial").touch()
    run.starts(3, rule="download", part="train", output=[str(target)])
    monkeypatch.setattr(run.interruption, "received", signal.SIGINT)
    run.says("Terminating processes on user request, this might take some time.")
    run.fails(1)
    run.event(LogEvent.ERROR, "WorkflowError:\nAt least one job did not complete", 40)
    assert run.ends().splitlines()[1:] == [
        "Stopped by Ctrl-C: 1 of 5 jobs are done; epoch flash is saved after step 12; batch_size "
        "fp32 begins again; download train keeps what it has fetched; run the same command again "
        "to go on."
    ]


def test_a_run_that_is_stopped_before_a_job_began(run, monkeypatch):
    monkeypatch.setattr(run.interruption, "received", signal.SIGTERM)
    assert run.ends() == "Stopped by SIGTERM; no job had begun.\n"


def test_a_dry_run_is_a_plan(tmp_path):
    run = Run(tmp_path, plans=True)
    run.counts(epoch=1, all=1)
    run.starts(0, rule="all", log=None, output=())  # its message says what is there at the end
    run.starts(1, technique="flash", seed="9")
    run.counts(epoch=1, all=1)
    run.says("This was a dry-run (flag -n).")
    assert run.ends().splitlines() == [
        "2 jobs would run, in this order:",
        "    1  epoch  flash 9",
        "    1  all",
    ]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("estimat", "vramlab: there is no target 'estimat'; did you mean 'estimate'?"),
        ("zzz", "vramlab: there is no target 'zzz'; known are: all, estimate, report"),
        (
            "results/x.json",
            "vramlab: results/x.json: no rule makes such a file; name another, or one of all, "
            "estimate, report",
        ),
    ],
)
def test_what_no_rule_makes_is_one_sentence(run, asked, says):
    run.display.targets = lambda: ["report", "all", "estimate"]
    with pytest.raises(MissingRuleException) as caught:
        raise MissingRuleException(asked)
    text = f"MissingRuleException:\n{caught.value}"
    run.event(LogEvent.ERROR, text, logging.ERROR, exception="MissingRuleException")
    assert run.ends() == f"{says}\n"


class Settings:
    verbose = debug_dag = printshellcmds = dryrun = False
    quiet = ()


@pytest.mark.parametrize("asked", ["verbose", "printshellcmds", "debug_dag", ""])
def test_snakemakes_own_text_where_the_user_asks_for_it(asked):
    logger, settings = logging.Logger("snakemake"), Settings()
    default = logging.StreamHandler(io.StringIO())
    default.name = "DefaultStreamHandler"
    logger.addHandler(default)
    if asked:
        setattr(settings, asked, True)
    show_one_line(logger, settings, Interruption())
    assert isinstance(logger.handlers[0], Display) != bool(asked)
