"""Whose error it is, and where it was raised."""

import math

import pytest
import torch

from vramlab.base.errors import ModelError
from vramlab.config.model import DecoderConfig, PythonConfig, TransformersConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.memory.meter import meter
from vramlab.memory.out_of_memory import is_out_of_memory
from vramlab.training.foreign_code import explained
from vramlab.training.learner import build

CPU = torch.device("cpu")
MODEL = """
import torch
from torch import nn
class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)
    def forward(self, x):
        {line}
class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return 2 * x
    @staticmethod
    def backward(ctx, gradient): raise ValueError("no gradient")
class Net(nn.Module):
    def __init__(self, tokens, attend):
        super().__init__()
        self.embedding, self.out = nn.Embedding(tokens, 8), nn.Linear(8, tokens)
        self.blocks, self.attend = nn.ModuleList([Layer()]), attend
        self.feed_forward = [self.blocks[0]]
    def forward(self, tokens):
        return self.out(self.blocks[0](self.embedding(tokens)))
def make_model(tokens, attend=None): return Net(tokens, attend)
"""
LINE = 9


@pytest.fixture
def write(tmp_path):
    def written(line, **axes):
        path = tmp_path / "mine.py"
        path.write_text(MODEL.replace("{line}", line))
        model = PythonConfig(source="python", path=str(path))
        technique = Technique(**axes)
        return Workload(technique=technique, model=model, vocab_size=64, length=8, seed=3)

    return written


def failure(workload, limit=None):
    learner, tokens = build(workload, CPU), torch.zeros(1, 8, dtype=torch.int64)
    with pytest.raises(Exception) as caught, meter(CPU, limit):
        learner.loss_sum(tokens, tokens).backward()
    return caught.value, explained(caught.value, workload.model, workload.length)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("return self.inner.weight[9]", "raised IndexError (index 9 is out of bounds"),
        ("return x @ x[:, :3]", "raised RuntimeError (Expected size for first two dimensions"),
        ("return {}['no']", "raised KeyError ('no')"),
        ("import json; return json.loads('{')", "raised JSONDecodeError ("),
        ("return self.none", "raised AttributeError ('Layer' object has no attribute 'none')"),
    ],
)
@pytest.mark.parametrize("axes", [{}, {"checkpointing": "block"}, {"feed_forward": "tiled"}])
def test_an_error_of_the_model_says_where(write, line, said, axes):
    _, sentence = failure(write(line, **axes))
    assert said in str(sentence)
    assert str(sentence).startswith("the forward pass of Net raised ")
    assert f") at mine.py line {LINE}; correct the model" in str(sentence)


def test_an_error_of_the_models_own_gradient_says_where(write):
    _, sentence = failure(write("return Twice.apply(x)"))
    assert str(sentence).startswith("the backward pass of ")
    assert "raised ValueError (no gradient) at mine.py line 14" in str(sentence)


def test_a_wrong_call_of_attend_is_a_sentence(write):
    attend = build(write("return x"), CPU).model.network.attend
    q, k = torch.zeros(1, 8, 2, 4), torch.zeros(1, 7, 2, 4)
    assert attend(q, q, q).shape == q.shape
    for given in ((q, k, q), (q[0], q[0], q[0]), (q[..., :2], q, q)):
        with pytest.raises(ModelError, match=r"attend was called with queries \["):
            attend(*given)


def test_memory_that_runs_out_is_not_the_models_error(write):
    error, sentence = failure(write("return self.inner(x)"), limit=1000)
    assert is_out_of_memory(error)
    assert sentence is None


def test_an_error_in_vramlabs_code_is_not_the_models(write, monkeypatch):
    monkeypatch.delattr("vramlab.model.adapt.in_pieces")
    error, sentence = failure(write("return self.inner(x)", feed_forward="tiled"))
    assert isinstance(error, NameError)
    assert sentence is None


def test_an_error_of_a_model_of_transformers_says_where():
    pytest.importorskip("transformers", reason="the package transformers is absent")
    config = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
    model = TransformersConfig(source="transformers", config=config)
    workload = Workload(technique=Technique(), model=model, vocab_size=64, length=8, seed=3)
    learner = build(workload, CPU)
    learner.model.network.transformer.wpe = torch.nn.Embedding(4, 16)
    tokens = torch.zeros(1, 8, dtype=torch.int64)
    with pytest.raises(IndexError) as caught:
        learner.loss_sum(tokens, tokens)
    sentence = str(explained(caught.value, model, 8))
    assert sentence.startswith("the forward pass of GPT2Model raised IndexError (index out of")
    assert ") at modeling_gpt2.py line " in sentence
    assert "correct model.config or sequence_length (8)" in sentence


def test_an_index_that_stops_the_gpu_tells_no_line():
    error = RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be")
    sentence = str(explained(error, PythonConfig(source="python", path="x.py"), 8))
    assert "the GPU stopped in a step (CUDA error: device-side assert triggered)" in sentence
    assert "set measure.device to cpu" in sentence


def test_the_own_decoder_raises_no_error_of_the_user():
    try:
        math.sqrt(-1)
    except ValueError as error:
        assert explained(error, DecoderConfig(), 8) is None
