"""A function of tensors, and its gradient as autograd has it, lowered to ONNX and run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime
import torch
from onnx import helper
from torch import Tensor
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn.attention import SDPBackend, sdpa_kernel

from onnxsal.compiler.assemble import assemble
from onnxsal.compiler.rewrites import Rewriting
from onnxsal.compiler.trace import Run, Trace, _fake, graph_of
from onnxsal.importer.graph import Graph
from onnxsal.model import session_options
from onnxsal.types import Port

Function = Callable[..., Tensor]


def values_and_slopes(function: Function, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return what the function gives, and the gradient of a lively sum of it by every real argument."""
    leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in tensors]
    with torch.enable_grad():
        answer = function(*leaves)
        total = (torch.sin(answer * 3) + answer).sum()
    real = [leaf for leaf in leaves if leaf.requires_grad]
    found = torch.autograd.grad(total, real, allow_unused=True)
    return [answer.detach(), *(torch.zeros_like(r) if g is None else g for r, g in zip(real, found, strict=True))]


def lowered(
    function: Function, *tensors: Tensor, opset: int = 17, open_batch: bool = True
) -> onnxruntime.InferenceSession:
    """Return a session of the function and its gradient, traced with an open first dimension."""
    ports = [
        Port(f"x{i}", str(t.dtype).removeprefix("torch."), ("N" if open_batch else t.shape[0], *t.shape[1:]))
        for i, t in enumerate(tensors)
    ]
    mode = FakeTensorMode(shape_env=ShapeEnv(duck_shape=False), allow_non_fake_inputs=True)
    fakes = [_fake(mode, t, port.shape) for t, port in zip(tensors, ports, strict=True)]
    with mode, enable_python_dispatcher(), sdpa_kernel(SDPBackend.MATH), Rewriting():
        module = graph_of(lambda *t: values_and_slopes(function, t), fakes)
    nodes = list(module.graph.nodes)
    placeholders = [node for node in nodes if node.op == "placeholder"]
    results = dict(zip((f"y{i}" for i in range(len(nodes))), nodes[-1].args[0], strict=False))
    named = [Port(n, str(r.meta["val"].dtype).removeprefix("torch."), None) for n, r in results.items()]
    trace = Trace(module, dict(zip(ports, placeholders, strict=True)), results, [Run()], [])
    graph = assemble(Graph("test", tuple(named), (), (), {}), trace, opset, "test", "")
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), session_options(True), providers=["CPUExecutionProvider"]
    )


def check(
    function: Function, *tensors: Tensor, opset: int = 17, open_batch: bool = True, tolerance: float = 2e-5
) -> None:
    """Compare with autograd, at another batch size than was traced where the batch is open."""
    session = lowered(function, *tensors, opset=opset, open_batch=open_batch)
    fed = [torch.cat([t, t[:1] * 0.5 if t.is_floating_point() else t[:1]]) if open_batch else t for t in tensors]
    expected = values_and_slopes(function, fed)
    got = session.run(None, {f"x{i}": t.numpy() for i, t in enumerate(fed)})
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        assert g.shape == tuple(e.shape)
        scale = max(float(e.abs().max()), 1e-3) if e.numel() else 1.0
        assert np.abs(g - e.numpy()).max(initial=0) <= tolerance * scale, (g, e)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
