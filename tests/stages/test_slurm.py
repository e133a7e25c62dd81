"""Jobs are asked for again where SLURM gave no answer, and only there."""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from vramlab.stages.slurm import PLUGIN, keep_jobs_while_slurm_is_silent


class Executor:
    """Forgets jobs in a round without an answer, as version 2.8.0 of the plugin does."""

    answering = True

    async def check_active_jobs(self, active_jobs):
        if not active_jobs or not self.answering:
            return
        self._status_query_calls += 1
        for job in active_jobs:
            if job != "ended":
                yield job


@pytest.fixture
def executor(monkeypatch):
    kind = type("Executor", (Executor,), {"check_active_jobs": Executor.check_active_jobs})
    monkeypatch.setitem(sys.modules, PLUGIN, SimpleNamespace(Executor=kind))
    keep_jobs_while_slurm_is_silent()
    keep_jobs_while_slurm_is_silent()  # a module and the workflow around it both do
    executor = kind()
    executor.said = []
    executor.logger = SimpleNamespace(warning=executor.said.append)
    return executor


def kept(executor, jobs):
    async def ask():
        return [job async for job in executor.check_active_jobs(jobs)]

    return asyncio.run(ask())


def test_a_round_without_an_answer_keeps_all_jobs(executor):
    executor._status_query_calls = 3
    executor.answering = False
    assert kept(executor, ["a", "ended"]) == ["a", "ended"]
    (said,) = executor.said
    assert said.startswith("SLURM does not answer; its jobs go on")


def test_an_answer_is_taken_as_it_is(executor):
    executor._status_query_calls = 3
    assert kept(executor, ["a", "ended"]) == ["a"]
    assert kept(executor, ["ended"]) == []
    assert executor.said == []


def test_an_executor_that_is_not_whole_yet_has_no_jobs(executor):
    assert kept(executor, []) == []
