"""How many tokens a user's model takes, against passes with values."""

import pytest
import torch

from vramlab.base.errors import ModelError
from vramlab.config.model import PythonConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.measure.longest_sequence import most_units
from vramlab.model.positions import check_length, most_positions
from vramlab.model.sources import make_model
from vramlab.results.longest_sequence import MOST_TOKENS, UNIT

MODEL = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, tokens):
        super().__init__()
        self.embedding, self.out = nn.Embedding(tokens, 16), nn.Linear(16, tokens)
        self.learned, self.weight = nn.Embedding(100, 16), nn.Parameter(torch.zeros(1, 100, 16))
        self.register_buffer("ids", torch.arange(100)[None])
        self.register_buffer("table", torch.zeros(100, 16))
    def forward(self, tokens):
        x, length = self.embedding(tokens), tokens.shape[1]
        {line}
        return self.out(x)
def make_model(tokens): return Net(tokens)
"""
BOUNDED = {
    "arange": "x = x + self.learned(torch.arange(length))",
    "as tokens": "x = x + self.learned(torch.arange(length)[None].expand_as(tokens))",
    "padded": "x = x + self.learned(torch.arange(length) + 2)",
    "backwards": "x = x + self.learned(torch.arange(length - 1, -1, -1))",
    "sum of ones": "x = x + self.learned(torch.ones_like(tokens).cumsum(1) - 1)",
    "in place": "p = torch.zeros(length).long(); p[1:] += 1; x = x + self.learned(p.cumsum(0))",
    "parameter": "x = x + self.weight[:, :length]",
    "buffer": "x = x + self.table[:length]",
    "buffer of ids": "x = x + self.learned(self.ids[:, :length])",
    "index": "x = x + self.table[torch.arange(length)]",
    "index_select": "x = x + self.table.index_select(0, torch.arange(length))",
    "checked": "p = torch.arange(length); assert p.max() < 100; x = x + self.learned(p)",
}
UNBOUNDED = {
    "none": "pass",
    "relative": "d = torch.arange(length)[:, None] - torch.arange(length); "
    "x = x + self.learned(d.clamp(-49, 50) + 49).mean(1)",
    "modulo": "x = x + self.learned(torch.arange(length) % 100)",
    "of tokens": "x = x + self.learned((tokens != 0).cumsum(1).clamp(max=99))",
    "needs values": "x = x + self.learned(tokens[tokens > 3][:1])",
    "last row": "x = x + self.weight[:, -1:]",
}


@pytest.fixture
def write(tmp_path):
    def written(line, length=16):
        path = tmp_path / "mine.py"
        path.write_text(MODEL.replace("{line}", line))
        model = PythonConfig(source="python", path=str(path))
        return Workload(technique=Technique(), model=model, vocab_size=64, length=length, seed=3)

    return written


@pytest.mark.parametrize("name", BOUNDED)
def test_the_most_tokens_are_those_of_a_pass_with_values(write, name):
    workload = write(BOUNDED[name])
    most = most_positions(workload)
    model = make_model(workload, torch.device("cpu"))
    model(torch.zeros(1, most, dtype=torch.int64))
    with pytest.raises((IndexError, RuntimeError, AssertionError)):
        model(torch.zeros(1, most + 1, dtype=torch.int64))
    assert most_units(workload) == most // UNIT
    check_length(workload)


@pytest.mark.parametrize("name", UNBOUNDED)
def test_a_model_without_a_bound_has_none(write, name):
    workload = write(UNBOUNDED[name], length=512)
    assert most_positions(workload) is None
    assert most_units(workload) == MOST_TOKENS // UNIT
    check_length(workload)


def test_longer_sequences_are_refused_in_a_sentence(write, caplog):
    for name in ("arange", "parameter"):
        with pytest.raises(ModelError, match="is more than the 100 positions that make_model of"):
            check_length(write(BOUNDED[name], length=101))
    assert not caplog.records  # torch would log a traceback


def test_a_model_that_fails_at_any_length_is_not_told_to_be_too_short(write):
    check_length(write("x = x @ x"))


def test_nothing_fake_is_left_for_real_passes(write):
    workload = write("self.table = self.table[:]; x = x + self.table[:length]")
    assert most_positions(workload) == 100
    hidden = make_model(workload, torch.device("cpu"))(torch.zeros(1, 9, dtype=torch.int64))
    assert type(hidden) is torch.Tensor
