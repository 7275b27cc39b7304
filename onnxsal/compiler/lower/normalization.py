"""Normalisation and its ways back, by inputs only: a model's gains and offsets are not explained."""

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
    mean: Value,
    var: Value,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Value, None, None]:
    if training or mean is None:
        from onnxsal.errors import CompileFault

        raise CompileFault("batch normalisation by the batch's own statistics")
    return batch_norm(g, x, weight, bias, mean, var, momentum, eps)


@lower("aten.native_batch_norm_backward.default")
def batch_norm_backward(
    g: Builder,
    gradient: Value,
    x: Value,
    weight: Value | None,
    mean: Value,
    var: Value,
    *rest: Any,
) -> tuple[Value, None, None]:
    """Scale by what the forward pass scaled by: one number a channel, folded when the file is loaded."""
    *_, eps, _wanted = rest
    scale = g.Reciprocal(g.Sqrt(g.Add(var, g.scalar(eps, var.dtype))))
    if weight is not None:
        scale = g.Mul(weight, scale)
    shaped = g.Reshape(scale, [-1, *[1] * (x.rank - 2)])
    return g.Mul(gradient, shaped), None, None


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
) -> tuple[Value, None, None]:
    axes = list(range(x.rank - len(shape), x.rank))
    scaled = g.Mul(g.Sub(x, mean), inverse)
    back = gradient if weight is None else Value(g.Mul(gradient, weight).name, x.dtype)
    return _back_through(g, back, scaled, inverse, axes, x), None, None


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
) -> tuple[Value, None, None]:
    if weight is not None:
        scaled_back = g.Mul(gradient, g.Reshape(weight, [-1, *[1] * (x.rank - 2)]))
        gradient = Value(scaled_back.name, x.dtype, x.shape)
    grouped = _grouped(g, x, groups)
    spread = g.Unsqueeze(inverse, [2])
    scaled = g.Mul(g.Sub(grouped, g.Unsqueeze(mean, [2])), spread)
    found = _back_through(g, _grouped(g, gradient, groups), scaled, spread, [2], grouped)
    return g.reshape(found, g.sizes(x)), None, None


def _numpy(x: Value) -> Any:
    import torch

    return torch.empty(0, dtype=x.dtype).numpy().dtype
