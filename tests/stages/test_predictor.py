"""Answers of the server, and predictions in the job itself where there is none."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workloads import workload

from vramlab.config.measure import MeasureConfig
from vramlab.config.model import DecoderConfig
from vramlab.config.workload import Workload
from vramlab.predict.estimate import counted_alike
from vramlab.stages import predictor
from vramlab.stages.predictor import Question


@pytest.fixture
def question():
    small = DecoderConfig(d_model=16, layers=1, heads=2, d_ff=32)
    return Question(
        name="bf16",
        workload=workload({"precision": "bf16"}, small, vocab_size=300, length=16).model_dump(
            mode="json"
        ),
        measure=MeasureConfig().model_dump(mode="json"),
        cards=[24.0],
        micro_batches=1,
        compared_at={"cuda": 100},
    )


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv(predictor.VARIABLE, "")
    monkeypatch.setattr(predictor, "_started", [])
    predictor.start(2)
    (process,) = predictor._started
    yield process
    process.stdin.close()
    process.wait(timeout=60)


def in_the_job(monkeypatch):
    """The names that were predicted in this process from now on."""
    names, predict = [], predictor.predict

    def noted(question):
        names.append(question["name"])
        return predict(question)

    monkeypatch.setattr(predictor, "predict", noted)
    return names


def test_the_server_answers_what_the_job_would_find(server, question, monkeypatch):
    expected = predictor.predict(question)
    names = in_the_job(monkeypatch)
    for _ in range(3):
        assert predictor.answer(question, [__file__]) == expected
    assert not names
    assert expected[0].cards[0] > 0


def test_code_that_is_newer_than_the_server_runs_in_the_job(
    server, question, monkeypatch, tmp_path
):
    names = in_the_job(monkeypatch)
    edited = tmp_path / "edited.py"
    edited.touch()
    os.utime(edited, (time.time() + 60,) * 2)
    assert predictor.answer(question, [edited])[0].status == "ok"
    assert names == ["bf16"]


def test_an_error_is_that_of_the_job(server, question):
    question["workload"]["length"] = "none"
    with pytest.raises(ValueError, match="length"):
        predictor.answer(question)


def test_without_a_server_the_job_predicts(question, monkeypatch):
    monkeypatch.delenv(predictor.VARIABLE, raising=False)
    names = in_the_job(monkeypatch)
    assert predictor.answer(question)[0].status == "ok"
    assert names == ["bf16"]


TRAINED = """
import sys, torch
from vramlab.stages.predictor import _a_fork_can_train
from vramlab.predict.step_mode import StepMode

with StepMode():
    torch.ones(2, requires_grad=True).sum().backward()
if sys.argv[1] == "fails":
    torch.autograd.backward = None
print(_a_fork_can_train())
"""


@pytest.mark.parametrize(("backward", "can"), [("works", "True"), ("fails", "False")])
def test_workers_are_forked_where_they_can_run_a_backward_pass(backward, can):
    command = [sys.executable, "-c", TRAINED, backward]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == can


def test_the_server_ends_with_the_process_that_started_it(server, question, monkeypatch):
    folder = Path(os.environ[predictor.VARIABLE]).parent
    assert predictor.answer(question)
    server.stdin.close()  # as the system does, however a process ends
    assert server.wait(timeout=60) == 0
    deadline = time.monotonic() + 60
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
    names = in_the_job(monkeypatch)
    assert predictor.answer(question)[0].status == "ok"
    assert names == ["bf16"]


def of_axes(question, name, **axes):
    technique = question["workload"]["technique"] | axes
    return Question(
        **{**question, "name": name, "workload": question["workload"] | {"technique": technique}}
    )


@pytest.mark.parametrize(
    ("axes", "others"),
    [
        ({"precision": "fp32"}, {"precision": "tf32"}),
        ({"attention": "flash"}, {"attention": "flash", "window": 4}),
    ],
    ids=["tf32", "window"],
)
def test_what_is_counted_alike_is_predicted_once(question, monkeypatch, tmp_path, axes, others):
    first = of_axes({**question, "compared_at": {}}, "first", **axes)
    names, known = in_the_job(monkeypatch), predictor.Known(tmp_path)
    (found,) = predictor.predict_once(first, known)
    second = of_axes({**question, "compared_at": {"cuda": found.batch_size}}, "second", **others)
    again = predictor.predict_once(second, predictor.Known(tmp_path))  # in another worker
    assert names == ["first"]
    assert again == predictor.predict(second)  # from steps of its own
    assert again[0].technique == "second"
    assert again[0].axes != found.axes


@pytest.mark.parametrize(
    "change",
    [
        {"compared_at": {"cuda": 7}},
        {"compared_at": {}},
        {"cards": [8.0]},
        {"micro_batches": 2},
        {"measure": MeasureConfig(memory_limit_gib=1).model_dump(mode="json")},
        {"measure": MeasureConfig(device="cpu").model_dump(mode="json")},
    ],
)
def test_another_question_is_predicted_anew(question, monkeypatch, tmp_path, change):
    names, known = in_the_job(monkeypatch), predictor.Known(tmp_path)
    first = of_axes(question, "first", precision="fp32")
    predictor.predict_once(first, known)
    second = of_axes({**question, **change}, "second", precision="tf32")
    assert predictor.predict_once(second, known) == predictor.predict(second)
    assert names == ["first", "second", "second"]


@pytest.mark.parametrize("compile_mode", ["none", "default"])
def test_compiled_code_is_never_counted_as_another(question, compile_mode):
    asked = of_axes(question, "it", precision="tf32", compile=compile_mode)
    workload = Workload.model_validate(asked["workload"])
    assert (counted_alike(workload) == workload) == (compile_mode == "default")


def test_what_tells_bytes_apart_is_kept(question):
    asked = of_axes(question, "it", attention="masked", window=4, precision="bf16")
    workload = Workload.model_validate(asked["workload"])
    assert counted_alike(workload) == workload
