"""Where a job's own mistakes are told."""

import logging
import os

import pytest

from vramlab.base.progress import for_the_user
from vramlab.stages import frame


class Shown(logging.Handler):
    """What the terminal gets."""

    def __init__(self):
        super().__init__()
        self.texts = []
        self.addFilter(for_the_user)

    def emit(self, record):
        self.texts.append(record.getMessage())


@pytest.fixture
def shown(monkeypatch):
    terminal = Shown()
    monkeypatch.setattr(logging.root, "handlers", [terminal])
    monkeypatch.delenv(frame.TOLD_BY_THE_RUN, raising=False)
    return terminal.texts


def refuse():
    with pytest.raises(SystemExit) as end:
        frame._refuse("x is wrong; change it")
    assert end.value.code == 1


def log_to(path):
    handler = frame._file(path)
    logging.root.addHandler(handler)
    return handler


def test_a_job_tells_its_mistake(shown, tmp_path):
    log_to(tmp_path / "x.log").close()
    refuse()
    assert shown == ["x is wrong; change it"]


def test_a_run_that_reads_it_in_the_log_tells_it(shown, tmp_path, monkeypatch):
    monkeypatch.setenv(frame.TOLD_BY_THE_RUN, os.uname().nodename)
    log_to(tmp_path / "x.log").close()
    refuse()
    assert shown == []
    [line] = (tmp_path / "x.log").read_text().splitlines()
    assert line.endswith(" ERROR x is wrong; change it")


def test_a_job_elsewhere_tells_it(shown, tmp_path, monkeypatch):
    monkeypatch.setenv(frame.TOLD_BY_THE_RUN, "another-machine")
    log_to(tmp_path / "x.log").close()
    refuse()
    assert shown == ["x is wrong; change it"]


def test_a_log_that_cannot_be_written_or_is_not_there_yet_is_no_way_to_tell(shown, monkeypatch):
    monkeypatch.setenv(frame.TOLD_BY_THE_RUN, os.uname().nodename)
    refuse()  # before the job has its log
    handler = frame._LogFile("/dev/full")
    logging.root.addHandler(handler)
    refuse()
    handler.close()
    assert shown == ["x is wrong; change it"] * 2
