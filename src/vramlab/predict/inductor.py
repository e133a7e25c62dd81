"""torch.compile without a GPU: Inductor's own code, with kernels that do nothing.

How it works: torch.compile ends in a Python function that Inductor writes. It allocates buffers,
calls kernels, frees what is not needed again, or gives its memory to the next buffer. Which
operations become one kernel, what is kept for the backward pass and which buffers share memory is
decided before that, on graphs of tensors without values. All of this needs of a GPU and of Triton
only their answers to a few questions, so the real compiler runs:

1. Dynamo, AOTAutograd, its partitioner and Inductor's passes over the joint graph run on fake CPU
   tensors, since a CPU build of torch has no autograd for fake CUDA tensors.
2. The graphs of the two passes become graphs of CUDA tensors: the name of the device changes.
3. Inductor lowers, fuses and schedules them for a Hopper card, and writes its function.
4. The function runs on fake CPU tensors. Triton kernels do nothing; matrix products, attention and
   other operations that are not Triton's run as fake operations. So a dispatch mode that counts
   bytes sees what it would see on a GPU.

Kernels are not tuned, as `max-autotune` does by running them: each product is cuBLAS's. Nor are
matrices padded to a multiple of 8 columns, which Inductor decides by running both.

Parts of torch that are private are used here. Where another version has others, an exception ends
the compilation, and the code is counted as if it were not compiled (`FakeRun.of`).
"""

from __future__ import annotations

import ast
import contextlib
import functools
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import torch
import torch.overrides
from torch import Tensor, fx
from torch._dynamo.device_interface import CudaInterface
from torch._functorch import partitioners
from torch._guards import TracingContext
from torch._inductor import compile_fx, scheduler
from torch._inductor.async_compile import AsyncCompile
from torch._inductor.debug import DebugContext
from torch._inductor.graph import GraphLowering
from torch._inductor.output_code import CompiledFxGraph
from torch._inductor.runtime.hints import DeviceProperties
from torch._inductor.select_algorithm import extern_kernels
from torch._inductor.utils import set_tracing_context_output_strides
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _triton
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from vramlab.predict.scratch import PROCESSORS, THREADS

_CUDA, _CPU = torch.device("cuda", 0), torch.device("cpu")
_CAPABILITY = (9, 0)
_SCALED_PRODUCT = "aten::_scaled_mm.out"
_REGISTERS = 65536
"""Registers of a multiprocessor of a Hopper card."""


class Compiled:
    """`torch.compile(function, dynamic=False)` for CUDA, for fake CPU tensors.

    The first call compiles, which must be outside of modes that count.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.graphs = 0
        """How many were compiled: two, of the forward and of the backward pass, or more where
        Dynamo does not understand all of the function."""
        self.calls = 0
        """Of the code of graphs."""
        self._function = torch.compile(function, backend=self._backend, dynamic=False)

    def __call__(self, *args: Any) -> Any:
        """Call the function."""
        return self._function(*args)

    def _backend(self, graph: fx.GraphModule, inputs: Sequence[Any]) -> Any:
        ops = functools.partial(_ops_on_hopper, partitioners.get_default_op_list)
        with _mode_of(inputs), mock.patch.object(partitioners, "get_default_op_list", ops):
            return compile_fx.compile_fx(graph, inputs, inner_compile=self._compile_pass)

    def _compile_pass(self, *graph_and_inputs: Any, **options: Any) -> Any:
        run = _compile_pass(*graph_and_inputs, **options)
        self.graphs += 1

        def counted(inputs: list[Any]) -> Any:
            self.calls += 1
            return run(inputs)

        counted._boxed_call = True  # type: ignore[attr-defined]  # AOTAutograd asks for it
        return counted


def _mode_of(inputs: Sequence[Any]) -> contextlib.AbstractContextManager[Any]:
    """Compile in the mode of the inputs: torch 2.8 refuses them beside the one that Dynamo made."""
    modes = [tensor.fake_mode for tensor in inputs if isinstance(tensor, FakeTensor)]
    context = TracingContext.try_get()
    if not modes or context is None:
        return contextlib.nullcontext()
    return mock.patch.object(context, "fake_mode", modes[0])


def prepare() -> None:
    """Let torch make a list that Dynamo asks for; call it where no functions are replaced.

    The list is of torch's functions by name, and a functools.partial in their place has none. A
    product in 8 bits into a buffer has no form without values: torch would compute it.
    """
    torch.overrides.get_overridable_functions()
    if not torch._C._dispatch_has_kernel_for_dispatch_key(_SCALED_PRODUCT, "Meta"):
        _library().impl(_SCALED_PRODUCT, lambda *_, out, **__: out)


@functools.cache
def _library() -> torch.library.Library:
    """What is registered lives as long as this."""
    return torch.library.Library("aten", "IMPL", "Meta")


def forget() -> None:
    """Free what was compiled, so that real steps do not find it."""
    torch.compiler.reset()


def _ops_on_hopper(default: Callable[[], Any]) -> Any:
    """What the partitioner takes for expensive, where torch prefers cuDNN's attention.

    That is not in its list as the flash kernel is, which stands for it here. So under a budget it
    is computed again for nothing.
    """
    ops = default()
    ops.compute_intensive_ops.discard(torch.ops.aten._scaled_dot_product_flash_attention)
    return ops


def _compile_pass(graph: fx.GraphModule, inputs: Sequence[Any], **options: Any) -> Any:
    """Compile the graph of the forward or of the backward pass, in place of `compile_fx_inner`."""
    sources: list[str] = []

    def keep_source(lowering: GraphLowering) -> Any:
        sources.append(lowering.codegen()[0].value)
        return types.SimpleNamespace(call=None)

    for node in graph.graph.nodes:
        node.args, node.kwargs = tree_map(_device_on_cuda, (node.args, node.kwargs))
    with (
        _disable_current_modes(),
        _mode_of(inputs),
        _as_with_hopper(),
        mock.patch.object(GraphLowering, "compile_to_module", keep_source),
        mock.patch.object(compile_fx, "fake_tensor_prop", _to_cuda),
        DebugContext(),
    ):
        code = compile_fx.fx_codegen_and_compile(graph, inputs, inputs_to_check=[], **options)
        assert isinstance(code, CompiledFxGraph)
        # The backward pass is compiled for the strides that the forward pass chose.
        set_tracing_context_output_strides(inputs, code)
    return _executable(sources[-1])


def _device_on_cuda(value: Any) -> Any:
    return _CUDA if isinstance(value, torch.device) and value.type == "cpu" else value


def _device_on_cpu(value: Any) -> Any:
    return _CPU if isinstance(value, torch.device) and value.type == "cuda" else value


def _to_cuda(graph: fx.GraphModule, inputs: Sequence[Any], *_: Any) -> Any:
    """Let the fake tensors of a graph be CUDA's, in place of computing them anew.

    They are changed, not copied, because Inductor asks which of them share a storage.
    """
    values = [value for node in graph.graph.nodes for value in tree_leaves(node.meta.get("val"))]
    fakes = [value for value in (*values, *inputs) if isinstance(value, FakeTensor)]
    for fake in fakes:
        fake.fake_device = _CUDA
    return fakes[0].fake_mode


@contextlib.contextmanager
def _as_with_hopper() -> Iterator[None]:
    """Answer what Inductor asks of the card and of Triton while it compiles."""
    properties = types.SimpleNamespace(
        major=_CAPABILITY[0], minor=_CAPABILITY[1], multi_processor_count=PROCESSORS
    )
    capability = 10 * _CAPABILITY[0] + _CAPABILITY[1]

    def create(device: torch.device) -> DeviceProperties:
        told: dict[str, Any] = {
            "type": device.type,
            "index": device.index,
            "multi_processor_count": PROCESSORS,
            "cc": capability,
            "major": _CAPABILITY[0],
            "regs_per_multiprocessor": _REGISTERS,
            "max_threads_per_multi_processor": THREADS,
            "max_threads_per_block": 1024,
            "warp_size": 32,
        }
        # torch 2.8 asks for fewer.
        return DeviceProperties(**{k: v for k, v in told.items() if k in DeviceProperties._fields})

    answers: Mapping[tuple[Any, str], Any] = {
        (DeviceProperties, "create"): staticmethod(create),
        (CudaInterface, "get_device_properties"): staticmethod(lambda *_: properties),
        (CudaInterface, "get_compute_capability"): staticmethod(lambda *_: capability),
        (CudaInterface, "is_bf16_supported"): staticmethod(lambda *_, **__: True),
        (Tensor, "copy_"): _copy_,
        (FakeTensorMode, "dispatch"): functools.partialmethod(_dispatch, FakeTensorMode.dispatch),
        (torch.cuda, "get_device_properties"): lambda *_: properties,
        (torch.cuda, "get_device_capability"): lambda *_: _CAPABILITY,
        # Where there is a GPU, the search predicts before it makes a context there.
        (compile_fx, "get_cuda_device_context"): lambda _: contextlib.nullcontext(),
        (scheduler, "has_triton"): lambda: True,
        # Nothing is to be compiled from the source of a kernel, in processes beside this one.
        (AsyncCompile, "use_process_pool"): lambda *_: False,
        (_triton, "triton_hash_with_backend"): lambda: "",
    }
    with contextlib.ExitStack() as stack:
        for (place, name), answer in answers.items():
            stack.enter_context(mock.patch.object(place, name, answer))
        yield


def _dispatch(mode: FakeTensorMode, original: Any, func: Any, types: Any, *call: Any) -> Any:
    """Run an operation on fake CUDA tensors as one on fake CPU tensors.

    Inside of an operation, torch's Python code indexes tensors, which asks for CUDA's driver.
    """
    given = tree_leaves(call)
    fakes = {id(t): t for t in given if isinstance(t, FakeTensor) and t.fake_device == _CUDA}
    if not fakes and _CUDA not in [g for g in given if isinstance(g, torch.device)]:
        return original(mode, func, types, *call)
    call = tree_map(_device_on_cpu, call)
    for fake in fakes.values():
        fake.fake_device = _CPU
    try:
        result = original(mode, func, types, *call)
    finally:
        for fake in fakes.values():
            fake.fake_device = _CUDA
    for made in tree_leaves(result):
        if isinstance(made, FakeTensor):
            made.fake_device = _CUDA
    return result


def _copy_(self: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """The method asks for the driver of the device; the operation does not."""
    copied: Tensor = torch.ops.aten.copy_.default(self, source, non_blocking)
    return copied


def _executable(source: str) -> Callable[[list[Any]], Any]:
    """The function `call` of a module that Inductor wrote, without its kernels.

    It takes a list of inputs, which it empties, so that it can free them.
    """
    module = ast.parse(source)
    names: dict[str, Any] = {**_NAMES, **dict.fromkeys(_kernels(module), _Kernel())}
    calls = [
        node
        for part in module.body
        for node in (part.body if isinstance(part, ast.ClassDef) else [part])
        if isinstance(node, ast.FunctionDef) and node.name == "call"
    ]
    (definition,) = calls
    is_method = len(definition.args.args) > 1
    exec(compile(ast.Module([definition], []), "<Inductor>", "exec"), names)
    call = names["call"]

    return functools.partial(call, None) if is_method else call


def _kernels(module: ast.Module) -> Iterator[str]:
    """The names of the kernels of a module: `name = async_compile.triton(...)`."""
    for node in module.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func).startswith("async_compile.")
        ):
            yield from (name.id for name in node.targets if isinstance(name, ast.Name))


class _Kernel:
    """A Triton kernel: it writes to buffers that exist, so that there is nothing to do."""

    def run(self, *_: Any, **__: Any) -> None:
        """Nothing."""


class _HigherOrder:
    """Operations that run others: recomputed ones that may draw the same random numbers again."""

    @staticmethod
    def run_and_save_rng_state(operation: Any, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        """The state of the random numbers, which is on the host, and the result."""
        return torch.empty(16, dtype=torch.uint8, device="meta"), operation(*args, **kwargs)

    @staticmethod
    def run_with_rng_state(_: Tensor, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """The result."""
        return operation(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.ops.higher_order, name)


class _Operations:
    """torch.ops, but for those above."""

    higher_order = _HigherOrder()

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.ops, name)


class _Torch:
    """The module torch, but for the current device."""

    ops = _Operations()
    cuda = types.SimpleNamespace(
        _DeviceGuard=lambda _: contextlib.nullcontext(), set_device=lambda _: None
    )

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def _empty_strided(size: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty_strided(size, stride, dtype=dtype)


def _reinterpret(
    tensor: Tensor, size: Sequence[int], stride: Sequence[int], offset: int = 0
) -> Tensor:
    return tensor.as_strided(size, stride, tensor.storage_offset() + offset)


def _nothing(*_: Any) -> None:
    """In place of assertions."""


_NAMES: Mapping[str, Any] = {
    "torch": _Torch(),
    "math": math,
    "inf": math.inf,
    "nan": math.nan,
    "aten": torch.ops.aten,
    "inductor_ops": torch.ops.inductor,
    "extern_kernels": extern_kernels,
    "device": lambda *_, **__: torch.device("cpu"),
    "empty_strided_cuda": _empty_strided,
    "empty_strided_cpu": _empty_strided,
    "reinterpret_tensor": _reinterpret,
    "assert_size_stride": _nothing,
    "assert_alignment": _nothing,
    "get_raw_stream": lambda _: 0,
}
"""What the code of a module refers to."""
