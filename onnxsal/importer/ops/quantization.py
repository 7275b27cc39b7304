"""Quantised arithmetic: exact forward, gradients straight through the rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from onnxsal.importer.dtypes import torch_dtype
from onnxsal.importer.operator import Carried, op, real
from onnxsal.importer.ops.convolution import conv, convolve
from onnxsal.importer.ops.matmul import matmul
from onnxsal.importer.quantised import HALVES, Operand, Real, bounds_of, exact, load, quantise, spread, store
from onnxsal.importer.windows import windows


@op("QuantizeLinear", since=23)
def quantize_linear(
    x: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
    stored: str | None = "uint8",
) -> Tensor:
    """Divide by the scale and round to a narrow type, per tensor, slice or block."""
    wide = _compute_type(x, y_scale)
    scale = spread(y_scale.to(wide), x, axis, block_size)
    shift = None if y_zero_point is None else spread(y_zero_point.to(wide), x, axis, block_size)
    scaled = x.to(wide) / scale
    if precision and torch_dtype(precision) in HALVES:
        scaled = scaled.to(torch_dtype(precision)).to(wide)
    kind = stored or _name(y_zero_point)
    carried = quantise(scaled, shift, kind, bool(saturate))
    return carried if stored else store(carried, kind)


def _compute_type(x: Tensor, scale: Tensor) -> torch.dtype:
    """Return float32, or float64 where asked: halves cannot hold what is rounded."""
    return torch.float64 if torch.float64 in {x.dtype, scale.dtype} else torch.float32


def _name(zero_point: Tensor | None) -> str:
    return "uint8" if zero_point is None else str(zero_point.dtype).removeprefix("torch.")


@op("QuantizeLinear", since=21)
def quantize_linear_21(
    x: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,
    stored: str | None = "uint8",
) -> Tensor:
    """Divide by the scale and round to a narrow type, per tensor, slice or block."""
    return quantize_linear(x, y_scale, y_zero_point, axis=axis, block_size=block_size, saturate=saturate, stored=stored)


@op("QuantizeLinear", since=19)
def quantize_linear_19(
    x: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    saturate: int = 1,
    stored: str | None = "uint8",
) -> Tensor:
    """Divide by the scale and round to 8 bits, per tensor or per slice."""
    return quantize_linear(x, y_scale, y_zero_point, axis=axis, saturate=saturate, stored=stored)


@op("QuantizeLinear", since=13)
def quantize_linear_13(
    x: Tensor, y_scale: Tensor, y_zero_point: Tensor | None = None, *, axis: int = 1, stored: str | None = "uint8"
) -> Tensor:
    """Divide by the scale and round to 8 bits, per tensor or per slice."""
    return quantize_linear(x, y_scale, y_zero_point, axis=axis, stored=stored)


@op("QuantizeLinear", since=10)
def quantize_linear_10(
    x: Tensor, y_scale: Tensor, y_zero_point: Tensor | None = None, *, stored: str | None = "uint8"
) -> Tensor:
    """Divide by the scale and round to 8 bits."""
    return quantize_linear(x, y_scale, y_zero_point, stored=stored)


@op("DequantizeLinear", since=23)
def dequantize_linear(
    x: Carried,
    x_scale: Tensor,
    x_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """Turn narrow numbers back to floats: subtract the zero point, multiply by the scale."""
    result = torch_dtype(output_dtype) if output_dtype else x_scale.dtype
    wide = torch.float64 if torch.float64 in {x.dtype, result} else torch.float32
    difference = load(x)
    if x_zero_point is not None:
        difference = difference - spread(load(x_zero_point), x, axis, block_size)
    return (difference.to(wide) * spread(x_scale.to(wide), x, axis, block_size)).to(result)


@op("DequantizeLinear", since=21)
def dequantize_linear_21(
    x: Carried, x_scale: Tensor, x_zero_point: Tensor | None = None, *, axis: int = 1, block_size: int = 0
) -> Tensor:
    """Turn narrow numbers back to floats: subtract the zero point, multiply by the scale."""
    return dequantize_linear(x, x_scale, x_zero_point, axis=axis, block_size=block_size)


@op("DequantizeLinear", since=13)
def dequantize_linear_13(x: Carried, x_scale: Tensor, x_zero_point: Tensor | None = None, *, axis: int = 1) -> Tensor:
    """Turn narrow numbers back to floats: subtract the zero point, multiply by the scale."""
    return dequantize_linear(x, x_scale, x_zero_point, axis=axis)


@op("DequantizeLinear", since=10)
def dequantize_linear_10(x: Carried, x_scale: Tensor, x_zero_point: Tensor | None = None) -> Tensor:
    """Turn narrow numbers back to floats: subtract the zero point, multiply by the scale."""
    return dequantize_linear(x, x_scale, x_zero_point)


@op("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(x: Tensor, *, stored: str | None = "uint8") -> tuple[Tensor, Tensor, Tensor]:
    """Round to 8 bits with a scale and a zero point that just cover the values.

    The numbers stand for what they were made of, whatever the scale: all gradient goes through them, none through it.
    """
    low, high = x.detach().amin().clamp(max=0), x.detach().amax().clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero_point = (-low / scale).round().clamp(0, 255)
    return quantise(x / scale, zero_point, "uint8", fitted=True), scale, zero_point.to(torch.uint8)


@op("QLinearConv", since=10)
def qlinear_conv(
    x: Carried,
    x_scale: Tensor,
    x_zero_point: Tensor,
    w: Carried,
    w_scale: Tensor,
    w_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
    stored: str | None = "uint8",
) -> Tensor:
    """Convolve 8-bit numbers exactly and round the result to 8 bits."""
    view = windows(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    total = _convolved(
        load(x) - load(x_zero_point), _centred(w, w_zero_point), lambda a, c: convolve(a, c, None, view, group)
    )
    per_channel = (-1, *[1] * len(view.kernel))
    if b is not None:
        total = total + load(b).reshape(per_channel)
    factor = x_scale * w_scale / y_scale
    return _requantised(total, spread(factor, total, 1), y_zero_point, stored)


def _centred(w: Tensor, zero_point: Tensor | None) -> Tensor:
    """Return filters less their zero point, which may differ from filter to filter."""
    return load(w) if zero_point is None else load(w) - spread(load(zero_point), w, 0)


def _convolved(x: Tensor, w: Tensor, run: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    return run(*exact(w.shape[1:].numel(), x, w)).double()


def _requantised(total: Tensor, factor: Tensor, zero_point: Tensor, stored: str | None) -> Tensor:
    """Scale an exact sum in float32, as ONNX Runtime does, and round it."""
    kind = stored or _name(zero_point)
    carried = quantise(total.to(factor.dtype) * factor, zero_point, kind)
    return carried if stored else store(carried, kind)


@op("QLinearMatMul", since=10)
def qlinear_matmul(
    a: Carried,
    a_scale: Tensor,
    a_zero_point: Tensor,
    b: Carried,
    b_scale: Tensor,
    b_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    *,
    stored: str | None = "uint8",
) -> Tensor:
    """Multiply 8-bit matrices exactly and round the product to 8 bits."""
    total = _multiplied(load(a) - _per_row(load(a_zero_point)), load(b) - _per_column(load(b_zero_point)))
    factor = _per_row(a_scale) * _per_column(b_scale) / _per_row(y_scale)
    return _requantised(total, factor.float(), _per_row(y_zero_point), stored)


def _per_row(value: Tensor) -> Tensor:
    """Shape a vector to go with the rows of a matrix."""
    return value.unsqueeze(-1) if value.dim() == 1 and value.shape[0] != 1 else value


def _per_column(value: Tensor) -> Tensor:
    return value


def _multiplied(a: Tensor, b: Tensor) -> Tensor:
    a, b = exact(a.shape[-1], a, b)
    return torch.matmul(a, b).double()


@op("ConvInteger", since=10)
def conv_integer(
    x: Carried,
    w: Carried,
    x_zero_point: Tensor | None = None,
    w_zero_point: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
    stored: str | None = "int32",
) -> Tensor:
    """Convolve 8-bit numbers to exact 32-bit sums."""
    view = windows(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    shifted = load(x) if x_zero_point is None else load(x) - load(x_zero_point)
    return _convolved(shifted, _centred(w, w_zero_point), lambda a, c: convolve(a, c, None, view, group))


@op("MatMulInteger", since=10)
def matmul_integer(
    a: Carried,
    b: Carried,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
    *,
    stored: str | None = "int32",
) -> Tensor:
    """Multiply 8-bit matrices to exact 32-bit sums."""
    left = load(a) if a_zero_point is None else load(a) - _per_row(load(a_zero_point))
    right = load(b) if b_zero_point is None else load(b) - _per_column(load(b_zero_point))
    return _multiplied(left, right)


# what they mean on real numbers


def same(x: Tensor) -> Tensor:
    """Return the numbers as they are."""
    return x


@real(quantize_linear, quantize_linear_21, quantize_linear_19, quantize_linear_13, quantize_linear_10)
def quantize_linear_real(
    x: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    stored: str | None = "uint8",
    **_: Any,
) -> Real:
    """Nothing but the rounding."""
    step = spread(y_scale, x, axis, block_size)
    shift = None if y_zero_point is None else spread(y_zero_point, x, axis, block_size)
    return Real("Identity", same, (Operand(0, x),), step, bounds_of(step, shift, stored or _name(y_zero_point)))


@real(dequantize_linear, dequantize_linear_21, dequantize_linear_13, dequantize_linear_10)
def dequantize_linear_real(
    x: Tensor, x_scale: Tensor, x_zero_point: Tensor | None = None, *, axis: int = 1, block_size: int = 0, **_: Any
) -> Real:
    """Nothing at all."""
    shift = 0 if x_zero_point is None else spread(load(x_zero_point), x, axis, block_size)
    return Real("Identity", same, (Operand(0, load(x) - shift, spread(x_scale, x, axis, block_size), 1),))


@real(qlinear_conv)
def qlinear_conv_real(
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    b: Tensor | None = None,
    *,
    stored: str | None = "uint8",
    **attributes: Any,
) -> Real:
    """A convolution."""
    filters = Operand(3, _centred(w, w_zero_point), spread(w_scale, w, 0), 4)
    bias = () if b is None else (Operand(8, load(b), x_scale * w_scale),)
    operands = Operand(0, load(x) - load(x_zero_point), x_scale, 1), filters, *bias
    bounds = bounds_of(y_scale, y_zero_point, stored or _name(y_zero_point))
    return Real("Conv", partial(conv, **attributes), operands, y_scale, bounds)


@real(qlinear_matmul)
def qlinear_matmul_real(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    *,
    stored: str | None = "uint8",
) -> Real:
    """A product of matrices."""
    left = Operand(0, load(a) - _per_row(load(a_zero_point)), _per_row(a_scale), 1)
    right = Operand(3, load(b) - _per_column(load(b_zero_point)), _per_column(b_scale), 4)
    step = _per_row(y_scale)
    bounds = bounds_of(step, _per_row(y_zero_point), stored or _name(y_zero_point))
    return Real("MatMul", matmul, (left, right), step, bounds)


@real(conv_integer)
def conv_integer_real(
    x: Tensor,
    w: Tensor,
    x_zero_point: Tensor | None = None,
    w_zero_point: Tensor | None = None,
    *,
    stored: str | None = "int32",
    **attributes: Any,
) -> Real:
    """A convolution."""
    shifted = load(x) if x_zero_point is None else load(x) - load(x_zero_point)
    return Real("Conv", partial(conv, **attributes), (Operand(0, shifted), Operand(1, _centred(w, w_zero_point))))


@real(matmul_integer)
def matmul_integer_real(
    a: Tensor,
    b: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
    *,
    stored: str | None = "int32",
) -> Real:
    """A product of matrices."""
    left = load(a) if a_zero_point is None else load(a) - _per_row(load(a_zero_point))
    right = load(b) if b_zero_point is None else load(b) - _per_column(load(b_zero_point))
    return Real("MatMul", matmul, (Operand(0, left), Operand(1, right)))
