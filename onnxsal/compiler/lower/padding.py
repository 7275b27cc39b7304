"""The ways back through padding that repeats elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxsal.compiler.emit import Builder, Value
from onnxsal.compiler.lower import lower
from onnxsal.compiler.lower._axes import added_along
from onnxsal.errors import CompileFault


@lower("aten.replication_pad1d_backward.default", "aten.replication_pad2d_backward.default")
@lower("aten.replication_pad3d_backward.default")
def replication_pad_backward(g: Builder, gradient: Value, x: Value, pads: Sequence[Any]) -> Value:
    """Give the edges what comes back to their copies."""
    assert x.shape is not None
    for i in range(len(pads) // 2):
        axis = x.rank - 1 - i
        size, begin, end = x.shape[axis], pads[2 * i], pads[2 * i + 1]
        if not all(isinstance(s, int) for s in (size, begin, end)):
            raise CompileFault("replicating the edges of an axis of open size")
        places = np.clip(np.arange(-begin, size + end), 0, size - 1)
        gradient = added_along(g, gradient, axis, places, size)
    return gradient
