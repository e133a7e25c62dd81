"""Every technique computes the function of the plain float64 model, within its precision."""

import math

import pytest
import torch
from reference import compare

from vramlab.config.model import ModelConfig
from vramlab.config.technique import Technique
from vramlab.config.tokenizer import PAD_ID
from vramlab.memory import meter
from vramlab.model.attention import causal_mask
from vramlab.model.head import chunk_size
from vramlab.technique import build, parameter_count, unavailable

CPU = torch.device("cpu")
SMALL = ModelConfig(d_model=32, layers=2, heads=2, d_ff=64, dropout=0.0)
VOCABULARY = 97

FP32, BF16 = (1e-6, 1e-5), (2e-3, 4e-2)
"""Bounds of the relative error of the loss and of the gradients: about ten times what rounding
gives (2**-24 in float32, 2**-9 in bfloat16), through two layers."""


def batch(length=24, rows=3, padding=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(4, VOCABULARY, (rows, length), generator=generator)
    targets = torch.randint(4, VOCABULARY, (rows, length), generator=generator)
    if padding:
        inputs[-1, -padding:] = targets[-1, -padding:] = PAD_ID
    return inputs, targets


def regime(model=SMALL, **axes):
    return build(Technique(**axes), model, VOCABULARY, CPU, seed=9)


@pytest.mark.parametrize("loss_head", ["full", "chunked", "fused"])
@pytest.mark.parametrize("checkpointing", ["none", "block"])
@pytest.mark.parametrize("attention", ["plain", "math", "sdpa"])
def test_float32_techniques_agree_with_float64(attention, checkpointing, loss_head):
    technique = regime(attention=attention, checkpointing=checkpointing, loss_head=loss_head)
    loss, gradient = compare(technique, *batch(), SMALL.heads)
    assert loss < FP32[0]
    assert gradient < FP32[1]


@pytest.mark.parametrize("loss_head", ["full", "chunked", "fused"])
@pytest.mark.parametrize("attention", ["plain", "math", "sdpa"])
def test_bfloat16_techniques_agree_with_float64(attention, loss_head):
    technique = regime(precision="bf16", attention=attention, loss_head=loss_head)
    loss, gradient = compare(technique, *batch(), SMALL.heads)
    assert loss < BF16[0]
    assert 1e-4 < gradient < BF16[1]  # the lower bound shows that bfloat16 was used


@pytest.mark.parametrize("window", [1, 7, 24, 64])
def test_a_window_agrees_with_float64(window):
    technique = regime(attention="masked", window=window)
    loss, gradient = compare(technique, *batch(), SMALL.heads, window)
    assert loss < FP32[0]
    assert gradient < FP32[1]


@pytest.mark.parametrize("window", [1, 7, 64, 80, 1000])
def test_the_mask_is_exactly_the_window(window):
    mask = causal_mask(80, window, CPU)
    for row in range(80):
        seen = mask[row].nonzero().ravel().tolist()
        assert seen == list(range(max(0, row - window + 1), row + 1))


@pytest.mark.parametrize(("window", "reach"), [(1, 1), (7, 7), (64, 64), (200, 100)])
def test_a_token_is_felt_inside_the_window_and_nowhere_else(window, reach):
    model = ModelConfig(d_model=32, layers=1, heads=2, d_ff=64, dropout=0.0)
    technique = regime(model, attention="masked", window=window)
    inputs, _ = batch(length=100, rows=1, padding=0)
    changed = inputs.clone()
    changed[0, 20] = 4 + (inputs[0, 20] - 3) % (VOCABULARY - 4)
    with torch.no_grad():
        moved = technique.model(inputs) != technique.model(changed)
    assert moved.any(-1)[0].nonzero().ravel().tolist() == list(range(20, min(20 + reach, 100)))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointing_is_bit_equal(dropout):
    model = SMALL.model_copy(update={"dropout": dropout, "attention_dropout": dropout})
    results = []
    for checkpointing in ("none", "block"):
        technique = regime(model, checkpointing=checkpointing)
        torch.manual_seed(3)
        loss = technique.loss_sum(*batch())
        loss.backward()
        results.append([loss, *(p.grad for p in technique.model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_default_model_has_the_parameters_of_the_mission():
    technique = build(Technique(), ModelConfig(), 12_000, CPU, seed=9)
    assert parameter_count(technique.model) == 2_855_680


def test_all_techniques_start_from_the_same_weights():
    expected = regime().model.state_dict()
    for axes in ({"attention": "math"}, {"checkpointing": "block"}, {"precision": "bf16"}):
        state = regime(**axes).model.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_new_model_knows_nothing():
    inputs, targets = batch(padding=0)
    loss = regime().loss_sum(inputs, targets).item() / targets.numel()
    assert loss == pytest.approx(math.log(VOCABULARY), rel=0.02)


def test_padding_is_not_in_the_loss():
    technique = regime()
    inputs, targets = batch(padding=0)
    padded = targets.clone()
    padded[1, 4:] = PAD_ID
    parts = technique.loss_sum(inputs[::2], targets[::2])
    first = technique.loss_sum(inputs[1:2, :4], targets[1:2, :4])
    torch.testing.assert_close(technique.loss_sum(inputs, padded), parts + first)
    assert technique.loss_sum(inputs, torch.full_like(targets, PAD_ID)).item() == 0


@pytest.mark.parametrize("chunk_tokens", [None, 1, 5, 1000])
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (1, 7), (3, 24), (5, 31)])
@pytest.mark.parametrize("loss_head", ["chunked", "fused"])
def test_chunks_that_do_not_divide_give_the_same(loss_head, rows, length, chunk_tokens):
    data = batch(length, rows, padding=0)
    results = []
    for axes in ({}, {"loss_head": loss_head, "chunk_tokens": chunk_tokens}):
        technique = regime(**axes)
        loss = technique.loss_sum(*data)
        (loss / 3).backward()  # not one: the gradients must be scaled
        results.append([loss, *(p.grad for p in technique.model.parameters())])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["chunked", "fused"])
def test_other_heads_keep_no_logits(head):
    model = SMALL.model_copy(update={"layers": 1})
    data = batch(length=64, rows=16)
    logits = data[0].numel() * 1000 * 4
    peaks = {}
    for name in ("full", head):
        with meter(CPU, None) as memory:
            technique = build(Technique(loss_head=name), model, 1000, CPU, seed=9)
            technique.loss_sum(*data).backward()
            peaks[name] = memory.peak().allocated
    assert peaks["full"] > 2 * logits
    assert peaks[head] < logits


@pytest.mark.parametrize("loss_head", ["full", "chunked", "fused"])
def test_without_gradients_the_loss_is_the_same(loss_head):
    technique = regime(loss_head=loss_head)
    with torch.inference_mode():
        found = technique.loss_sum(*batch())
    torch.testing.assert_close(found, technique.loss_sum(*batch()).detach())


def test_a_chunk_is_neither_large_nor_tiny():
    assert chunk_size(131_072, 128, 12_000) == 8192  # the rule alone would make 94 chunks
    assert chunk_size(1_200_000, 128, 12_000) == 12_800
    assert chunk_size(1, 128, 12_000) == 1
    assert chunk_size(1000, 4096, 1000) >= 1000


@pytest.mark.parametrize("optimizer", ["adam", "fused"])
def test_an_optimizer_takes_the_step_of_adam_in_float64(optimizer):
    technique = regime(optimizer=optimizer)
    exact = [p.detach().double().requires_grad_() for p in technique.model.parameters()]
    plain = torch.optim.Adam(exact, lr=1e-2, foreach=False, fused=False)
    ours = technique.optimizer(1e-2)
    for _ in range(3):
        technique.loss_sum(*batch()).backward()
        for a, b in zip(exact, technique.model.parameters(), strict=True):
            a.grad = b.grad.double()
        plain.step()
        ours.step()
        ours.zero_grad()
    for a, b in zip(exact, technique.model.parameters(), strict=True):
        torch.testing.assert_close(b.double(), a, rtol=1e-4, atol=1e-5)


def test_dropout_is_on_in_training_and_off_in_evaluation():
    technique = regime(SMALL.model_copy(update={"dropout": 0.2}))
    losses = {technique.loss_sum(*batch()).item() for _ in range(3)}
    assert len(losses) == 3
    technique.model.eval()
    assert len({technique.loss_sum(*batch()).item() for _ in range(3)}) == 1


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"precision": "tf32"}, "NVIDIA GPU"),
        ({"precision": "bf16", "attention": "flash"}, "NVIDIA GPU"),
        ({"attention": "flex"}, "no backward pass on a CPU"),
    ],
)
def test_what_a_cpu_cannot_run_is_said(axes, says):
    assert says in unavailable(Technique(**axes), ModelConfig(), CPU)


@pytest.mark.parametrize("axes", [{}, {"precision": "bf16"}, {"attention": "masked", "window": 4}])
def test_what_a_cpu_can_run_is_available(axes):
    assert unavailable(Technique(**axes), ModelConfig(), CPU) is None


def test_a_flash_attn_that_cannot_be_imported_is_unavailable(monkeypatch, tmp_path):
    reason = "libc.so.6: version `GLIBC_2.32' not found"
    (tmp_path / "flash_attn.py").write_text(f"raise ImportError({reason!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    flash = Technique(precision="bf16", attention="flash")
    found = unavailable(flash, ModelConfig(), torch.device("cuda"))
    assert found == f"the package flash-attn cannot be imported ({reason}); see envs/README.md"
    assert unavailable(Technique(), ModelConfig(), torch.device("cuda")) is None
