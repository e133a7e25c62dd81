"""Adapters: what is frozen, what is trained, and that the function is that of Hu et al."""

import os
import signal

import numpy as np
import pytest
import torch
from families import configuration
from pipeline import ROOT
from workloads import TINY

from vramlab.base.errors import ModelError
from vramlab.config.model import PythonConfig, TransformersConfig
from vramlab.config.technique import Technique
from vramlab.config.training import TrainingConfig
from vramlab.config.workload import Workload
from vramlab.data.sequences import Sequences
from vramlab.measure.profile import ProfilePlan, profile
from vramlab.measure.trial import Trials
from vramlab.memory.budget import Budget
from vramlab.model.adapters import SCALE, is_adapter, linear_layers
from vramlab.model.language_model import UnsuitableModel
from vramlab.model.quantised import Sizes4bit, quantised, stored
from vramlab.predict.fake_run import FakeRun
from vramlab.training import epoch as module
from vramlab.training.checkpoint import Checkpoints
from vramlab.training.epoch import Interrupted, Schedule, train_epochs
from vramlab.training.learner import build, parameter_count, trained_parameter_count

pytest.importorskip("peft", reason="the package peft is absent")
pytest.importorskip("transformers", reason="the package transformers is absent")

CPU = torch.device("cpu")
VOCABULARY, LENGTH, RANK = 96, 12, 3
MODELS = {
    "decoder": TINY,
    "llama": TransformersConfig(source="transformers", config=configuration("llama")),
    "gpt2": TransformersConfig(source="transformers", config=configuration("gpt2")),
    "python": PythonConfig(
        source="python",
        path=str(ROOT / "docs" / "examples" / "my_model.py"),
        arguments={"width": 32, "depth": 2},
    ),
}


def of(source, seed=3, **axes):
    return Workload(
        technique=Technique(**{"adapter": "lora", "adapter_rank": RANK} | axes),
        model=MODELS[source],
        vocab_size=VOCABULARY,
        length=LENGTH,
        seed=seed,
    )


def with_values(learner):
    """B begins as zeros, which would hide a mistake in A."""
    generator = torch.manual_seed(5)
    for name, parameter in learner.model.named_parameters():
        if ".lora_B." in name:
            parameter.data.normal_(std=0.1, generator=generator)
    return learner


def batch():
    tokens = torch.randint(4, VOCABULARY, (3, LENGTH + 1), generator=torch.manual_seed(1))
    return tokens[:, :-1], tokens[:, 1:]


def merged_state(learner, plain):
    """The state of a model without adapters whose weights are W + SCALE B A."""
    state = {n.replace(".base_layer", ""): v for n, v in learner.model.state_dict().items()}
    for name in [n for n in state if ".lora_A." in n]:
        layer = name.split(".lora_A.")[0]
        product = SCALE * state[name.replace(".lora_A.", ".lora_B.")] @ state[name]
        weight = f"{layer}.weight"
        transposed = type(plain.model.get_submodule(layer)).__name__ == "Conv1D"  # GPT-2's
        state[weight] = state[weight] + (product.T if transposed else product)
    return {name: value for name, value in state.items() if not is_adapter(name)}


WAYS = {
    "full": {},
    "fused, block": {"loss_head": "fused", "checkpointing": "block"},
    "chunked, selective": {"loss_head": "chunked", "checkpointing": "selective"},
    "recomputed": {"feed_forward": "recomputed"},
    "recomputed, block": {"feed_forward": "recomputed", "checkpointing": "block"},
    "tiled": {"feed_forward": "tiled"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", MODELS)
def test_the_loss_is_that_of_merged_weights_and_so_are_the_gradients(source, way):
    learner = with_values(build(of(source, **WAYS[way]), CPU))
    learner.model.double()
    plain = build(of(source, adapter="none"), CPU)
    plain.model.double().load_state_dict(merged_state(learner, plain))
    loss, expected = learner.loss_sum(*batch()), plain.loss_sum(*batch())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    loss.backward()
    expected.backward()
    layers = [n for n, _ in learner.model.named_parameters() if ".lora_A." in n]
    assert len(layers) >= 4
    for name in layers:
        layer = learner.model.get_submodule(name.split(".lora_A.")[0])
        grad_weight = plain.model.get_parameter(f"{name.split('.lora_A.')[0]}.weight").grad
        if type(layer.base_layer).__name__ == "Conv1D":
            grad_weight = grad_weight.T
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        torch.testing.assert_close(a.grad, SCALE * b.T @ grad_weight, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(b.grad, SCALE * grad_weight @ a.T, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("optimizer", ["adam", "in-backward"])
@pytest.mark.parametrize("source", MODELS)
def test_steps_change_the_adapters_alone(source, optimizer):
    learner = build(of(source, optimizer=optimizer), CPU)
    before = {name: p.detach().clone() for name, p in learner.model.named_parameters()}
    steps = learner.optimizer(1e-2)
    for _ in range(2):
        learner.loss_sum(*batch()).backward()
        steps.step()
        steps.zero_grad()
    for name, parameter in learner.model.named_parameters():
        assert torch.equal(parameter, before[name]) != is_adapter(name), name
        assert parameter.requires_grad == is_adapter(name)
    held = {p for group in steps.param_groups for p in group["params"]}
    assert held == set(learner.trained_parameters())
    assert set(learner.trained_state()) == {n for n in before if is_adapter(n)}


@pytest.mark.parametrize("source", MODELS)
def test_the_function_begins_unchanged(source):
    plain = build(of(source, adapter="none"), CPU)
    assert build(of(source), CPU).loss_sum(*batch()).item() == plain.loss_sum(*batch()).item()


def test_parameters_are_counted_apart():
    learner, plain = build(of("llama"), CPU), build(of("llama", adapter="none"), CPU)
    # q, k, v, o, gate, up, down of two layers: inputs plus outputs, times the rank.
    sides = 2 * (64 + 48 + 48 + 64 + 80 + 80 + 80)
    assert trained_parameter_count(learner.model) == RANK * sides
    assert parameter_count(learner.model) == parameter_count(plain.model) + RANK * sides


@pytest.mark.parametrize(
    ("source", "targets", "count"),
    [
        ("llama", ["q_proj"], 2),
        ("llama", ["q_proj", "mlp.down_proj"], 4),
        ("gpt2", ["c_attn"], 2),
        ("python", ["attention.inputs"], 2),
        ("decoder", ["feed_forward.0"], 2),
    ],
)
def test_targets_choose_the_layers(source, targets, count):
    learner = with_values(build(of(source, adapter_targets=targets), CPU))
    assert sum(".lora_A." in name for name, _ in learner.model.named_parameters()) == count
    learner.loss_sum(*batch()).backward()
    assert all(p.grad is not None and p.grad.any() for p in learner.trained_parameters())


@pytest.mark.parametrize("source", MODELS)
def test_targets_that_match_nothing_are_one_sentence(source):
    with pytest.raises(ModelError) as caught:
        build(of(source, adapter_targets=["q_prj"]), CPU)
    assert str(caught.value).startswith("adapter_targets ['q_prj'] match no linear layer of the")
    assert "\n" not in str(caught.value)


def test_the_output_embedding_gets_no_adapter():
    with pytest.raises(ModelError, match="adapter_targets names the output embedding"):
        build(of("llama", adapter_targets=["q_proj", "lm_head"]), CPU)


def test_a_part_of_a_name_is_no_target():
    with pytest.raises(ModelError, match="match no linear layer"):
        build(of("llama", adapter_targets=["proj"]), CPU)


@pytest.mark.parametrize("source", ["decoder", "llama"])
def test_a_stopped_run_goes_on_bit_equal(source, tmp_path, monkeypatch):
    tokens = np.random.default_rng(1).integers(4, VOCABULARY, 300).astype(np.uint16)

    def run(folder):
        learner = build(of(source), CPU)
        schedule = Schedule(TrainingConfig(epochs=2), 4, 1e-2)
        done = train_epochs(
            learner, Sequences.of(tokens, LENGTH), schedule, Checkpoints(folder, "a")
        )
        return [p.detach().clone() for p in learner.model.parameters()], done

    expected, whole = run(tmp_path / "whole")
    original, count = module.retrying_step, iter(range(1, 1000))

    def stopping(*arguments, **options):
        if next(count) == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "retrying_step", stopping)
        with pytest.raises(Interrupted, match="after step 8"):
            run(tmp_path / "parts")
    names = str(Checkpoints(tmp_path / "parts", "a").load(CPU))
    assert "lora_A" in names
    assert "base_layer" not in names
    weights, done = run(tmp_path / "parts")
    assert done.interruptions == 1
    assert [p.loss for p in done.curve] == [p.loss for p in whole.curve]
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))


def quantised_learner(**axes):
    pytest.importorskip("bitsandbytes", reason="the package bitsandbytes is absent")
    return with_values(build(of("llama", **{"adapter": "qlora", "precision": "bf16"} | axes), CPU))


def dequantised(learner):
    """Name of each 4-bit layer's weight, and its values as bitsandbytes unpacks them."""
    from bitsandbytes.functional import dequantize_4bit

    return {
        f"{name}.weight": dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        for name, layer in learner.model.named_modules()
        if name.endswith(".base_layer")
    }


@pytest.mark.parametrize("axes", [{}, {"loss_head": "fused", "checkpointing": "block"}])
def test_weights_in_4_bits_train_adapters_as_their_values_do(axes):
    learner = quantised_learner(**axes)
    weights = dequantised(learner)
    assert len(weights) == 14
    exact = build(of("llama"), CPU)
    state = {n: v for n, v in learner.model.state_dict().items() if ".weight." not in n}
    exact.model.load_state_dict(state | weights, strict=True)
    exact.model.double()
    loss, expected = learner.loss_sum(*batch()), exact.loss_sum(*batch())
    assert loss.item() == pytest.approx(expected.item(), rel=2e-3)  # bfloat16
    loss.backward()
    expected.backward()
    for one, other in zip(learner.trained_parameters(), exact.trained_parameters(), strict=True):
        assert (one.grad - other.grad).norm() < 0.05 * other.grad.norm()


def test_4_bits_change_the_loss_little():
    bf16 = with_values(build(of("llama", precision="bf16"), CPU)).loss_sum(*batch()).item()
    loss = quantised_learner().loss_sum(*batch()).item()
    assert loss != bf16
    assert loss == pytest.approx(bf16, rel=5e-3)


def test_gpt2s_layers_cannot_be_kept_in_4_bits():
    with pytest.raises(UnsuitableModel, match=r"keeps the torch\.nn\.Linear layers of the"):
        build(of("gpt2", adapter="qlora", precision="bf16"), CPU)


@pytest.mark.parametrize("size", [(48, 32), (256, 512), (33, 64), (2048, 96)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_counted_sizes_are_the_bytes_that_bitsandbytes_keeps(size, bias):
    pytest.importorskip("bitsandbytes", reason="the package bitsandbytes is absent")
    linear = torch.nn.Linear(*size, bias=bias).bfloat16()
    layer = quantised(linear, CPU)
    real = stored(layer.weight) + ([] if layer.bias is None else [layer.bias])
    counted = list(Sizes4bit(linear, copied=False).parameters())
    assert sum(t.nbytes for t in counted) == sum(t.nbytes for t in real)
    assert layer.weight.nbytes == size[0] * size[1] // 2


class Multiplies(torch.nn.Module):
    """One layer is called, of another the weight is used, of the third its type is read."""

    def __init__(self):
        super().__init__()
        self.called, self.read, self.typed = (torch.nn.Linear(64, 64) for _ in range(3))

    def forward(self, x):
        return self.called(x.to(self.typed.weight.dtype)) @ self.read.weight + self.typed(x)


def test_a_layer_whose_weight_the_code_uses_stays_as_it_is():
    block = Multiplies()
    assert linear_layers([block]) == [block.called, block.typed]


@pytest.mark.parametrize("adapter", ["lora", "qlora"])
def test_the_breakdown_tells_base_adapters_and_quantised_weights_apart(adapter):
    if adapter == "qlora":
        pytest.importorskip("bitsandbytes", reason="the package bitsandbytes is absent")
    workload = of("llama", adapter=adapter, precision="bf16")
    tokens = np.random.default_rng(1).integers(4, VOCABULARY, 500).astype(np.uint16)
    plan = ProfilePlan(4, learning_rate=1e-3, warmup_steps=0, timed_steps=2)
    memory = profile(workload, Budget(CPU), Sequences.of(tokens, LENGTH), plan).memory
    learner = build(workload, CPU)
    layers = dequantised(learner) if adapter == "qlora" else {}
    packed = [part for name in layers for part in stored(learner.model.get_parameter(name))]
    frozen = [p for p in learner.model.parameters() if not p.requires_grad]
    rest = [p for p in frozen if not stored(p)]
    kinds = memory.by_kind
    own = sum(p.nbytes for p in learner.trained_parameters())
    assert own < kinds["adapters"] <= 1.5 * own  # with autocast's copies in 16 bits
    unique = {part.untyped_storage()._cdata: part.untyped_storage().nbytes() for part in packed}
    assert kinds["quantised weights"] == sum(unique.values())
    buffers = sum(b.nbytes for b in learner.model.buffers())
    assert kinds["parameters"] == pytest.approx(sum(p.nbytes for p in rest) + buffers, abs=256)
    assert kinds["optimizer state"] >= 2 * own
    table = 1024 * (adapter == "qlora")  # of 8-bit levels, which bitsandbytes keeps for itself
    assert sum(kinds.values()) == pytest.approx(memory.peak.allocated, abs=64 + table)


@pytest.mark.parametrize("source", [s for s in MODELS if s != "gpt2"])
def test_every_source_keeps_its_layers_in_4_bits_and_is_predicted_so(source):
    """Else a source would train as with lora, under another name."""
    pytest.importorskip("bitsandbytes", reason="the package bitsandbytes is absent")
    axes = {"adapter": "qlora", "precision": "bf16"}
    tried = of(source, **axes)
    learner = with_values(build(tried, CPU))
    kinds = [type(module).__name__ for module in learner.model.modules()]
    assert kinds.count("Linear4bit") > 0
    inputs, targets = batch()
    learner.loss_sum(inputs, targets).backward()
    assert all(p.grad is not None for p in learner.trained_parameters())
    run = FakeRun(tried, cuda=False)
    predicted = run.peak(64)  # many, or making the model takes more than its steps
    run.close()
    measured = Trials(tried, Budget(CPU), 2)(64)
    assert predicted == pytest.approx(measured.peak_allocated, rel=0.01)
