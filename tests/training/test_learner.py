"""Every technique computes the function of the plain float64 model, within its precision."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from reference import compare
from workloads import workload

from vramlab.config.experiment import load
from vramlab.config.model import DecoderConfig
from vramlab.config.targets import IGNORED
from vramlab.config.technique import Technique
from vramlab.memory.meter import meter
from vramlab.model import logits
from vramlab.model.attention import causal_mask
from vramlab.model.decoder import Transformer
from vramlab.training.learner import build, parameter_count

CPU = torch.device("cpu")
SMALL = DecoderConfig(d_model=32, layers=2, heads=2, d_ff=64, dropout=0.0)
VOCABULARY = 97

FP32, BF16 = (1e-6, 1e-5), (2e-3, 4e-2)
"""Bounds of the relative error of the loss and of the gradients: about ten times what rounding
gives (2**-24 in float32, 2**-9 in bfloat16), through two layers."""
FP8 = (5e-3, 0.25)
"""Rounding to 8 bits gives 2**-4 (e4m3) and, of gradients, 2**-3 (e5m2)."""


def batch(length=24, rows=3, padding=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(4, VOCABULARY, (rows, length), generator=generator)
    targets = torch.randint(4, VOCABULARY, (rows, length), generator=generator)
    if padding:
        inputs[-1, -padding:], targets[-1, -padding:] = 3, IGNORED
    return inputs, targets


def learner(model=SMALL, **axes):
    return build(workload(axes, model, VOCABULARY), CPU)


@pytest.mark.parametrize("loss_head", ["full", "chunked", "fused"])
@pytest.mark.parametrize("checkpointing", ["none", "block", "selective"])
@pytest.mark.parametrize("attention", ["plain", "math", "sdpa"])
def test_float32_techniques_agree_with_float64(attention, checkpointing, loss_head):
    technique = learner(attention=attention, checkpointing=checkpointing, loss_head=loss_head)
    loss, gradient = compare(technique, *batch(), SMALL.heads)
    assert loss < FP32[0]
    assert gradient < FP32[1]


@pytest.mark.parametrize("loss_head", ["full", "chunked", "fused"])
@pytest.mark.parametrize("attention", ["plain", "math", "sdpa"])
@pytest.mark.parametrize("precision", ["bf16", "pure-bf16"])
def test_bfloat16_techniques_agree_with_float64(precision, attention, loss_head):
    technique = learner(precision=precision, attention=attention, loss_head=loss_head)
    loss, gradient = compare(technique, *batch(), SMALL.heads)
    assert loss < BF16[0]
    assert 1e-4 < gradient < BF16[1]  # the lower bound shows that bfloat16 was used


@pytest.mark.parametrize("checkpointing", ["none", "block", "selective"])
@pytest.mark.parametrize(
    ("precision", "bounds"), [("fp32", FP32), ("bf16", BF16), ("pure-bf16", BF16)]
)
def test_a_recomputed_feed_forward_layer_agrees_with_float64(precision, bounds, checkpointing):
    technique = learner(feed_forward="recomputed", precision=precision, checkpointing=checkpointing)
    loss, gradient = compare(technique, *batch(), SMALL.heads)
    assert loss < bounds[0]
    assert gradient < bounds[1]


def test_a_recomputed_feed_forward_layer_keeps_its_hidden_state_once():
    kept = {}
    model = SMALL.model_copy(update={"d_ff": 1024, "dropout": 0.1})
    for feed_forward in ("full", "recomputed"):
        technique = learner(model, feed_forward=feed_forward)
        inputs, targets = batch(length=64, rows=8)
        with meter(CPU, None) as memory:
            technique.loss_sum(inputs, targets)
            before = memory.point().allocated
            loss = technique.loss_sum(inputs, targets)
            kept[feed_forward] = memory.point().allocated - before
            del loss
    values = inputs.numel() * model.d_ff * model.layers
    saved = kept["full"] - kept["recomputed"]
    assert saved == pytest.approx(values * (4 + 4), rel=0.05)  # GELU's output, the mask by 1/(1-p)


@pytest.mark.parametrize("checkpointing", ["none", "block"])
@pytest.mark.parametrize(
    ("precision", "bounds"), [("fp32", FP32), ("bf16", BF16), ("pure-bf16", BF16)]
)
def test_a_tiled_feed_forward_layer_agrees_with_float64(precision, bounds, checkpointing):
    technique = learner(feed_forward="tiled", precision=precision, checkpointing=checkpointing)
    for size in ({}, {"length": 5, "rows": 1, "padding": 0}):  # fewer tokens than pieces too
        technique.model.zero_grad()
        loss, gradient = compare(technique, *batch(**size), SMALL.heads)
        assert loss < bounds[0]
        assert gradient < bounds[1]


def test_the_pieces_of_a_tiled_layer_have_the_dropout_masks_of_the_forward_pass():
    model = SMALL.model_copy(update={"dropout": 0.4})
    technique = learner(model, feed_forward="tiled").model.double()
    layer, seen = technique.blocks[0].feed_forward, []
    layer[2].register_forward_hook(lambda _, __, out: seen.append(out != 0))
    x = torch.randn(3, 24, 32, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(5)
    out = layer(x)
    after = torch.get_rng_state()
    out.sum().backward()
    assert len(seen) == 2 * 15  # 72 tokens, five in a piece
    forward, again = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert all(map(torch.equal, forward, again[::-1]))
    assert not torch.equal(forward[0], forward[1])
    assert torch.equal(torch.get_rng_state(), after)
    # What autograd gives of the same masks, without pieces.
    mask = torch.cat([part.flatten(0, -2) for part in forward]) / 0.6
    other = x.detach().requires_grad_()
    hidden = torch.nn.functional.gelu(layer[0](other.flatten(0, 1))) * mask
    whole = layer[3](hidden)
    expected = torch.autograd.grad(whole.sum(), [other, *layer.parameters()])
    torch.testing.assert_close(out.flatten(0, 1), whole)
    for found, right in zip([x.grad, *(p.grad for p in layer.parameters())], expected, strict=True):
        torch.testing.assert_close(found, right)


def test_a_tiled_layer_holds_the_hidden_tensors_of_a_piece():
    kept = {}
    model = SMALL.model_copy(update={"d_ff": 1024, "layers": 1})
    inputs, targets = batch(length=64, rows=16, padding=0)
    for feed_forward in ("full", "tiled"):
        technique = learner(model, feed_forward=feed_forward, loss_head="fused")
        with meter(CPU, None) as memory:
            technique.loss_sum(inputs, targets).backward()
            kept[feed_forward] = memory.peak().allocated
    hidden = inputs.numel() * model.d_ff * 4
    assert kept["full"] > 3 * hidden  # GELU's input and output, and the gradient of one of them
    assert kept["tiled"] < 0.75 * hidden  # of a piece, and the weights


@pytest.mark.parametrize("loss_head", ["full", "fused"])
def test_8_bit_floats_agree_with_float64(loss_head):
    technique = learner(precision="fp8", attention="sdpa", loss_head=loss_head)
    inputs, targets = batch(length=23)  # no multiple of 16 tokens
    loss, gradient = compare(technique, inputs, targets, SMALL.heads)
    assert loss < FP8[0]
    assert 2e-2 < gradient < FP8[1]  # the lower bound shows that 8 bits were used


@pytest.mark.parametrize("kv_heads", [1, 2])
@pytest.mark.parametrize(("attention", "window"), [("math", None), ("sdpa", None), ("masked", 7)])
def test_grouped_heads_agree_with_float64(attention, window, kv_heads):
    model = SMALL.model_copy(update={"heads": 4, "kv_heads": kv_heads})
    technique = learner(model, attention=attention, window=window)
    loss, gradient = compare(technique, *batch(), 4, window)
    assert loss < FP32[0]
    assert gradient < FP32[1]
    saved = 2 * model.layers * (model.d_model + 1) * model.d_model * (4 - kv_heads) // 4
    full = parameter_count(learner(model.model_copy(update={"kv_heads": None})).model)
    assert parameter_count(technique.model) == full - saved


@pytest.mark.slow
@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"loss_head": "fused", "feed_forward": "recomputed"},
        {"checkpointing": "selective"},
    ],
)
def test_compiled_techniques_agree_with_float64(axes):
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler here")
    technique = learner(compile="default", attention="sdpa", **axes)
    loss, gradient = compare(technique, *batch(), SMALL.heads)
    assert loss < FP32[0]
    assert gradient < FP32[1]


@pytest.mark.parametrize(("name", "parameters"), [("config", 2_855_680), ("gpt2", 123_456_000)])
def test_the_shipped_models_have_the_parameters_that_their_files_say(name, parameters):
    path = Path(__file__).parents[2] / "config" / f"{name}.yaml"
    config = load(path)
    with torch.device("meta"):
        model = Transformer(config.model, config.vocab_size, Technique())
    assert parameter_count(model) == parameters
    assert f"{parameters:,}" in path.read_text()


@pytest.mark.parametrize("window", [1, 7, 24, 64])
def test_a_window_agrees_with_float64(window):
    technique = learner(attention="masked", window=window)
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
def test_a_token_has_influence_only_inside_the_window(window, reach):
    model = DecoderConfig(d_model=32, layers=1, heads=2, d_ff=64, dropout=0.0)
    technique = learner(model, attention="masked", window=window)
    inputs, _ = batch(length=100, rows=1, padding=0)
    changed = inputs.clone()
    changed[0, 20] = 4 + (inputs[0, 20] - 3) % (VOCABULARY - 4)
    with torch.no_grad():
        moved = technique.model(inputs) != technique.model(changed)
    assert moved.any(-1)[0].nonzero().ravel().tolist() == list(range(20, min(20 + reach, 100)))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointing_and_offload_are_bit_equal(dropout):
    model = SMALL.model_copy(update={"dropout": dropout, "attention_dropout": dropout})
    results = []
    ways = (
        {},
        {"checkpointing": "block"},
        {"checkpointing": "selective"},
        {"offload": "activations"},
        {"offload": "activations", "checkpointing": "block"},
    )
    for axes in ways:
        technique = learner(model, **axes)
        torch.manual_seed(3)
        loss = technique.loss_sum(*batch())
        loss.backward()
        results.append([loss, *(p.grad for p in technique.model.parameters())])
    first = results[0]
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_default_model_has_the_required_parameter_count():
    technique = build(workload(model=DecoderConfig(), vocab_size=12_000), CPU)
    assert parameter_count(technique.model) == 2_855_680


def test_all_techniques_start_from_the_same_weights():
    expected = learner().model.state_dict()
    for axes in (
        {"attention": "math"},
        {"checkpointing": "block"},
        {"precision": "bf16"},
        {"precision": "fp8"},
    ):
        state = learner(**axes).model.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_the_initial_loss_is_that_of_a_uniform_guess():
    inputs, targets = batch(padding=0)
    loss = learner().loss_sum(inputs, targets).item() / targets.numel()
    assert loss == pytest.approx(math.log(VOCABULARY), rel=0.02)


def test_padding_is_not_in_the_loss():
    technique = learner()
    inputs, targets = batch(padding=0)
    padded = targets.clone()
    padded[1, 4:] = IGNORED
    parts = technique.loss_sum(inputs[::2], targets[::2])
    first = technique.loss_sum(inputs[1:2, :4], targets[1:2, :4])
    torch.testing.assert_close(technique.loss_sum(inputs, padded), parts + first)
    assert technique.loss_sum(inputs, torch.full_like(targets, IGNORED)).item() == 0


@pytest.mark.parametrize("loss_head", ["chunked", "fused"])
@pytest.mark.parametrize("chunk_tokens", [None, 1, 10, 1000])
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (1, 7), (3, 24), (5, 31)])
def test_chunks_that_do_not_divide_give_the_same_loss(rows, length, chunk_tokens, loss_head):
    data = batch(length, rows, padding=0)
    technique = learner(loss_head=loss_head, chunk_tokens=chunk_tokens)
    torch.testing.assert_close(technique.loss_sum(*data), learner().loss_sum(*data))
    with torch.no_grad():
        torch.testing.assert_close(technique.loss_sum(*data), learner().loss_sum(*data))


def test_chunks_are_large_enough_for_a_gpu_and_small_relative_to_the_batch():
    def size(head, tokens, width, vocabulary):
        most = {"fused": logits.fused_logits, "chunked": logits.chunked_logits}[head]
        return logits.chunk_size(tokens, vocabulary, most(width, vocabulary))

    assert size("fused", 512 * 256, 128, 12_000) == 2432
    assert size("fused", 16_384, 896, 151_936) == 192
    assert size("fused", 8192, 2048, 128_256) == 384
    assert size("fused", 8192, 4096, 128_256) == 384
    copied = logits.fused_logits_beside_a_copy
    assert logits.chunk_size(16_384, 128_256, copied(2048, 128_256)) == 512
    assert logits.chunk_size(512 * 256, 12_000, copied(128, 12_000)) == 2432
    assert size("chunked", 512 * 256, 128, 12_000) == 2432
    assert size("chunked", 1_000_000, 4096, 128_256) == 768
    assert size("chunked", 1000, 16, 1000) == 63
    assert size("fused", 1, 128, 12_000) == 1


def test_the_fused_head_scales_with_grad_output_and_runs_backward_once():
    technique, plain = learner(loss_head="fused"), learner()
    loss = technique.loss_sum(*batch()) / 7
    loss.backward(retain_graph=True)
    (plain.loss_sum(*batch()) / 7).backward()
    for one, other in zip(technique.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)
    with pytest.raises(RuntimeError, match="only once"):
        loss.backward()


def test_heads_in_chunks_keep_no_logits():
    model = SMALL.model_copy(update={"layers": 1})
    data = batch(length=64, rows=16)
    logits = data[0].numel() * 1000 * 4
    peaks = {}
    for loss_head in ("full", "chunked", "fused"):
        with meter(CPU, None) as memory:
            technique = build(workload({"loss_head": loss_head}, model, 1000), CPU)
            technique.loss_sum(*data).backward()
            peaks[loss_head] = memory.peak().allocated
    assert peaks["full"] > 2 * logits
    assert peaks["chunked"] < logits
    assert peaks["fused"] < logits


def test_dropout_is_on_in_training_and_off_in_evaluation():
    technique = learner(SMALL.model_copy(update={"dropout": 0.2}))
    losses = {technique.loss_sum(*batch()).item() for _ in range(3)}
    assert len(losses) == 3
    technique.model.eval()
    assert len({technique.loss_sum(*batch()).item() for _ in range(3)}) == 1
