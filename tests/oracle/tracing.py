"""Trace an imported network with symbolic sizes, forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils import _pytree as pytree

from onnxsal.importer.values import as_tensor
from onnxsal.model import Model

Function = Callable[..., list[Tensor]]


@dataclass(frozen=True)
class Example:
    """Values for a network's inputs, and the axis of each that holds the batch where the file leaves it open."""

    values: list[Tensor]
    axes: list[int | None]

    @classmethod
    def of(cls, model: Model, feeds: Mapping[str, np.ndarray]) -> Example:
        return cls(
            [as_tensor(feeds[port.name]) for port in model.inputs],
            [_open_axis(port.shape or ()) if feeds[port.name].ndim else None for port in model.inputs],
        )

    def fixed(self) -> Example:
        """Return the example with no axis left open."""
        return Example(self.values, [None] * len(self.axes))

    def repeated(self, count: int) -> list[Tensor]:
        """Return the values for a larger batch, floating-point ones different in each part of it."""
        return [
            value if axis is None else torch.cat([_varied(value, i) for i in range(count)], axis)
            for value, axis in zip(self.values, self.axes, strict=True)
        ]


def _open_axis(shape: Sequence[Any]) -> int | None:
    return next((i for i, size in enumerate(shape) if not isinstance(size, int)), None)


def _varied(value: Tensor, part: int) -> Tensor:
    return value * (1 - part / 8) if value.is_floating_point() else value


def forward(module: torch.nn.Module) -> Function:
    """Return a function that gives all tensors a network answers with."""
    return lambda *values: _tensors(module(*values))


def backward(module: torch.nn.Module) -> Function:
    """Return a function that gives a network's answers and the gradients of a score by what they depend on."""

    def run(*values: Tensor) -> list[Tensor]:
        leaves = [v.detach().requires_grad_() if v.is_floating_point() else v for v in values]
        answers = _tensors(module(*leaves))
        parts = [a.double().square().sum() for a in answers if a.requires_grad]
        floats = [v for v in leaves if v.is_floating_point()]
        if not parts or not floats:
            return answers
        found = torch.autograd.grad(torch.stack(parts).sum(), floats, allow_unused=True)
        return [*answers, *(g for g in found if g is not None)]

    return run


def _tensors(outputs: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


def trace(function: Function, example: Example) -> torch.fx.GraphModule:
    """Trace a function with a symbolic batch of two."""
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    fakes = [
        mode.from_tensor(value, symbolic_context=_open_at(value, axis), source=ConstantSource(f"input_{i}"))
        for i, (value, axis) in enumerate(zip(example.repeated(2), example.axes, strict=True))
    ]
    return make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*fakes)


def _open_at(value: Tensor, axis: int | None) -> StatelessSymbolicContext:
    """Say that every size of a tensor is known but that of one axis."""
    kinds = [DimDynamic.DYNAMIC if i == axis else DimDynamic.STATIC for i in range(value.ndim)]
    return StatelessSymbolicContext(dynamic_sizes=kinds)


def export(module: torch.nn.Module, example: Example) -> Function:
    """Export a network with a symbolic batch."""
    dims = tuple(None if axis is None else {axis: torch.export.Dim.DYNAMIC} for axis in example.axes)
    return forward(torch.export.export(module, tuple(example.repeated(2)), dynamic_shapes=dims).module())


def assert_same(got: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Fail where two lists of tensors differ in number, shape, dtype, or by more than rounding does."""
    assert len(got) == len(expected)
    for g, e in zip(got, expected, strict=True):
        assert (g.shape, g.dtype) == (e.shape, e.dtype)
        scale = float(e.double().abs().max()) if e.numel() else 0.0
        torch.testing.assert_close(g.double(), e.double(), rtol=0, atol=1e-5 * scale, equal_nan=True)
