"""A model of the user's own: the shipped example, and functions that go wrong."""

import math

import pytest
import torch
from pipeline import ROOT

from vramlab.base.errors import ModelError
from vramlab.config.model import PythonConfig
from vramlab.config.targets import IGNORED
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.model.language_model import UnsuitableModel
from vramlab.training.learner import build
from vramlab.training.machine import Machine, obstacle

CPU = torch.device("cpu")
EXAMPLE = ROOT / "docs" / "examples" / "my_model.py"
SIZES = {"width": 32, "depth": 2, "heads": 4, "positions": 64}
VOCABULARY, LENGTH = 96, 20


def of(path, axes=None, **model):
    return Workload(
        technique=Technique(**(axes or {})),
        model=PythonConfig(source="python", path=str(path), **model),
        vocab_size=VOCABULARY,
        length=LENGTH,
        seed=3,
    )


def example(**axes):
    learner = build(of(EXAMPLE, axes, arguments=SIZES), CPU)
    learner.model.double()
    return learner


def batch():
    tokens = torch.randint(4, VOCABULARY, (3, LENGTH + 1), generator=torch.manual_seed(1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:].clone()
    targets[1, 15:] = IGNORED
    return inputs, targets


def expected_loss(state, inputs, targets, window=None):
    """The example once more, in plain tensor algebra; its state may require gradients."""
    embedding, functional = state["output_embedding.weight"], torch.nn.functional
    x = embedding[inputs] + state["positions.weight"][: inputs.shape[1]]
    distance = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    hidden_from = (distance < 0) | (distance >= (window or LENGTH))
    for layer in range(SIZES["depth"]):
        part = {k.split(".", 2)[2]: v for k, v in state.items() if k.startswith(f"blocks.{layer}.")}

        def linear(y, name, part=part):
            return y @ part[f"{name}.weight"].T + part[f"{name}.bias"]

        normed = functional.layer_norm(x, (32,), part["norm.weight"], part["norm.bias"])
        q, k, v = linear(normed, "attention.inputs").view(*x.shape[:2], 3, 4, 8).unbind(2)
        scores = torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(8)
        weights = scores.masked_fill(hidden_from, -math.inf).softmax(-1)
        attended = torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2)
        wide = functional.gelu(linear(normed, "feed_forward.0"))
        x = x + linear(attended, "attention.output") + linear(wide, "feed_forward.2")
    x = functional.layer_norm(x, (32,), state["norm.weight"], state["norm.bias"])
    logits = (x @ embedding.T).flatten(0, 1)
    return functional.cross_entropy(
        logits, targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"attention": "math", "loss_head": "chunked"},
        {"attention": "sdpa", "loss_head": "fused", "checkpointing": "block"},
        {"attention": "math", "checkpointing": "selective", "loss_head": "fused"},
        {"feed_forward": "recomputed"},
        {"feed_forward": "tiled"},
        {"feed_forward": "tiled", "checkpointing": "block"},
        {"offload": "activations"},
        {"attention": "masked", "window": 4},
    ],
)
def test_the_example_agrees_with_float64(axes):
    learner, data = example(**axes), batch()
    own = {k.removeprefix("network."): v for k, v in learner.model.state_dict().items()}
    state = {name: value.clone().requires_grad_() for name, value in own.items()}
    loss, expected = learner.loss_sum(*data), expected_loss(state, *data, axes.get("window"))
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for name, parameter in learner.model.network.named_parameters():
        torch.testing.assert_close(parameter.grad, state[name].grad, rtol=1e-9, atol=1e-11)


def test_the_example_is_about_fifty_lines_of_plain_torch():
    text = EXAMPLE.read_text("utf-8")
    assert len(text.splitlines()) < 60
    assert "import vramlab" not in text


def test_the_examples_parts_are_found():
    parts = example().model.parts
    assert [len(parts.blocks), len(parts.attention), len(parts.feed_forward)] == [2, 2, 2]
    assert len(parts.norms) == 3


BODY = """
from torch import nn
class Net(nn.Module):
    def __init__(self, tokens):
        super().__init__()
        self.embedding, self.out = nn.Embedding(tokens, 8), nn.Linear(8, tokens)
    def forward(self, tokens):
        return self.out(self.embedding(tokens))
"""
"""A network that returns logits, and names no part."""


@pytest.fixture
def write(tmp_path):
    def written(text, axes=None, **model):
        path = tmp_path / "mine.py"
        path.write_text(BODY + text)
        return of(path, axes, **model)

    return written


def refusal(workload, kind=ModelError):
    with pytest.raises(kind) as caught:
        build(workload, CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def make_model(tokens): return 3", "returned int; return a torch.nn.Module"),
        ("def make_model(tokens): return Net", "returned type; return a torch.nn.Module"),
        ("def make_model(tokens): raise ValueError('a\\nb')", "raised ValueError (a"),
        ("def make_model(): return Net(9)", "raised TypeError (make_model() takes 0 positional"),
        ("def other(tokens): return Net(tokens)", "has no function make_model; name it in"),
        ("make_model = 3", "has no function make_model"),
        ("import none_such", "'none_such'); install none_such into this Python ("),
        (
            "import os.none",
            "(ModuleNotFoundError: No module named 'os.none'; 'os' is not a package",
        ),
        ("def make_model(tokens) return", "; correct it at line 9"),
        ("raise SystemExit(3)", "cannot be imported (SystemExit: 3); correct it at line 9"),
        ("import math\nmath.sqrt(-1)", "(ValueError: math domain error); correct it at line 10"),
        (
            "def make_model(tokens):\n n = Net(tokens); n.output_embedding = 3; return n",
            "output_embedding is no module with a weight of two dimensions",
        ),
        (
            "def make_model(tokens):\n n = Net(9); n.output_embedding = n.out; return n",
            "output_embedding has 9 rows for a vocabulary of 96",
        ),
        (
            "def make_model(tokens):\n n = Net(tokens); n.blocks = [3]; return n",
            "blocks is no list",
        ),
        ("def make_model(tokens):\n n = Net(tokens); n.blocks = 3; return n", "blocks is no list"),
        ("def make_model(tokens): return nn.Identity()", "has no parameters"),
    ],
)
def test_a_function_that_makes_no_model_is_one_sentence(write, text, sentence):
    assert sentence in refusal(write(text))


def test_a_file_or_module_that_is_not_there_is_one_sentence(tmp_path):
    assert "there is no such file" in refusal(of(tmp_path / "none.py"))
    sentence = refusal(of("no_such_module.inner"))
    assert "cannot be imported (ModuleNotFoundError" in sentence
    assert "; give the path of a .py file, or install the module" in sentence


def test_unknown_arguments_are_one_sentence():
    assert "unexpected keyword argument 'depht'" in refusal(of(EXAMPLE, arguments={"depht": 1}))


LOGITS = "def make_model(tokens): return Net(tokens)"


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ({"checkpointing": "block"}, "checkpointing block works block by block, and the model"),
        ({"checkpointing": "selective"}, "checkpointing selective works block by block"),
        ({"offload": "activations"}, "offload activations works block by block"),
        ({"loss_head": "chunked"}, "loss_head chunked multiplies hidden states by the output"),
        ({"loss_head": "fused"}, "loss_head fused multiplies hidden states by the output"),
        ({"feed_forward": "recomputed"}, "feed_forward recomputed needs the feed-forward layer"),
        ({"attention": "sdpa"}, "attention sdpa needs a model whose function takes it as `attend`"),
        ({"precision": "fp8"}, "precision fp8 changes the torch.nn.Linear layers"),
    ],
)
def test_what_a_model_without_parts_cannot_do_is_one_sentence(write, axes, sentence):
    workload = write(LOGITS, axes)
    assert sentence in refusal(workload, UnsuitableModel)
    if axes.keys() & {"offload", "precision"}:  # a CPU is in the way first
        return
    assert sentence in obstacle(workload, Machine("cpu"))


def test_fsdp_needs_blocks(write):
    axes = {"parallel": "fsdp", "processes": 2}
    sentence = obstacle(write(LOGITS, axes), Machine("cpu"))
    assert "parallel fsdp works block by block, and the model names no list of blocks" in sentence


def test_a_model_that_returns_logits_is_trained_by_the_full_loss(write):
    learner, (inputs, targets) = build(write(LOGITS), CPU), batch()
    loss = learner.loss_sum(inputs, targets)
    logits = learner.model.network(inputs).flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert learner.model.vocabulary == VOCABULARY


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("class Bad(Net):\n def forward(self, t): return super().forward(t), 1", "returned tuple"),
        (
            "class Bad(Net):\n def forward(self, t): return super().forward(t)[..., :8]",
            "returned [3, 20, 8] for tokens [3, 20]; return logits [3, 20, 96]",
        ),
        (
            "class Bad(Net):\n"
            " def __init__(self, t): super().__init__(t); self.output_embedding = self.out",
            "returned [3, 20, 96] for tokens [3, 20]; return hidden states [3, 20, 8]",
        ),
    ],
)
def test_a_forward_pass_that_returns_something_else_is_one_sentence(write, text, sentence):
    learner = build(write(f"{text}\ndef make_model(tokens): return Bad(tokens)"), CPU)
    with pytest.raises(ModelError) as caught:
        learner.loss_sum(*batch())
    assert sentence in str(caught.value)
