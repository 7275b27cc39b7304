"""Linear maps along one axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from onnxsal.compiler.emit import Builder, Value, tensor_proto, zero_of


def along(g: Builder, x: Value, axis: int, matrix: np.ndarray) -> Value:
    """Multiply one axis by a matrix [after, before]."""
    assert x.dtype is not None
    assert x.shape is not None
    weights = g.constant(matrix.astype(torch.empty(0, dtype=x.dtype).numpy().dtype), "matrix")
    if axis == x.rank - 1:
        found = g.MatMul(x, g.Transpose(weights, perm=[1, 0]))
    elif axis == x.rank - 2:
        found = g.MatMul(weights, x)
    else:
        last = [a for a in range(x.rank) if a != axis] + [axis]
        back = [last.index(a) for a in range(x.rank)]
        moved = g.MatMul(g.Transpose(x, perm=last), g.Transpose(weights, perm=[1, 0]))
        found = g.Transpose(moved, perm=back)
    return Value(found.name, x.dtype, with_size(x, axis, len(matrix)))


def with_size(x: Value, axis: int, size: Any) -> tuple[Any, ...]:
    """Return the value's shape with another size along an axis."""
    assert x.shape is not None
    return (*x.shape[:axis], size, *x.shape[axis + 1 :])


def added_along(g: Builder, x: Value, axis: int, places: np.ndarray, size: int) -> Value:
    """Add the slices of x along an axis to those places of an axis of another size, from zero."""
    assert x.shape is not None
    order = [axis, *(a for a in range(x.rank) if a != axis)]
    back = [order.index(a) for a in range(x.rank)]
    rest = [g.size(x, a) for a in order[1:]]
    zeros = g.ConstantOfShape(g.vector([size, *rest]), value=tensor_proto(zero_of(x.dtype).reshape(1), "value"))
    total = g.ScatterND(zeros, places.reshape(-1, 1), g.Transpose(x, perm=order), reduction="add")
    return Value(g.Transpose(total, perm=back).name, x.dtype, with_size(x, axis, size))
