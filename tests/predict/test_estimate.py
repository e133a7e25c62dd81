"""The largest batch on a curve, and what is said of each technique."""

import pytest
import torch
from workloads import workload

from vramlab.config.measure import Headroom, MeasureConfig
from vramlab.config.model import DecoderConfig, TransformersConfig
from vramlab.config.technique import Technique
from vramlab.measure.longest_sequence import LengthPlan, longest_sequence
from vramlab.measure.trial import Trials
from vramlab.memory.budget import Budget
from vramlab.memory.headroom import headroom
from vramlab.predict.estimate import Limits, caveats, estimates, least_card, limit_of, notes, usable
from vramlab.results.longest_sequence import UNIT

GIB = 2**30
SMALL = DecoderConfig(d_model=32, layers=1, heads=2, d_ff=64)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def of_axes(axes):
    return workload(axes, SMALL, vocab_size=500, length=16)


def test_a_card_leaves_less_than_its_name_says():
    # What the search had on an H200 of 141 GB (2026-11-24), which goes by free memory.
    assert usable(141) == pytest.approx(149_020_606_464 - 506_769_244, rel=0.01)
    assert usable(141) < 149_020_606_464 - 506_769_244
    assert 37 * GIB < usable(40) < 39 * GIB


def test_the_limit_is_that_of_the_configured_device():
    on_cpu = MeasureConfig(device="cpu", memory_limit_gib=0.5)
    assert (limit_of(on_cpu, CPU), limit_of(on_cpu, CUDA)) == (GIB // 2, None)
    capped = MeasureConfig(memory_limit_gib=39.4)
    limit = int(39.4 * GIB)
    assert limit_of(capped, CUDA) < limit - headroom(CUDA, limit)
    assert limit_of(MeasureConfig(), CUDA) is None


def test_a_headroom_is_left_free_on_the_device_and_on_cards():
    free = Headroom(gib=1)
    capped = MeasureConfig(memory_limit_gib=39.4, headroom=free)
    rest = limit_of(MeasureConfig(memory_limit_gib=39.4, headroom=Headroom(gib=0)), CUDA)
    assert limit_of(capped, CUDA) == rest - GIB
    assert usable(40, free) == usable(40, Headroom(gib=0)) - GIB
    assert least_card(20 * GIB, free) > least_card(20 * GIB)
    on_cpu = MeasureConfig(device="cpu", memory_limit_gib=0.5, headroom=Headroom(share=0.5))
    assert limit_of(on_cpu, CPU) == GIB // 4


@pytest.mark.usefixtures("swift")
def test_a_share_left_free_makes_the_predicted_batches_smaller():
    def predict(share):
        measure = MeasureConfig(device="cpu", memory_limit_gib=0.01, headroom=Headroom(share=share))
        on_cpu, on_cuda = estimates("it", of_axes({}), Limits(measure, [8]))
        return on_cpu.max_batch_size, on_cuda.cards[0], on_cuda.longest[0]

    whole, half = predict(0.0), predict(0.5)
    assert all(0.4 * a < b < 0.75 * a for a, b in zip(whole, half, strict=True))


@pytest.mark.usefixtures("swift")
def test_each_technique_is_predicted_on_each_device():
    measure = MeasureConfig(device="cpu", memory_limit_gib=0.01)
    limits = Limits(measure, [8, 24])
    plain_axes, flash_axes = {}, {"precision": "bf16", "attention": "flash"}
    plain = {e.device: e for e in estimates("plain", of_axes(plain_axes), limits)}
    at = {device: e.batch_size for device, e in plain.items()}
    flash = {e.device: e for e in estimates("flash", of_axes(flash_axes), limits, 1, at)}
    assert set(plain) == set(flash) == {"cpu", "cuda"}
    assert flash["cpu"].status == "skipped"
    assert "flash-attn needs an NVIDIA GPU" in flash["cpu"].reason
    assert plain["cpu"].cards == []
    assert len(flash["cuda"].cards) == 2
    assert flash["cuda"].cards[0] < flash["cuda"].cards[1]
    assert flash["cuda"].max_batch_size is None
    # All are compared at the batch of the baseline, which by itself is its largest.
    assert plain["cpu"].batch_size == plain["cpu"].max_batch_size
    assert flash["cuda"].batch_size == plain["cuda"].cards[-1]
    assert flash["cuda"].batch_size in flash["cuda"].peaks
    trial = Trials(of_axes(plain_axes), Budget(CPU, limit_of(measure, CPU)), 2)
    assert trial(plain["cpu"].max_batch_size).fits
    assert not trial(plain["cpu"].max_batch_size + 1).fits


@pytest.mark.usefixtures("swift")
@pytest.mark.parametrize("axes", [{"attention": "math"}, {"attention": "sdpa"}], ids=str)
def test_the_predicted_longest_sequence_is_the_measured_one(axes):
    limit = 3 * 2**20
    measure = MeasureConfig(device="cpu", memory_limit_gib=limit / GIB, longest_sequence=1)
    on_cpu, on_cuda = estimates("it", of_axes(axes), Limits(measure, [8]))
    plan = LengthPlan(batch_size=1, steps=2)
    longest, _ = longest_sequence(of_axes(axes), Budget(CPU, limit), plan)
    under = [length for length, peak in on_cpu.length_peaks.items() if peak <= limit]
    assert abs(max(under) - longest) <= UNIT
    assert on_cuda.longest[0] in on_cuda.length_peaks


def test_caveats_name_what_is_ignored():
    assert caveats(Technique()) == []
    compiled = Technique(compile="default")
    assert caveats(compiled) == []
    tuned = Technique(compile="max-autotune", cuda_graphs=True, attention="flex")
    assert len(caveats(tuned)) == 3
    fp8 = {"precision": "fp8", "attention": "sdpa"}
    assert len(caveats(Technique(**fp8))) == 1  # compiled, its peaks were 0.1 % off
    assert caveats(Technique(**fp8, compile="default")) == []


def test_a_budget_in_compiled_code_bears_on_other_batches_only():
    budget = Technique(compile="default", checkpointing={"budget": 0.5})
    assert caveats(budget) == []
    assert len(notes(budget)) == 1


def test_no_batch_is_predicted_that_a_kernel_cannot_take():
    tiny = DecoderConfig(d_model=8, layers=1, heads=1, d_ff=8)
    halves = {"precision": "bf16", "attention": "sdpa", "loss_head": "fused"}
    (fp32,), (bf16,) = (
        estimates("it", workload(axes, tiny, vocab_size=50, length=4), Limits(MeasureConfig(), [8]))
        for axes in ({"loss_head": "fused"}, halves)
    )
    assert fp32.cards[0] > bf16.cards[0] == 65_535


@pytest.mark.parametrize("peak", [0, 2**20, 2**30, 20 * 2**30 + 12_345, 500 * 2**30])
def test_the_least_card_is_the_first_on_which_the_peak_fits(peak):
    card = least_card(peak)
    assert usable(card) >= peak > usable(round(card - 0.1, 1))


def test_the_tokens_that_a_model_is_made_for_are_recorded():
    """Longer sequences are predicted as others are."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
    llama = {"model_type": "llama", "vocab_size": 50, **sizes, **heads}
    asked = workload({}, TransformersConfig(source="transformers", config=llama), length=128)
    [found] = estimates("it", asked, Limits(MeasureConfig(), [8]))
    assert (found.trained_range, found.status) == (64, "ok")
    assert found.longest[0] > 128
