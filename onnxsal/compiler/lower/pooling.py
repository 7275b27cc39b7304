"""Pooling and its ways back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from onnxsal.compiler.emit import ELEMENTS, Builder, Value
from onnxsal.compiler.lower import lower
from onnxsal.compiler.lower._axes import along
from onnxsal.compiler.lower.creation import filled
from onnxsal.compiler.lower.reduction import reduced
from onnxsal.compiler.lower.shape import times
from onnxsal.errors import CompileFault


def _full(values: Any, rank: int) -> list[int]:
    values = [values] if isinstance(values, int) else list(values)
    return values * rank if len(values) == 1 else values


@lower("aten.max_pool2d_with_indices.default", "aten.max_pool3d_with_indices.default")
def max_pool(
    g: Builder,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Value, Value]:
    """ONNX counts places in the whole tensor, torch in each map."""
    rank = len(g.result[0].shape) - (len(g.result[0].shape) - _spatial(kernel, x))
    kernel = _full(kernel, rank)
    wide = x if x.rank == rank + 2 else Value(g.Unsqueeze(x, [0]).name, x.dtype)
    pooled, places = g.MaxPool(
        wide, kernel_shape=kernel, strides=_full(stride or kernel, rank), pads=_full(padding, rank) * 2,
        dilations=_full(dilation, rank), ceil_mode=int(ceil_mode), n_outputs=2,
    )  # fmt: skip
    size = _area(g, x, rank)
    within = g.Mod(places, g.vector([size]))
    if x.rank == rank + 2:
        return pooled, within
    return g.Squeeze(pooled, [0]), g.Squeeze(within, [0])


def _spatial(kernel: Any, x: Value) -> int:
    return len(kernel) if not isinstance(kernel, int) and len(kernel) > 1 else x.rank - 2


def _area(g: Builder, x: Value, rank: int) -> Any:
    size: Any = 1
    for axis in range(x.rank - rank, x.rank):
        size = times(g, size, g.size(x, axis))
    return size


@lower("aten.max_pool2d_with_indices_backward.default", "aten.max_pool3d_with_indices_backward.default")
def max_pool_backward(
    g: Builder,
    gradient: Value,
    x: Value,
    kernel: Sequence[int],
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    indices: Value,
) -> Value:
    """Lay what comes back at the places of the largest values; places that won in several windows get the sum."""
    rank = _spatial(kernel, x)
    area = _area(g, x, rank)
    lead = [g.size(x, axis) for axis in range(x.rank - rank)]
    maps: Any = 1
    for size in lead:
        maps = times(g, maps, size)
    spatial = [g.size(x, axis) for axis in range(x.rank - rank, x.rank)]
    counted = g.maker(indices)
    if counted is not None and counted.op_type == "Mod":  # ONNX's own places, in the whole tensor
        zeros = filled(g, [times(g, maps, area)], 0)
        flat = (g.Reshape(value, [-1]) for value in (Value(counted.input[0]), gradient))
        return g.reshape(g.ScatterElements(zeros, *flat, axis=0, reduction="add"), [*lead, *spatial])
    zeros = filled(g, [maps, area], 0)
    rows, places = (g.reshape(value, [maps, _area(g, gradient, rank)]) for value in (gradient, indices))
    laid = g.ScatterElements(zeros, places, rows, axis=1, reduction="add")
    return g.reshape(laid, [*lead, *spatial])


@lower("aten.avg_pool1d.default", "aten.avg_pool2d.default", "aten.avg_pool3d.default")
def avg_pool(
    g: Builder,
    x: Value,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Value:
    rank = _spatial(kernel, x)
    kernel = _full(kernel, rank)
    pooled = g.AveragePool(
        x, kernel_shape=kernel, strides=_full(stride or kernel, rank), pads=_full(padding, rank) * 2,
        ceil_mode=int(ceil_mode), count_include_pad=int(count_include_pad or divisor is not None),
    )  # fmt: skip
    if divisor is None:
        return pooled
    return g.Mul(pooled, g.scalar(np.prod(kernel) / divisor, x.dtype))


@lower("aten.avg_pool2d_backward.default", "aten.avg_pool3d_backward.default")
def avg_pool_backward(
    g: Builder,
    gradient: Value,
    x: Value,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None,
) -> Value:
    """Spread what comes back over each window: a transposed depthwise convolution with ones."""
    rank = _spatial(kernel, x)
    kernel = _full(kernel, rank)
    stride, padding = _full(stride or kernel, rank), _full(padding, rank)
    shares = g.Div(gradient, _counts(g, gradient, x, kernel, stride, padding, count_include_pad, divisor))
    lead = x.rank - rank
    flat = g.reshape(shares, [-1, 1, *(g.size(gradient, axis) for axis in range(lead, x.rank))])
    ones = g.constant(np.ones((1, 1, *kernel), _numpy(x.dtype)))
    whole = g.ConvTranspose(flat, ones, strides=stride, kernel_shape=kernel)
    axes = list(range(2, rank + 2))
    ends = g.Add(g.vector([g.size(x, axis) for axis in range(lead, x.rank)]), padding)
    missing = g.Max(g.Sub(ends, g.Shape(whole, start=2)), np.zeros(rank, np.int64))
    whole = Value(whole.name, x.dtype, (None,) * (rank + 2))
    padded = g.pad(whole, axes, [0] * rank, missing, 0, x.dtype)
    return g.reshape(g.Slice(padded, padding, ends, axes), g.sizes(x))


def _counts(
    g: Builder,
    gradient: Value,
    x: Value,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    count_include_pad: bool,
    divisor: int | None,
) -> Value:
    """Return by how many each window's sum was divided."""
    full = float(np.prod(kernel)) if divisor is None else float(divisor)
    rank = len(kernel)
    sizes, answers = x.shape[-rank:], gradient.shape[-rank:]  # type: ignore[index]
    reaches = all(
        isinstance(a, int) and isinstance(s, int) and (a - 1) * st + k <= s + p * (2 if count_include_pad else 1)
        for a, s, st, k, p in zip(answers, sizes, stride, kernel, padding, strict=True)
    )
    if divisor is not None or (reaches and (count_include_pad or not any(padding))):
        return g.scalar(full, x.dtype)
    counts: Any = None
    for axis in range(rank):
        along = _counts_along(
            g, g.size(gradient, gradient.rank - rank + axis), g.size(x, x.rank - rank + axis),
            kernel[axis], stride[axis], padding[axis], count_include_pad,
        )  # fmt: skip
        shaped = g.Reshape(along, [-1, *[1] * (rank - axis - 1)])
        counts = shaped if counts is None else g.Mul(counts, shaped)
    return g.Cast(counts, to=_element(x.dtype))


def _counts_along(
    g: Builder, windows: Any, size: Any, kernel: int, stride: int, padding: int, count_include_pad: bool
) -> Value:
    """Return how many places of one axis each window covers."""
    zero, one = g.scalar(0, torch.int64), g.scalar(1, torch.int64)
    count = g.scalar(windows, torch.int64) if isinstance(windows, int) else g.reshape(windows, [])
    begins = g.Sub(g.Mul(g.Range(zero, count, one), [stride]), [padding])
    ends = g.Add(begins, [kernel])
    last = g.vector([size])
    if count_include_pad:
        return g.Sub(g.Min(ends, g.Add(last, [padding])), begins)
    return g.Sub(g.Min(ends, last), g.Max(begins, [0]))


@lower("aten._adaptive_avg_pool2d.default", "aten._adaptive_avg_pool3d.default")
def adaptive_avg_pool(g: Builder, x: Value, sizes: Sequence[int]) -> Value:
    rank = len(sizes)
    axes = list(range(x.rank - rank, x.rank))
    if all(size == 1 for size in sizes):
        return reduced(g, "ReduceMean", x, axes, True)
    for axis, size in zip(axes, sizes, strict=True):
        x = along(g, x, axis, _means(x, axis, size))
    return x


@lower("aten._adaptive_avg_pool2d_backward.default", "aten._adaptive_avg_pool3d_backward.default")
def adaptive_avg_pool_backward(g: Builder, gradient: Value, x: Value) -> Value:
    rank = 2 if x.rank <= 4 else 3
    axes = list(range(x.rank - rank, x.rank))
    assert gradient.shape is not None
    for axis in axes:
        gradient = along(g, gradient, axis, _means(x, axis, gradient.shape[axis]).T)
    return gradient


def _means(x: Value, axis: int, count: int) -> np.ndarray:
    """Return the matrix [count, size] whose rows average the adaptive windows of an axis."""
    size = x.shape[axis]  # type: ignore[index]
    if not isinstance(size, int):
        raise CompileFault("adaptive pooling of an axis of open size")
    matrix = np.zeros((count, size))
    for i in range(count):
        begin, end = i * size // count, -(-(i + 1) * size // count)
        matrix[i, begin:end] = 1 / (end - begin)
    return matrix


def _numpy(dtype: torch.dtype | None) -> Any:
    return torch.empty(0, dtype=dtype).numpy().dtype


def _element(dtype: torch.dtype | None) -> int:
    assert dtype is not None
    return ELEMENTS[dtype]
