"""Sums, means, extremes and orders along axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from onnxsal.compiler.emit import Builder, Value
from onnxsal.compiler.lower import lower, lower_each
from onnxsal.compiler.lower._maps import total

PLAIN = {
    "sum.dim_IntList": "ReduceSum",
    "mean.dim": "ReduceMean",
    "amax.default": "ReduceMax",
    "amin.default": "ReduceMin",
}


def reduced(g: Builder, op_type: str, x: Value, axes: Sequence[int], keepdim: bool) -> Value:
    """Reduce along axes; the axes were an attribute of most reductions up to opset 17."""
    axes = [axis % x.rank for axis in axes] if x.rank else []
    if not axes:
        return x
    if op_type == "ReduceSum" or g.opset >= 18:
        return g.op(op_type, x, axes, keepdims=int(keepdim))
    return g.op(op_type, x, axes=axes, keepdims=int(keepdim))


def _are_maps(x: Value, axes: Sequence[int]) -> bool:
    """Say whether whole float32 maps of known size are summed."""
    if x.shape is None or x.dtype is not torch.float32 or x.rank != 4:
        return False
    return sorted(axis % 4 for axis in axes) == [2, 3] and all(isinstance(size, int) for size in x.shape[1:])


@lower_each("aten.{}", PLAIN)
def reduce(
    g: Builder, x: Value, dim: Sequence[int] | int | None = None, keepdim: bool = False, *, dtype: Any = None, onnx: str
) -> Value:
    axes = list(range(x.rank)) if dim is None or dim == [] else [dim] if isinstance(dim, int) else list(dim)
    if onnx == "ReduceSum" and keepdim and _are_maps(x, axes):
        return total(g, x)
    return reduced(g, onnx, g.cast(x, g.result.dtype), axes, keepdim)


@lower_each("aten.{}.default", {"sum": "ReduceSum", "mean": "ReduceMean", "prod": "ReduceProd"})
def reduce_all(g: Builder, x: Value, *, dtype: Any = None, onnx: str) -> Value:
    return reduced(g, onnx, g.cast(x, g.result.dtype), range(x.rank), False)


@lower_each("prims.{}.default", {"sum": "ReduceSum", "prod": "ReduceProd", "amax": "ReduceMax", "amin": "ReduceMin"})
def primitive(g: Builder, x: Value, dims: Sequence[int], *, output_dtype: Any = None, onnx: str) -> Value:
    return reduced(g, onnx, g.cast(x, g.result.dtype), dims, False)


@lower("prims.var.default")
def primitive_variance(
    g: Builder, x: Value, dims: Sequence[int], correction: float = 1, *, output_dtype: Any = None
) -> Value:
    return _variance(g, x, dims, correction, False)[0]


@lower("aten.var.correction")
def variance(
    g: Builder, x: Value, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Value:
    return _variance(g, x, dim or range(x.rank), 1 if correction is None else correction, keepdim)[0]


@lower("aten.var_mean.correction")
def variance_and_mean(
    g: Builder, x: Value, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Value, Value]:
    return _variance(g, x, dim or range(x.rank), 1 if correction is None else correction, keepdim)


def _variance(g: Builder, x: Value, axes: Sequence[int], correction: float, keepdim: bool) -> tuple[Value, Value]:
    """Return the mean square of what is left without the mean, and the mean."""
    mean = reduced(g, "ReduceMean", x, axes, True)
    centred = g.Sub(x, mean)
    square = Value(g.Mul(centred, centred).name, x.dtype, x.shape)
    found = reduced(g, "ReduceMean", square, axes, keepdim)
    if correction:
        found = g.Mul(found, _bessel(g, x, axes, correction))
    flat = [axis % x.rank for axis in axes]
    return found, mean if keepdim or not flat else g.Squeeze(mean, flat)


def _bessel(g: Builder, x: Value, axes: Sequence[int], correction: float) -> Value:
    """Return count / (count - correction)."""
    count = g.constant(np.array([1], np.int64))
    for axis in axes:
        count = g.Mul(count, g.vector([g.size(x, axis)]))
    number = g.reshape(g.cast(Value(count.name, torch.int64), x.dtype or torch.float32), [])
    return g.Div(number, g.Sub(number, g.scalar(correction, x.dtype)))


@lower("aten.prod.dim_int")
def prod(g: Builder, x: Value, dim: int, keepdim: bool = False, *, dtype: Any = None) -> Value:
    return reduced(g, "ReduceProd", g.cast(x, g.result.dtype), [dim], keepdim)


@lower_each("aten.{}.default", {"max": "ReduceMax", "min": "ReduceMin"})
def extreme_of_all(g: Builder, x: Value, *, onnx: str) -> Value:
    return reduced(g, onnx, x, range(x.rank), False)


@lower_each("aten.{}.dim", {"max": "ArgMax", "min": "ArgMin"})
def extreme(g: Builder, x: Value, dim: int, keepdim: bool = False, *, onnx: str) -> tuple[Value, Value]:
    reduction = {"ArgMax": "ReduceMax", "ArgMin": "ReduceMin"}[onnx]
    axis = dim % x.rank
    numbers = g.cast(x, torch.int32) if x.dtype is torch.bool else x
    highest = Value(reduced(g, reduction, numbers, [axis], keepdim).name, numbers.dtype)
    return g.cast(highest, g.result[0].dtype), g.op(onnx, numbers, axis=axis, keepdims=int(keepdim))


@lower_each("aten.{}.default", {"argmax": "ArgMax", "argmin": "ArgMin"})
def argument(g: Builder, x: Value, dim: int | None = None, keepdim: bool = False, *, onnx: str) -> Value:
    x = g.cast(x, torch.int32) if x.dtype is torch.bool else x
    if dim is None:
        flat = g.reshape(x, [-1])
        found = g.op(onnx, flat, axis=0, keepdims=0)
        return g.reshape(found, [1] * x.rank) if keepdim else found
    return g.op(onnx, x, axis=dim % x.rank, keepdims=int(keepdim))


@lower_each(
    "aten.{}", {"any.dim": "ReduceMax", "all.dim": "ReduceMin", "any.dims": "ReduceMax", "all.dims": "ReduceMin"}
)
def truth(g: Builder, x: Value, dim: Any = None, keepdim: bool = False, *, onnx: str) -> Value:
    axes = range(x.rank) if dim is None else [dim] if isinstance(dim, int) else dim
    return _truth(g, x, axes, keepdim, onnx)


@lower_each("aten.{}.default", {"any": "ReduceMax", "all": "ReduceMin"})
def truth_of_all(g: Builder, x: Value, *, onnx: str) -> Value:
    return _truth(g, x, range(x.rank), False, onnx)


def _truth(g: Builder, x: Value, axes: Sequence[int], keepdim: bool, op_type: str) -> Value:
    numbers = Value(g.cast(g.cast(x, torch.bool), torch.int32).name, torch.int32, x.shape)
    return g.cast(Value(reduced(g, op_type, numbers, axes, keepdim).name, torch.int32), torch.bool)


@lower("aten.logsumexp.default")
def logsumexp(g: Builder, x: Value, dim: Sequence[int], keepdim: bool = False) -> Value:
    return reduced(g, "ReduceLogSumExp", x, dim, keepdim)


@lower("aten.cumsum.default")
def cumsum(g: Builder, x: Value, dim: int, *, dtype: Any = None) -> Value:
    x_typed = g.cast(x, g.result.dtype)
    return g.CumSum(x_typed, g.scalar(dim % x.rank, torch.int64)) if x.rank else x_typed


@lower("aten.topk.default")
def topk(g: Builder, x: Value, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Value, Value]:
    count = g.vector([k])
    return g.TopK(x, count, axis=dim % x.rank, largest=int(largest), sorted=int(sorted), n_outputs=2)


@lower("aten.sort.default")
def sort(g: Builder, x: Value, dim: int = -1, descending: bool = False) -> tuple[Value, Value]:
    axis = dim % x.rank
    return g.TopK(x, g.vector([g.size(x, axis)]), axis=axis, largest=int(descending), n_outputs=2)


@lower("aten.sort.stable")
def sort_stable(g: Builder, x: Value, *, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """TopK takes the lower of equal elements' places first, so that it is stable in both directions."""
    return sort(g, x, dim, descending)


@lower("aten.searchsorted.Tensor")
def searchsorted(
    g: Builder,
    boundaries: Value,
    x: Value,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: Any = None,
    sorter: Any = None,
) -> Value:
    """Count the boundaries that lie before each element."""
    op_type = "LessOrEqual" if right or side == "right" else "Less"
    column, row = g.Unsqueeze(x, [x.rank]), g.Unsqueeze(boundaries, [boundaries.rank - 1])
    before = Value(g.op(op_type, row, column).name, torch.bool)
    return g.ReduceSum(g.cast(before, g.result.dtype), [x.rank], keepdims=0)
