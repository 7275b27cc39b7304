"""What open dimensions are called: in the file's inputs, and in every value whose shape the trace knows.

ONNX Runtime lays feature maps out in blocks where it can tell that their shapes are the same. It cannot tell where a
shape was computed on the way, as most are on the way back; so the file says what is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx
import sympy
import torch
from onnx import helper
from torch import fx

from onnxsal.compiler.emit import ELEMENTS, Value
from onnxsal.types import Port


@dataclass(frozen=True)
class Dimensions:
    """Names of the trace's open sizes.

    Args:
        names: The symbols of the trace, and what they are called.
    """

    names: dict[Any, Any] = field(default_factory=dict)

    @staticmethod
    def of(inputs: Mapping[Port, fx.Node]) -> Dimensions:
        """Return the names that the inputs declare; an open dimension without one is called after its place."""
        names: dict[Any, Any] = {}
        for port, node in inputs.items():
            for axis, size in enumerate(node.meta["val"].shape):
                if isinstance(size, torch.SymInt):
                    declared = port.shape[axis] if port.shape else None
                    name = declared if isinstance(declared, str) else f"{port.name}_{axis}"
                    names.setdefault(size.node.expr, sympy.Symbol(name, integer=True, positive=True))
        return Dimensions(names)

    def port(self, port: Port, node: fx.Node) -> Port:
        """Return an input with all its open dimensions named."""
        sizes = node.meta["val"].shape
        if port.shape is None or len(sizes) != len(port.shape):
            return port
        shape = [self.name(size) if dim is None else dim for dim, size in zip(port.shape, sizes, strict=True)]
        return Port(port.name, port.dtype, tuple(shape))

    def name(self, size: Any) -> int | str | None:
        """Return a size as ONNX declares it: a number, or the name of what it is computed from."""
        if isinstance(size, int):
            return size
        expression = size.node.expr
        if not expression.free_symbols <= set(self.names):
            return None
        return str(expression.xreplace(self.names))

    def declared(self, value: Value) -> onnx.ValueInfoProto:
        """Return a value of the trace as ONNX declares it."""
        assert value.dtype is not None
        assert value.shape is not None
        return helper.make_tensor_value_info(
            value.name, ELEMENTS[value.dtype], [self.name(size) for size in value.shape]
        )
