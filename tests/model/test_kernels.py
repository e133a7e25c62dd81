"""The Triton kernels, compiled for an H100 without one, and run by Triton's interpreter."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs the package triton"
)
SOURCE = Path(__file__).parents[2] / "src"

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vramlab.model import kernels

def compile(kernel, signature, warps, **constants):
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})

for kind in ("*bf16", "*fp32"):
    for vocabulary in (97, 12_000, 50_257):
        signature = {"logits": kind, "targets": "*i64", "losses": "*fp32", "stride": "i32"}
        constants = {"VOCABULARY": vocabulary, "IGNORED": -100, "BLOCK": 4096}
        compile(kernels.cross_entropy, signature, 8, **constants)
    shared = {"seed": "*i64", "size": "i64", "rate": "fp32"}
    compile(kernels.gelu_dropout, {"x": kind, "out": kind} | shared, 4, BLOCK=512)
    compile(kernels.gelu_dropout_backward, {"grad_output": kind, "x": kind} | shared, 4, BLOCK=512)
"""

INTERPRET = """
import torch
from vramlab.model import activation, fused_head, loss_heads
from vramlab.model.language_model import OutputEmbedding

def relative(one, other):
    return (one.double() - other).norm() / other.norm()

fused_head.has_triton = activation.has_triton = lambda *_: True
generator = torch.Generator().manual_seed(0)
hidden = torch.randn(3, 7, 64, generator=generator)
weight = 0.3 * torch.randn(5000, 64, generator=generator)
targets = torch.randint(4, 5000, (3, 7), generator=generator)
targets[1, 4:] = -100
ends = []
for make, kind in ((loss_heads.make_full, torch.float64), (loss_heads.make_fused, torch.float32)):
    inputs = [x.detach().to(kind).requires_grad_() for x in (hidden, weight)]
    loss = make(5, lambda f: f)(inputs[0], OutputEmbedding(inputs[1], None, None), targets)
    loss.backward()
    ends.append((loss.detach(), *(x.grad for x in inputs)))
assert all(relative(b, a) < 2e-6 for a, b in zip(*ends))

x, grad_output = torch.randn(2, 7, 1001, generator=generator)
seed = torch.tensor([123])
found, found_slope = activation.gelu_dropout(x, seed, 0.1), grad_output.clone()
activation.gelu_dropout_backward_(found_slope, x, seed, 0.1)
kept = activation.gelu_dropout(torch.full_like(x, 64.0), seed, 0.1) / 64
assert 0.08 < (kept == 0).float().mean() < 0.12
exact = x.double().requires_grad_()
expected = torch.nn.functional.gelu(exact) * kept.double()
expected.backward(grad_output.double())
assert relative(found, expected) < 1e-6
assert relative(found_slope, exact.grad) < 1e-6
"""


@pytest.mark.parametrize(("script", "interpreted"), [(COMPILE, "0"), (INTERPRET, "1")])
def test_kernels(script, interpreted):
    paths = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"TRITON_INTERPRET": interpreted, "PYTHONPATH": paths}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=300)
