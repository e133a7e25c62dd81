"""Operations of attention, also where torch's own formula refuses the shapes."""

import pytest
import torch
from torch.utils import flop_counter

from vramlab.model.kernel_flops import flops_of

ATEN = torch.ops.aten
B, H, T, D = 2, 4, 16, 8
KERNELS = (
    *("flash_attention", "flash_attention_for_cpu"),
    *("efficient_attention", "cudnn_attention"),
)


def refuses(*_, **__):
    raise AssertionError("sdpa_flop_count: query/key/value shapes are incompatible")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shared", [1, 2])
def test_attention_counts_scores_and_weighted_sum(kernel, shared, monkeypatch):
    function = getattr(ATEN, f"_scaled_dot_product_{kernel}").default
    # As before torch 2.13 where heads of queries share keys and values.
    monkeypatch.setitem(flop_counter.flop_registry, function.overloadpacket, refuses)
    q, k = torch.empty(B, H, T, D), torch.empty(B, H // shared, T, D)
    assert flops_of(function, (q, k, k), {}, (q,)) == 4 * B * H * T * T * D


def test_torchs_own_formulas_are_used_where_there_are_such():
    a, b = torch.empty(3, 5), torch.empty(5, 7)
    assert flops_of(ATEN.mm.default, (a, b), {}, a @ b) == 2 * 3 * 5 * 7
    assert flops_of(ATEN.addmm.default, (torch.empty(7), a, b), {}, a @ b) == 2 * 3 * 5 * 7
    assert flops_of(ATEN.add.Tensor, (a, a), {}, a + a) == 0
