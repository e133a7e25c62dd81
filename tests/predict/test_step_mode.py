"""Remembered results against those of torch's own FakeTensorMode."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional
from workloads import workload

from vramlab.config.model import DecoderConfig
from vramlab.predict import fake_run
from vramlab.predict.estimate import unmodelled
from vramlab.predict.step_mode import StepMode

SMALL = DecoderConfig(d_model=64, layers=2, heads=2, d_ff=256, dropout=0.1)
TECHNIQUES = {
    "plain": {},
    "math": {"precision": "bf16", "attention": "math"},
    "masked": {"precision": "bf16", "attention": "masked", "window": 7},
    "flash": {"precision": "bf16", "attention": "flash", "checkpointing": "selective"},
    "chunked": {"precision": "bf16", "attention": "sdpa", "loss_head": "chunked"},
    "offload": {"precision": "bf16", "offload": "activations", "optimizer": "fused"},
    "least": {
        "precision": "bf16",
        "loss_head": "fused",
        "checkpointing": "block",
        "feed_forward": "recomputed",
    },
    "tiled": {"feed_forward": "tiled", "optimizer": "muon"},
    "in-backward": {"precision": "pure-bf16", "optimizer": "in-backward", "adapter": "lora"},
}


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch):
    monkeypatch.setattr(StepMode, "_seen", {})


def modes():
    return StepMode(), FakeTensorMode(allow_non_fake_inputs=True)


def layout(tensor):
    return tuple(tensor.shape), tensor.stride(), tensor.storage_offset(), tensor.dtype


def test_a_fake_tensor_made_without_checks_is_as_torch_makes_it():
    mode, plain = StepMode(), torch.empty(2, 3, dtype=torch.bfloat16, device="meta")
    made, by_torch = mode._fake(plain), FakeTensor(mode, plain, torch.device("cpu"))
    assert type(made) is FakeTensor
    assert vars(made) == vars(by_torch)
    assert layout(made) == layout(by_torch)
    assert (made.device, made.requires_grad) == (by_torch.device, by_torch.requires_grad)
    assert torch._C._dispatch_keys(made) == torch._C._dispatch_keys(by_torch)


def described(results, given):
    """The layouts of results, and which argument each of them is or views."""
    parts = results if isinstance(results, list | tuple) else [results]
    return type(results) in {list, tuple}, [
        (
            *layout(part),
            part.device,
            [part is g for g in given],
            [part.untyped_storage()._cdata == g.untyped_storage()._cdata for g in given],
        )
        if isinstance(part, torch.Tensor)
        else part
        for part in parts
    ]


OPERATIONS = {
    "sum of two types": lambda x, y: x + y.bfloat16(),
    "number": lambda x, _: x * 2,
    "view": lambda x, _: x.view(-1, 6),
    "view of a part": lambda x, _: x[1:].view(-1),
    "unsafe view": lambda x, _: torch.ops.aten._unsafe_view(x, [6, 4]),
    "transposed": lambda x, _: x.transpose(0, 1),
    "parts": lambda x, _: x.split([1, 3]),
    "in place": lambda x, y: x.add_(y),
    "in place of a list": lambda x, y: torch._foreach_mul_([x, y], 2.0),
    "list": lambda x, y: torch._foreach_sqrt([x, y]),
    "same type": lambda x, _: x.to(torch.float32),
    "other type": lambda x, _: x.to(torch.bfloat16),
    "out": lambda x, y: torch.add(x, 1, out=y),
    "dropout": lambda x, _: torch.native_dropout(x, 0.5, True),
    "norm": lambda x, _: functional.layer_norm(x, [6]),
    "attention": lambda x, y: torch.ops.aten._scaled_dot_product_flash_attention(
        *(t.view(1, 1, 4, 6).bfloat16() for t in (x, y, x)), 0.1, is_causal=True
    ),
    "efficient attention": lambda x, y: torch.ops.aten._scaled_dot_product_efficient_attention(
        *(t.view(1, 1, 4, 6) for t in (x, y, x)), None, True
    ),
    "complex": lambda x, _: torch.view_as_complex(x.view(4, 3, 2)).conj().resolve_conj(),
    "imaginary": lambda x, _: torch.view_as_complex(x.view(4, 3, 2)).conj().imag.clone(),
    "new": lambda x, _: torch.zeros(x.shape[0], dtype=torch.int64),
    "other shape": lambda x, _: x.t_(),
    "larger": lambda x, _: x.resize_(8, 6),
    "none": lambda x, _: x[:0].view(2, 0),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_results_are_those_of_torch_each_time(name):
    found = []
    for mode in modes():
        with mode, torch.no_grad():
            for _ in range(3):
                given = torch.empty(4, 6), torch.empty(4, 6)
                found.append(described(OPERATIONS[name](*given), given))
                found[-1] += ([layout(g) for g in given],)
    assert all(one == found[-1] for one in found)


def test_an_operation_is_worked_out_once_for_each_shape_and_type(monkeypatch):
    asked = []
    dispatch = FakeTensorMode.dispatch

    def counted(self, func, *args):
        asked.append(func)
        return dispatch(self, func, *args)

    monkeypatch.setattr(FakeTensorMode, "dispatch", counted)
    with StepMode():
        tensors = [torch.empty(n, dtype=t) for n in (3, 4) for t in (torch.int32, torch.float32)]
        for _ in range(5):
            for tensor in tensors:
                torch.neg(tensor)
    assert asked.count(torch.ops.aten.neg.default) == len(tensors)


def test_a_view_shares_the_storage_of_its_own_argument_not_of_the_first_one_seen():
    with StepMode():
        for _ in range(2):
            x = torch.empty(2, 3)
            assert x.view(6).untyped_storage()._cdata == x.untyped_storage()._cdata


def test_one_tensor_as_two_arguments_is_told_from_two():
    with StepMode():
        x, y = torch.empty(3), torch.empty(3)
        assert x.mul_(x) is x
        assert torch.mul(x, y, out=y) is y
        assert torch.mul(x, x, out=x) is x
        assert torch.mul(x, y, out=x) is x
        assert torch.mul(x, y, out=y) is y


def test_what_torch_refuses_is_refused_again():
    for _ in range(2):
        with StepMode(), pytest.raises(RuntimeError):
            torch.empty(2, 3).view(5)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_peaks_are_those_of_torchs_own_mode(name, monkeypatch):
    tried = workload(TECHNIQUES[name], SMALL, vocab_size=1000, length=32)
    if why := unmodelled(tried.technique):  # torch 2.8 has no Muon
        pytest.skip(why)

    def peaks():
        with fake_run.FakeRun.of(tried, cuda=True) as run:
            return [run.peak(size) for size in (1, 7, 500, 501)] + [
                run.peak_of_length(length) for length in (64, 1024)
            ]

    ours = peaks()
    again = peaks()  # from what is remembered
    monkeypatch.setattr(fake_run, "StepMode", lambda: FakeTensorMode(allow_non_fake_inputs=True))
    assert ours == again == peaks()
