"""Reductions along axes.

Ten operators differ in one function only, and each exists twice: below opset 18 (ReduceSum: 13) the axes are an
attribute, from there on an input. So `_reduction` makes both from that function.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from onnxsal.importer import symbolic
from onnxsal.importer.operator import Host, on_host, op
from onnxsal.importer.symbolic import reduce_along
from onnxsal.importer.unsigned import WITHOUT_KERNELS, from_order, in_order, narrow, widen
from onnxsal.importer.values import ints, is_symbolic

Kernel = Callable[[Tensor, list[int], bool], Tensor]
Pair = tuple[Callable[..., Tensor], Callable[..., Tensor]]


def _sum(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    if not dims:  # torch takes no dimensions for all of them
        return x
    return narrow(torch.sum(widen(x), dims, keepdim, dtype=widen(x).dtype), x.dtype)


def _mean(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    if x.is_floating_point():
        return torch.mean(x, dims, keepdim) if dims else x
    count = math.prod(x.shape[d] for d in dims)
    return narrow(torch.div(widen(_sum(x, dims, keepdim)), count, rounding_mode="trunc").to(widen(x).dtype), x.dtype)


def _product(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    product = widen(x)
    for dim in sorted((d % x.ndim for d in dims), reverse=True):
        product = torch.prod(product, dim, keepdim, dtype=product.dtype)
    return narrow(product, x.dtype)


def _largest(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return _extreme(torch.amax, _lowest(x.dtype), x, dims, keepdim)


def _smallest(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return _extreme(torch.amin, _highest(x.dtype), x, dims, keepdim)


def _extreme(kernel: Callable[..., Tensor], empty: float, x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    if not dims:
        return x
    if any(x.shape[d] == 0 for d in dims):  # nothing to choose from: the neutral element
        return torch.full_like(_sum(x, dims, keepdim), empty, dtype=x.dtype)
    return from_order(kernel(in_order(x), dims, keepdim), x.dtype)


def _lowest(dtype: torch.dtype) -> float:
    if dtype.is_floating_point:
        return -math.inf
    return 0 if dtype == torch.bool else torch.iinfo(dtype).min


def _highest(dtype: torch.dtype) -> float:
    if dtype.is_floating_point:
        return math.inf
    return 1 if dtype == torch.bool else torch.iinfo(dtype).max


def _sum_of_absolutes(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return _sum(x if x.dtype in WITHOUT_KERNELS else x.abs(), dims, keepdim)


def _norm(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    if not dims:
        return _sum_of_absolutes(x, dims, keepdim)
    if x.is_floating_point():  # torch's norm, unlike a root of a sum, has a gradient at zero
        norm: Tensor = torch.linalg.vector_norm(x, 2, dims, keepdim)
        return norm
    return _sum(widen(x).double().square(), dims, keepdim).sqrt().to(x.dtype)


def _sum_of_squares(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return _sum(narrow(widen(x) * widen(x), x.dtype), dims, keepdim)


def _log_of_sum(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return _by_floats(torch.log, _sum(x, dims, keepdim))


def _log_of_sum_of_exponentials(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return _by_floats(lambda v: torch.logsumexp(v, dims, keepdim) if dims else v, x)


def _by_floats(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return function(x) if x.is_floating_point() else function(widen(x).double()).to(x.dtype)


def _axes(rank: int, axes: Sequence[int] | None, noop: int = 0) -> list[int]:
    """Return the axes to reduce; without any it is all, or none where ``noop`` is set."""
    if axes is None or len(axes) == 0:
        return [] if noop else list(range(rank))
    return list(axes)


def _reduction(name: str, kernel: Kernel, summary: str, *, axes_are_input_from: int = 18) -> Pair:
    """Return the operator with axes as an attribute, and the one with axes as an input."""

    def by_attribute(data: Tensor, *, axes: list[int] | None = None, keepdims: int = 1) -> Tensor:
        return kernel(data, _axes(data.ndim, axes), bool(keepdims))

    def by_input(data: Tensor, axes: Host | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        chosen = None if axes is None else ints(axes)
        return kernel(data, _axes(data.ndim, chosen, noop_with_empty_axes), bool(keepdims))

    below = f"{summary[:-1]} (opsets below {axes_are_input_from})."
    return _declare(by_attribute, name, 1, below), _declare(by_input, name, axes_are_input_from, summary)


def _declare(function: Callable[..., Tensor], name: str, since: int, summary: str) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = f"{name}_{since}"
    function.__doc__ = summary
    return op(name, since=since)(function)


reduce_sum_1, reduce_sum = _reduction("ReduceSum", _sum, "Add up along axes.", axes_are_input_from=13)
reduce_mean_1, reduce_mean = _reduction("ReduceMean", _mean, "Average along axes.")
reduce_prod_1, reduce_prod = _reduction("ReduceProd", _product, "Multiply along axes.")
reduce_max_1, reduce_max = _reduction("ReduceMax", _largest, "Take the largest along axes.")
reduce_min_1, reduce_min = _reduction("ReduceMin", _smallest, "Take the smallest along axes.")
reduce_l1_1, reduce_l1 = _reduction("ReduceL1", _sum_of_absolutes, "Add up absolute values along axes.")
reduce_l2_1, reduce_l2 = _reduction("ReduceL2", _norm, "Take the Euclidean norm along axes.")
reduce_sum_square_1, reduce_sum_square = _reduction("ReduceSumSquare", _sum_of_squares, "Add up squares along axes.")
reduce_log_sum_1, reduce_log_sum = _reduction("ReduceLogSum", _log_of_sum, "Take the logarithm of sums along axes.")
reduce_log_sum_exp_1, reduce_log_sum_exp = _reduction(
    "ReduceLogSumExp", _log_of_sum_of_exponentials, "Take the logarithm of sums of exponentials along axes."
)


def _give_host_bodies(pair: Pair, whole: Callable[..., np.ndarray], scalar: Callable[..., symbolic.Scalar]) -> None:
    """Let shapes be reduced on the host, symbolic ones element by element."""

    def reduce(data: np.ndarray, axes: list[int], keepdims: bool) -> np.ndarray:
        if is_symbolic(data):
            return reduce_along(scalar, data, tuple(axes), keepdims)
        if data.size == 0 and whole in {np.max, np.min}:
            return NotImplemented  # type: ignore[no-any-return]  # numpy refuses, torch knows the neutral element
        folded: np.ndarray = whole(data, axis=tuple(axes), keepdims=keepdims)
        return np.asarray(folded, data.dtype)

    @on_host(pair[0])
    def by_attribute(data: np.ndarray, *, axes: list[int] | None = None, keepdims: int = 1) -> np.ndarray:
        return reduce(data, _axes(data.ndim, axes), bool(keepdims))

    @on_host(pair[1])
    def by_input(
        data: np.ndarray, axes: np.ndarray | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> np.ndarray:
        chosen = None if axes is None else ints(axes)
        return reduce(data, _axes(data.ndim, chosen, noop_with_empty_axes), bool(keepdims))


_give_host_bodies((reduce_sum_1, reduce_sum), np.sum, operator.add)
_give_host_bodies((reduce_prod_1, reduce_prod), np.prod, operator.mul)
_give_host_bodies((reduce_max_1, reduce_max), np.max, symbolic.larger)
_give_host_bodies((reduce_min_1, reduce_min), np.min, symbolic.smaller)


@op("ArgMax", since=12, gradient=False)
def arg_max(data: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Say where along an axis the largest value is."""
    return _position(torch.argmax, in_order(data), axis, bool(keepdims), bool(select_last_index))


@op("ArgMin", since=12, gradient=False)
def arg_min(data: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """Say where along an axis the smallest value is."""
    return _position(torch.argmin, in_order(data), axis, bool(keepdims), bool(select_last_index))


@op("ArgMax", gradient=False)
def arg_max_1(data: Tensor, *, axis: int = 0, keepdims: int = 1) -> Tensor:
    """Say where along an axis the largest value is first (opsets below 12)."""
    return arg_max(data, axis=axis, keepdims=keepdims)


@op("ArgMin", gradient=False)
def arg_min_1(data: Tensor, *, axis: int = 0, keepdims: int = 1) -> Tensor:
    """Say where along an axis the smallest value is first (opsets below 12)."""
    return arg_min(data, axis=axis, keepdims=keepdims)


def _position(find: Callable[..., Tensor], x: Tensor, axis: int, keepdim: bool, last: bool) -> Tensor:
    """Return the position of the first extreme value, or of the last one."""
    if not last or x.ndim == 0:
        return find(x, axis, keepdim)
    return x.shape[axis] - 1 - find(x.flip(axis), axis, keepdim)
