"""What happens to feature maps as wholes, by operators that ONNX Runtime computes in its own layout.

Maps that a convolution made lie in blocks of channels there. An operator that is not known in that layout costs two
changes of it, each about as much as the operator itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import NodeProto

from onnxsal.compiler.emit import Builder, Value


def is_number_a_map(x: Value, like: Sequence[Any]) -> bool:
    """Say whether x holds one number for each of the float32 maps of a known, larger size."""
    if x.dtype is not torch.float32 or x.shape is None or len(x.shape) != 4 or len(like) != 4:
        return False
    whole = all(isinstance(size, int) for size in (x.shape[1], *x.shape[2:], *like[1:]))
    return whole and tuple(x.shape[2:]) == (1, 1) and x.shape[1] == like[1] and tuple(like[2:]) != (1, 1)


def spread(g: Builder, x: Value, sizes: Sequence[Any]) -> Value:
    """Lay each map's number over a whole map; the sizes are those of [examples, channels, height, width]."""
    maker = g.maker(x)
    if maker is None or maker.op_type not in {"Conv", "Sigmoid", "HardSigmoid", "Resize"}:
        x = in_blocks(g, x, sizes[1])
    scales = np.array([1, 1, *sizes[2:]], np.float32)
    laid = g.Resize(x, None, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    return g.declare(laid, torch.float32, sizes)


def in_blocks(g: Builder, x: Value, channels: int) -> Value:
    """Return maps as they are, out of a convolution: what follows is computed in the convolutions' layout."""
    return g.Conv(x, np.ones((channels, 1, 1, 1), np.float32), group=channels, kernel_shape=[1, 1])


def number_of(g: Builder, x: Value) -> Value | None:
    """Return the numbers that were laid over whole maps, [examples, channels, 1, 1]; None where x is no such maps."""
    maker = g.maker(x)
    if maker is None or maker.op_type != "Resize" or len(maker.input) != 3 or x.shape is None or x.rank != 4:
        return None
    scales = g.constants.get(maker.input[2])
    if scales is None or scales.tolist() != [1, 1, *x.shape[2:]]:
        return None
    before = g.maker(Value(maker.input[0]))
    source = before.input[0] if before is not None and _is_entrance(g, before) else maker.input[0]
    return Value(source, x.dtype, (*x.shape[:2], 1, 1))


def _is_entrance(g: Builder, node: NodeProto) -> bool:
    """Say whether a node is what `in_blocks` adds."""
    filters = g.constants.get(node.input[1]) if node.op_type == "Conv" else None
    return filters is not None and filters.shape[1:] == (1, 1, 1) and bool((filters == 1).all())


def total(g: Builder, x: Value) -> Value:
    """Return the sum of each map, [examples, channels, 1, 1]."""
    assert x.shape is not None
    return g.Mul(g.GlobalAveragePool(x), g.scalar(float(x.shape[2] * x.shape[3]), x.dtype))
