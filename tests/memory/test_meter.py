"""Live bytes on a CPU are exact: each test knows the answer by hand."""

from types import SimpleNamespace

import pytest
import torch

from vramlab.memory.allocator import free_memory
from vramlab.memory.meter import idle_in_pools, meter
from vramlab.memory.out_of_memory import OutOfMemory, is_out_of_memory, missing, shortage

CPU = torch.device("cpu")
KIB, MIB, GIB = 1024, 1024**2, 1024**3


def test_tensors_views_and_frees():
    with meter(CPU, None) as memory:
        a = torch.zeros(256)  # 1 KiB
        b = torch.zeros(512)
        view = b.view(2, 256)[0]
        assert memory.point().allocated == 3 * KIB
        del a
        assert memory.point().allocated == 2 * KIB
        del b
        assert memory.point().allocated == 2 * KIB  # the view keeps the storage
        del view
        assert memory.point().allocated == 0
        assert memory.peak().allocated == 3 * KIB
        memory.reset_peak()
        assert memory.peak().allocated == 0


def test_a_storage_that_is_resized_counts_as_it_is():
    """As FSDP frees the weights that it gathered, which is no operation of torch's dispatcher."""
    before = torch.UntypedStorage.resize_
    with meter(CPU, None) as memory:
        a = torch.zeros(256)
        a.untyped_storage().resize_(0)
        assert memory.point().allocated == 0
        a.untyped_storage().resize_(KIB)
        assert memory.point().allocated == KIB
    assert torch.UntypedStorage.resize_ is before


def test_a_tensor_subclass_counts_as_its_inner_tensors():
    from torch.testing._internal.two_tensor import TwoTensor

    with meter(CPU, None) as memory:
        pair = TwoTensor(torch.zeros(256), torch.zeros(256))
        assert memory.point().allocated == 2 * KIB
        double = pair + pair
        assert memory.point().allocated == 4 * KIB
        del double
        assert memory.point().allocated == 2 * KIB


def test_in_place_operations_allocate_nothing():
    with meter(CPU, None) as memory:
        a = torch.zeros(256)
        a.add_(1).mul_(2)
        assert memory.peak().allocated == KIB


def test_tensors_saved_for_the_backward_pass_count():
    with meter(CPU, None) as memory:
        layer = torch.nn.Linear(64, 32, bias=False)  # 8 KiB
        x = torch.randn(16, 64)  # 4 KiB, saved for the weight's gradient
        before = memory.point().allocated
        assert before == 12 * KIB
        y = torch.relu(layer(x))  # the linear output is freed, relu saves its own: 2 KiB
        assert memory.point().allocated == before + 2 * KIB
        y.sum().backward()
        del y
        assert memory.point().allocated == before + 8 * KIB  # the weight's gradient


def test_adam_keeps_two_moments_and_a_step_each():
    with meter(CPU, None) as memory:
        weight = torch.nn.Parameter(torch.zeros(256))
        optimizer = torch.optim.Adam([weight])
        weight.grad = torch.ones(256)
        before = memory.point().allocated
        optimizer.step()
        state = memory.point().allocated - before
        assert state == 2 * KIB + 4


def test_exceeding_the_limit_raises_and_leaves_the_meter_usable():
    with meter(CPU, 2 * KIB) as memory:
        torch.zeros(512)
        with pytest.raises(OutOfMemory, match="exceed the limit") as error:
            torch.zeros(513)
        assert is_out_of_memory(error.value)
        del error
        free_memory()
        assert memory.point().allocated == 0
        torch.zeros(512)


def test_only_out_of_memory_errors_are_recognised():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("device-side assert triggered"))
    assert not is_out_of_memory(ValueError("shape"))


def test_without_a_configured_limit_half_of_the_memory_is_the_limit():
    with meter(CPU, None) as memory:
        assert 2**27 < memory.limit < 2**45


CUDA_ERROR = (
    "CUDA out of memory. Tried to allocate 586.00 MiB. GPU 0 has a total capacity of 139.80 GiB of "
    "which 100.22 GiB is free. Including non-PyTorch memory, this process has 39.57 GiB memory in "
    "use. 39.40 GiB allowed; Of the allocated memory 38.72 GiB is allocated by PyTorch, and 114.52 "
    "MiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try "
    "setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)


SHORTAGE = (
    "586.00 MiB more were asked for, with 38.72 GiB in live tensors and 114.52 MiB idle between "
    "them, of 39.40 GiB"
)


def test_a_shortage_is_described_without_advice_on_settings():
    assert shortage(torch.OutOfMemoryError(CUDA_ERROR)) == SHORTAGE
    assert shortage(torch.OutOfMemoryError("CUDA error: out of memory")) == (
        "CUDA error: out of memory"
    )


def test_what_is_missing_is_read_from_the_error():
    expected = (586.00 + 38.72 * 1024 + 114.52 - 39.40 * 1024) * MIB
    assert missing(torch.OutOfMemoryError(CUDA_ERROR)) == pytest.approx(expected, abs=1)
    assert missing(torch.OutOfMemoryError("CUDA error: out of memory")) is None
    with pytest.raises(OutOfMemory) as error, meter(CPU, 10 * MIB):
        torch.empty(11 * MIB, dtype=torch.uint8)
    assert missing(error.value) == MIB


def test_the_pools_of_cuda_graphs_count_as_a_whole():
    def segment(pool, total, live, device=0):
        return {
            "device": device,
            "segment_pool_id": pool,
            "total_size": total,
            "allocated_size": live,
        }

    segments = [segment((0, 0), 100, 10), segment((0, 1), 50, 20), segment((0, 2), 7, 0)]
    assert idle_in_pools([*segments, segment((0, 1), 999, 0, device=1)], 0) == 37
    assert idle_in_pools(segments[:1], 0) == 0


@pytest.mark.parametrize(("gib", "limit", "said"), [(200, 77.5, 1), (40, 40, 0)])
def test_a_limit_beyond_the_card_is_lowered_and_said_once(monkeypatch, caplog, gib, limit, said):
    card = {
        "get_device_properties": lambda _: SimpleNamespace(total_memory=80 * GIB),
        "mem_get_info": lambda _: (78 * GIB, 80 * GIB),
        "memory_reserved": lambda _: 0,
        "set_per_process_memory_fraction": lambda *_: None,
    }
    for name, function in card.items():
        monkeypatch.setattr(torch.cuda, name, function)
    with meter(torch.device("cuda", 0), gib * GIB) as memory:
        assert memory.limit == limit * GIB
    found = [text for text in caplog.messages if "77.5 GiB of the card are free" in text]
    assert len(found) == said
    assert all("200 GiB" in text and "80.0 GiB" in text for text in found)
