"""The ways back through resizing: one matrix for each axis, read off from what torch makes of the unit vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxsal.compiler.emit import Builder, Value
from onnxsal.compiler.lower import lower
from onnxsal.compiler.lower._axes import along
from onnxsal.errors import CompileFault

Resample = Callable[[Tensor, list[int], "float | None"], Tensor]
"""Resizes the first spatial axis of a picture one wide: picture, sizes, scale."""


def _nearest(picture: Tensor, sizes: list[int], scale: float | None) -> Tensor:
    return torch.ops.aten.upsample_nearest2d.default(picture, sizes, scale, None)


def _nearest_exact(picture: Tensor, sizes: list[int], scale: float | None) -> Tensor:
    return torch.ops.aten._upsample_nearest_exact2d.default(picture, sizes, scale, None)


def _smooth(operator: Any, align_corners: bool) -> Resample:
    return lambda picture, sizes, scale: operator(picture, sizes, align_corners, scale, None)


@lower("aten.upsample_nearest1d_backward.default", "aten.upsample_nearest2d_backward.default")
@lower("aten.upsample_nearest3d_backward.default")
def nearest_backward(g: Builder, gradient: Value, after: Sequence[Any], before: Sequence[Any], *scales: Any) -> Value:
    sizes = before[2:]
    factors = [a // b if _is_whole(a, b) else 0 for a, b in zip(after, sizes, strict=True)]
    if all(factors) and all(s is None or s == f for s, f in zip(scales, factors, strict=False)):
        return _sum_of_blocks(g, gradient, factors)
    return _back(g, gradient, after, sizes, scales, _nearest)


def _is_whole(after: Any, before: Any) -> bool:
    return isinstance(after, int) and isinstance(before, int) and after % before == 0


def _sum_of_blocks(g: Builder, gradient: Value, factors: list[int]) -> Value:
    """Return the sum of what comes back to the copies of each element, which ONNX Runtime pools in its own layout."""
    mean = g.AveragePool(gradient, kernel_shape=factors, strides=factors)
    return g.Mul(mean, g.scalar(float(np.prod(factors)), gradient.dtype))


@lower("aten._upsample_nearest_exact1d_backward.default", "aten._upsample_nearest_exact2d_backward.default")
@lower("aten._upsample_nearest_exact3d_backward.default")
def nearest_exact_backward(
    g: Builder, gradient: Value, after: Sequence[Any], before: Sequence[Any], *scales: Any
) -> Value:
    return _back(g, gradient, after, before[2:], scales, _nearest_exact)


@lower("aten.upsample_linear1d_backward.default", "aten.upsample_bilinear2d_backward.default")
@lower("aten.upsample_trilinear3d_backward.default")
def linear_backward(
    g: Builder, gradient: Value, after: Sequence[Any], before: Sequence[Any], align_corners: bool, *scales: Any
) -> Value:
    resample = _smooth(torch.ops.aten.upsample_bilinear2d.default, align_corners)
    return _back(g, gradient, after, before[2:], scales, resample)


@lower("aten.upsample_bicubic2d_backward.default")
def cubic_backward(
    g: Builder, gradient: Value, after: Sequence[Any], before: Sequence[Any], align_corners: bool, *scales: Any
) -> Value:
    resample = _smooth(torch.ops.aten.upsample_bicubic2d.default, align_corners)
    return _back(g, gradient, after, before[2:], scales, resample)


def _back(
    g: Builder, gradient: Value, after: Sequence[Any], before: Sequence[Any], scales: Sequence[Any], resample: Resample
) -> Value:
    """Apply the transposed matrix of every axis that changed."""
    if not all(isinstance(size, int) for size in (*after, *before)):
        raise CompileFault("resizing to or from open sizes", hint="fix the spatial dimensions")
    scales = [*scales, *[None] * len(after)]
    for i, (new, old) in enumerate(zip(after, before, strict=True)):
        if new != old or scales[i] not in {None, 1.0}:
            gradient = along(g, gradient, 2 + i, _matrix(old, new, scales[i], resample))
    return gradient


def _matrix(before: int, after: int, scale: float | None, resample: Resample) -> np.ndarray:
    """Return how each element of the axis before, a row, goes into those after."""
    units = torch.eye(before, dtype=torch.float64).reshape(1, before, before, 1)
    return resample(units, [after, 1], scale).reshape(before, after).numpy()
