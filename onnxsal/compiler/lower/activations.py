"""Activations and their ways back."""

from __future__ import annotations

import math
from typing import Any

import torch

from onnxsal.compiler.emit import Builder, Value
from onnxsal.compiler.lower import lower

STEEP = 3e38
"""A slope that leads from 0 to 1 within what float32 tells apart."""

TINY = 1e-30
"""A shift that moves no answer: OpenVINO takes an attribute of 0 for one that is left out, and its default instead."""


@lower("aten.threshold_backward.default")
def threshold_backward(g: Builder, gradient: Value, x: Value, threshold: float) -> Value:
    """Let gradients pass where x is above the threshold."""
    if threshold == 0:
        return g.Mul(gradient, positive(g, x))
    passes = g.Greater(x, g.scalar(threshold, x.dtype))
    return g.Where(passes, gradient, g.scalar(0, gradient.dtype))


def positive(g: Builder, x: Value) -> Value:
    """Return 1 where x is positive, 0 elsewhere, by operators that keep ONNX Runtime's layout of feature maps."""
    return above(g, x, 0.0)


def above(g: Builder, x: Value, bound: float) -> Value:
    """Return 1 where x is larger than a bound, 0 elsewhere."""
    if x.dtype is torch.float32:
        steep = STEEP if bound == 0 else _steep(bound)
        return g.HardSigmoid(x, alpha=steep, beta=-steep * bound if bound else -TINY)
    return _truth(g, g.Greater(x, g.scalar(bound, x.dtype)), x)


def below(g: Builder, x: Value, bound: float) -> Value:
    """Return 1 where x is smaller than a bound, 0 elsewhere."""
    if x.dtype is torch.float32:
        steep = STEEP if bound == 0 else _steep(bound)
        return g.HardSigmoid(x, alpha=-steep, beta=steep * bound if bound else -TINY)
    return _truth(g, g.Less(x, g.scalar(bound, x.dtype)), x)


def _steep(bound: float) -> float:
    """Return a power of two, times which the bound and its neighbours in float32 are exact and more than 1 apart."""
    return 2.0 ** (30 - math.frexp(bound)[1])


def _truth(g: Builder, truth: Value, like: Value) -> Value:
    return g.cast(Value(truth.name, torch.bool), like.dtype or torch.float32)


def one_minus(g: Builder, x: Value) -> Value:
    """Return 1 - x for x between 0 and 1, in ONNX Runtime's layout of feature maps, too."""
    if x.dtype is torch.float32:
        return g.HardSigmoid(x, alpha=-1.0, beta=1.0)
    return g.Sub(g.scalar(1, x.dtype), x)


@lower("aten.hardtanh.default")
def hardtanh(g: Builder, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    return g.Clip(x, g.scalar(low, x.dtype), g.scalar(high, x.dtype))


@lower("aten.hardtanh_backward.default")
def hardtanh_backward(g: Builder, gradient: Value, x: Value, low: float, high: float) -> Value:
    """Let gradients pass strictly between the bounds.

    What was clipped says as much as what was not, and is at hand: the clipping is the forward pass's own.
    """
    y = Value(hardtanh(g, x, low, high).name, x.dtype)
    return g.Mul(g.Mul(gradient, above(g, y, low)), below(g, y, high))


@lower("aten.leaky_relu.default")
def leaky_relu(g: Builder, x: Value, slope: float = 0.01) -> Value:
    return g.LeakyRelu(x, alpha=float(slope))


@lower("aten.elu.default")
def elu(g: Builder, x: Value, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    inner = x if input_scale == 1 else g.Mul(x, g.scalar(input_scale, x.dtype))
    curve = g.Mul(g.scalar(alpha, x.dtype), g.Sub(g.Exp(inner), g.scalar(1, x.dtype)))
    both = g.Where(g.Greater(x, g.scalar(0, x.dtype)), x, curve)
    return both if scale == 1 else g.Mul(both, g.scalar(scale, x.dtype))


@lower("aten.gelu.default")
def gelu(g: Builder, x: Value, approximate: str = "none") -> Value:
    half, one = g.scalar(0.5, x.dtype), g.scalar(1, x.dtype)
    if approximate == "none":
        return g.Mul(g.Mul(x, half), g.Add(g.Erf(g.Mul(x, g.scalar(math.sqrt(0.5), x.dtype))), one))
    inner = _gelu_inner(g, x)
    return g.Mul(g.Mul(x, half), g.Add(g.Tanh(inner), one))


def _gelu_inner(g: Builder, x: Value) -> Value:
    cubic = g.Mul(g.scalar(0.044715, x.dtype), g.Mul(g.Mul(x, x), x))
    return g.Mul(g.scalar(math.sqrt(2 / math.pi), x.dtype), g.Add(x, cubic))


@lower("aten.silu.default")
def silu(g: Builder, x: Value) -> Value:
    return g.Mul(x, g.Sigmoid(x))


@lower("aten.silu_backward.default")
def silu_backward(g: Builder, gradient: Value, x: Value) -> Value:
    """The slope is s + y (1 - s), for s the sigmoid and y what the forward pass answered."""
    s = Value(g.Sigmoid(x).name, x.dtype)
    return g.Mul(gradient, g.Add(s, g.Mul(g.Mul(x, s), one_minus(g, s))))


@lower("aten.sigmoid_backward.default")
def sigmoid_backward(g: Builder, gradient: Value, y: Value) -> Value:
    return g.Mul(gradient, g.Mul(y, one_minus(g, y)))


@lower("aten.tanh_backward.default")
def tanh_backward(g: Builder, gradient: Value, y: Value) -> Value:
    square = g.Mul(y, y)
    return g.Mul(gradient, one_minus(g, Value(square.name, y.dtype)))


@lower("aten.hardsigmoid.default")
def hardsigmoid(g: Builder, x: Value) -> Value:
    if x.dtype is torch.float32:
        return g.HardSigmoid(x, alpha=1 / 6, beta=0.5)
    line = g.Add(g.Mul(x, g.scalar(1 / 6, x.dtype)), g.scalar(0.5, x.dtype))
    return g.Clip(line, g.scalar(0, x.dtype), g.scalar(1, x.dtype))


@lower("aten.hardsigmoid_backward.default")
def hardsigmoid_backward(g: Builder, gradient: Value, x: Value) -> Value:
    """The slope is 1/6 strictly between -3 and 3."""
    inside = g.Mul(above(g, x, -3.0), below(g, x, 3.0))
    return g.Mul(g.Mul(gradient, inside), g.scalar(1 / 6, x.dtype))


@lower("aten.hardswish_backward.default")
def hardswish_backward(g: Builder, gradient: Value, x: Value) -> Value:
    """The slope is the hard sigmoid, and x / 6 more strictly between -3 and 3."""
    sixth = _share(g, Value(g.Mul(above(g, x, -3.0), below(g, x, 3.0)).name, x.dtype), 1 / 6)
    return g.Mul(gradient, g.Add(hardsigmoid(g, x), g.Mul(x, sixth)))


def _share(g: Builder, mask: Value, part: float) -> Value:
    """Return a part of a mask of zeros and ones, in ONNX Runtime's layout of feature maps, too."""
    if mask.dtype is torch.float32:
        return g.HardSigmoid(mask, alpha=part, beta=-TINY)
    return g.Mul(mask, g.scalar(part, mask.dtype))


@lower("aten.hardshrink_backward.default", "aten.softshrink_backward.default")
def shrink_backward(g: Builder, gradient: Value, x: Value, bound: float) -> Value:
    """Let gradients pass outside the band around zero."""
    passes = g.Greater(g.Abs(x), g.scalar(bound, x.dtype))
    return g.Where(passes, gradient, g.scalar(0, x.dtype))


@lower("aten.softplus.default")
def softplus(g: Builder, x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    if beta == 1:
        return g.Softplus(x)
    scale = g.scalar(beta, x.dtype)
    return g.Div(g.Softplus(g.Mul(x, scale)), scale)


@lower("aten._softmax.default")
def softmax(g: Builder, x: Value, dim: int, half_to_float: bool) -> Value:
    return g.Softmax(g.cast(x, g.result.dtype), axis=_axis(x, dim))


@lower("aten._log_softmax.default")
def log_softmax(g: Builder, x: Value, dim: int, half_to_float: bool) -> Value:
    return g.LogSoftmax(g.cast(x, g.result.dtype), axis=_axis(x, dim))


@lower("aten._softmax_backward_data.default")
def softmax_backward(g: Builder, gradient: Value, y: Value, dim: int, dtype: Any) -> Value:
    weighted = g.Mul(gradient, y)
    total = g.ReduceSum(weighted, [_axis(y, dim)], keepdims=1)
    return g.Sub(weighted, g.Mul(y, total))


@lower("aten._log_softmax_backward_data.default")
def log_softmax_backward(g: Builder, gradient: Value, y: Value, dim: int, dtype: Any) -> Value:
    total = g.ReduceSum(gradient, [_axis(y, dim)], keepdims=1)
    return g.Sub(gradient, g.Mul(g.Exp(y), total))


def _axis(x: Value, dim: int) -> int:
    return dim % x.rank if x.rank else 0
