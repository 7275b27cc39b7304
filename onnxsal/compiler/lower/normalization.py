"""Normalisation and its ways back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxsal.compiler.emit import Builder, Value
from onnxsal.compiler.lower import lower
from onnxsal.compiler.lower.reduction import reduced


@lower(
    "aten._native_batch_norm_legit_no_training.default",
)
def batch_norm(
    g: Builder, x: Value, weight: Value | None, bias: Value | None, mean: Value, var: Value, momentum: float, eps: float
) -> tuple[Value, None, None]:
    assert x.shape is not None
    ones = np.ones(int(x.shape[1]), np.float32 if x.dtype is None else _numpy(x))
    gain = weight or g.constant(ones)
    offset = bias or g.constant(np.zeros_like(ones))
    return g.BatchNormalization(x, gain, offset, mean, var, epsilon=float(eps)), None, None


@lower("aten.native_batch_norm.default")
def native_batch_norm(
    g: Builder,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    var: Value | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Value, Value | None, Value | None]:
    if not training and mean is not None and var is not None:
        return batch_norm(g, x, weight, bias, mean, var, momentum, eps)
    axes, places = [0, *range(2, x.rank)], [-1, *[1] * (x.rank - 2)]
    own, centred, inverse = _moments(g, x, axes, eps)
    scaled = g.Mul(centred, inverse)
    if weight is not None:
        scaled = g.Mul(scaled, g.Reshape(weight, places))
    if bias is not None:
        scaled = g.Add(scaled, g.Reshape(bias, places))
    return scaled, g.Squeeze(own, axes), g.Squeeze(inverse, axes)


@lower("aten.native_batch_norm_backward.default")
def batch_norm_backward(
    g: Builder,
    gradient: Value,
    x: Value,
    weight: Value | None,
    mean: Value | None,
    var: Value | None,
    saved_mean: Value | None,
    saved_inverse: Value | None,
    training: bool,
    eps: float,
    wanted: Sequence[bool],
) -> tuple[Value, Value | None, Value | None]:
    """Scale by what the forward pass scaled by: one number a channel, folded when the file is loaded.

    In training mode the statistics are the batch's own, and carry gradients too.
    """
    places, axes = [-1, *[1] * (x.rank - 2)], [0, *range(2, x.rank)]
    if training or var is None:
        assert saved_inverse is not None
        inverse, mean = saved_inverse, saved_mean
    else:
        inverse = g.Reciprocal(g.Sqrt(g.Add(var, g.scalar(eps, var.dtype))))
    spread = g.Reshape(inverse, places)
    scaled = g.Mul(g.Sub(x, g.Reshape(mean, places)), spread)
    by_gain = g.ReduceSum(g.Mul(gradient, scaled), axes, keepdims=0) if wanted[1] else None
    by_offset = g.ReduceSum(gradient, axes, keepdims=0) if wanted[2] else None
    if training:
        back = gradient if weight is None else g.Mul(gradient, g.Reshape(weight, places))
        return _back_through(g, Value(back.name, x.dtype), scaled, spread, axes, x), by_gain, by_offset
    scale = inverse if weight is None else g.Mul(weight, inverse)
    return g.Mul(gradient, g.Reshape(scale, places)), by_gain, by_offset


@lower("aten.native_layer_norm.default")
def layer_norm(
    g: Builder, x: Value, shape: Sequence[int], weight: Value | None, bias: Value | None, eps: float
) -> tuple[Value, Value, Value]:
    axes = list(range(x.rank - len(shape), x.rank))
    mean, centred, inverse = _moments(g, x, axes, eps)
    scaled = g.Mul(centred, inverse)
    if weight is not None:
        scaled = g.Mul(scaled, weight)
    if bias is not None:
        scaled = g.Add(scaled, bias)
    return scaled, mean, inverse


def _moments(g: Builder, x: Value, axes: Sequence[int], eps: float) -> tuple[Value, Value, Value]:
    """Return the mean, what is left without it, and the inverse of the deviation."""
    mean = reduced(g, "ReduceMean", x, axes, True)
    centred = Value(g.Sub(x, mean).name, x.dtype, x.shape)
    square = Value(g.Mul(centred, centred).name, x.dtype, x.shape)
    variance = reduced(g, "ReduceMean", square, axes, True)
    return mean, centred, g.Reciprocal(g.Sqrt(g.Add(variance, g.scalar(eps, x.dtype))))


@lower("aten.native_layer_norm_backward.default")
def layer_norm_backward(
    g: Builder,
    gradient: Value,
    x: Value,
    shape: Sequence[int],
    mean: Value,
    inverse: Value,
    weight: Value | None,
    bias: Value | None,
    wanted: Sequence[bool],
) -> tuple[Value, Value | None, Value | None]:
    axes = list(range(x.rank - len(shape), x.rank))
    outer = list(range(x.rank - len(shape)))
    scaled = g.Mul(g.Sub(x, mean), inverse)
    back = gradient if weight is None else Value(g.Mul(gradient, weight).name, x.dtype)
    by_gain = _total(g, g.Mul(gradient, scaled), outer) if wanted[1] else None
    by_offset = _total(g, gradient, outer) if wanted[2] else None
    return _back_through(g, back, scaled, inverse, axes, x), by_gain, by_offset


def _total(g: Builder, x: Value, axes: list[int]) -> Value:
    return g.ReduceSum(x, axes, keepdims=0) if axes else x


def _back_through(g: Builder, back: Value, scaled: Value, inverse: Value, axes: Sequence[int], x: Value) -> Value:
    """Return inverse (back - mean(back) - scaled mean(back scaled))."""
    level = reduced(g, "ReduceMean", Value(back.name, x.dtype, x.shape), axes, True)
    tilt = reduced(g, "ReduceMean", Value(g.Mul(back, scaled).name, x.dtype, x.shape), axes, True)
    return g.Mul(inverse, g.Sub(g.Sub(back, level), g.Mul(scaled, tilt)))


@lower("aten.native_group_norm.default")
def group_norm(
    g: Builder,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    n: Any,
    channels: int,
    places: Any,
    groups: int,
    eps: float,
) -> tuple[Value, Value, Value]:
    grouped = _grouped(g, x, groups)
    mean, centred, inverse = _moments(g, grouped, [2], eps)
    scaled = g.reshape(g.Mul(centred, inverse), g.sizes(x))
    shape = [-1, *[1] * (x.rank - 2)]
    if weight is not None:
        scaled = g.Mul(scaled, g.Reshape(weight, shape))
    if bias is not None:
        scaled = g.Add(scaled, g.Reshape(bias, shape))
    return scaled, g.Squeeze(mean, [2]), g.Squeeze(inverse, [2])


def _grouped(g: Builder, x: Value, groups: int) -> Value:
    return Value(g.Reshape(x, [0, groups, -1]).name, x.dtype, (None, groups, None))


@lower("aten.native_group_norm_backward.default")
def group_norm_backward(
    g: Builder,
    gradient: Value,
    x: Value,
    mean: Value,
    inverse: Value,
    weight: Value | None,
    n: Any,
    channels: int,
    places: Any,
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Value, Value | None, Value | None]:
    grouped = _grouped(g, x, groups)
    spread = g.Unsqueeze(inverse, [2])
    scaled = g.Mul(g.Sub(grouped, g.Unsqueeze(mean, [2])), spread)
    outer = [0, *range(2, x.rank)]
    by_gain = _total(g, g.Mul(gradient, g.reshape(scaled, g.sizes(x))), outer) if wanted[1] else None
    by_offset = _total(g, gradient, outer) if wanted[2] else None
    if weight is not None:
        gradient = g.Mul(gradient, g.Reshape(weight, [-1, *[1] * (x.rank - 2)]))
    found = _back_through(g, _grouped(g, Value(gradient.name, x.dtype), groups), scaled, spread, [2], grouped)
    return g.reshape(found, g.sizes(x)), by_gain, by_offset


def _numpy(x: Value) -> Any:
    import torch

    return torch.empty(0, dtype=x.dtype).numpy().dtype
