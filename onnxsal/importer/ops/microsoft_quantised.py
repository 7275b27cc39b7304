"""Quantised operators of ``com.microsoft``: exact forward, gradients straight through the rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Carried, layer, op, real
from onnxsal.importer.ops.matmul import gemm, linear_layer
from onnxsal.importer.ops.pooling import average_pool, max_pool_dilated
from onnxsal.importer.ops.quantization import (
    dequantize_linear_13,
    dequantize_linear_real,
    dynamic_quantize_linear,
    qlinear_conv,
    qlinear_conv_real,
    quantize_linear_13,
    quantize_linear_real,
)
from onnxsal.importer.quantised import COARSE, Operand, Real, bounds_of, coarse, exact, load, quantise, store

DOMAIN = "com.microsoft"


@op("QuantizeLinear", domain=DOMAIN)
def quantize_linear(
    x: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    axis: int | None = None,
    stored: str | None = "uint8",
) -> Tensor:
    """Divide by the scale and round to a narrow type, per tensor or per slice."""
    return quantize_linear_13(x, y_scale, y_zero_point, axis=1 if axis is None else axis, stored=stored)


@op("DequantizeLinear", domain=DOMAIN)
def dequantize_linear(
    x: Carried, x_scale: Tensor, x_zero_point: Tensor | None = None, *, axis: int | None = None
) -> Tensor:
    """Turn narrow numbers back to floats: subtract the zero point, multiply by the scale."""
    return dequantize_linear_13(x, x_scale, x_zero_point, axis=1 if axis is None else axis)


def _shifted(x: Tensor, zero_point: Tensor | None) -> Tensor:
    return load(x) if zero_point is None else load(x) - load(zero_point)


def _real(x: Tensor, scale: Tensor, zero_point: Tensor | None) -> Tensor:
    """Return the floats that quantised numbers stand for."""
    return _shifted(x, zero_point) * scale


def _rounded(scaled: Tensor, zero_point: Tensor | None, stored: str | None) -> Tensor:
    """Round what was divided by its scale; carried where the type is known beforehand."""
    kind = stored or str(torch.uint8 if zero_point is None else zero_point.dtype).removeprefix("torch.")
    carried = quantise(scaled, zero_point, kind)
    return carried if stored else store(carried, kind)


def _unsigned_by_default(x: Tensor, x_zero_point: Tensor | None, y_zero_point: Tensor | None) -> None:
    """Refuse signed numbers where no zero point says that the result is signed, too."""
    signed = x.dtype == torch.int8 or (x_zero_point is not None and x_zero_point.dtype == torch.int8)
    if y_zero_point is None and signed:
        raise ImportFault("8-bit signed results need a zero point", hint="add one of zero")


@op("QLinearAdd", domain=DOMAIN)
def qlinear_add(
    a: Carried,
    a_scale: Tensor,
    a_zero_point: Tensor | None,
    b: Carried,
    b_scale: Tensor,
    b_zero_point: Tensor | None,
    c_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    stored: str | None = "uint8",
) -> Tensor:
    """Add 8-bit numbers of different scales and round the sum."""
    _unsigned_by_default(a, a_zero_point, y_zero_point)
    total = _shifted(a, a_zero_point) * (a_scale / c_scale) + _shifted(b, b_zero_point) * (b_scale / c_scale)
    return _rounded(total, y_zero_point, stored)


@op("QLinearMul", domain=DOMAIN)
def qlinear_mul(
    a: Carried,
    a_scale: Tensor,
    a_zero_point: Tensor | None,
    b: Carried,
    b_scale: Tensor,
    b_zero_point: Tensor | None,
    c_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    stored: str | None = "uint8",
) -> Tensor:
    """Multiply 8-bit numbers and round the product."""
    _unsigned_by_default(a, a_zero_point, y_zero_point)
    product = _shifted(a, a_zero_point) * _shifted(b, b_zero_point)
    return _rounded(product * (a_scale * b_scale / c_scale), y_zero_point, stored)


@op("QLinearLeakyRelu", domain=DOMAIN)
def qlinear_leaky_relu(
    x: Carried,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    alpha: float = 0.01,
    stored: str | None = "uint8",
) -> Tensor:
    """LeakyRelu of 8-bit numbers."""
    _unsigned_by_default(x, x_zero_point, y_zero_point)
    return _rounded(F.leaky_relu(_real(x, x_scale, x_zero_point), alpha) / y_scale, y_zero_point, stored)


@op("QLinearSigmoid", domain=DOMAIN)
def qlinear_sigmoid(
    x: Carried,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    stored: str | None = "uint8",
) -> Tensor:
    """Sigmoid of 8-bit numbers."""
    _unsigned_by_default(x, x_zero_point, y_zero_point)
    return _rounded(torch.sigmoid(_real(x, x_scale, x_zero_point)) / y_scale, y_zero_point, stored)


@op("QLinearSoftmax", domain=DOMAIN)
def qlinear_softmax(
    x: Carried,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor,
    *,
    axis: int = -1,
    opset: int,
    stored: str | None = "uint8",
) -> Tensor:
    """Softmax of 8-bit numbers: along one axis, or below opset 13 over all axes from that one on."""
    return _rounded(_softmax(_real(x, x_scale, x_zero_point), axis, opset) / y_scale, y_zero_point, stored)


def _softmax(x: Tensor, axis: int, opset: int) -> Tensor:
    if opset >= 13:
        return torch.softmax(x, axis)
    return torch.softmax(x.flatten(axis % x.dim()), -1).reshape(x.shape)


@op("QLinearWhere", domain=DOMAIN)
def qlinear_where(
    condition: Tensor,
    x: Carried,
    x_scale: Tensor,
    x_zero_point: Tensor,
    y: Carried,
    y_scale: Tensor,
    other_zero_point: Tensor,
    z_scale: Tensor,
    y_zero_point: Tensor,
    *,
    stored: str | None = "uint8",
) -> Tensor:
    """Choose between 8-bit numbers of different scales."""
    chosen = torch.where(condition, _real(x, x_scale, x_zero_point), _real(y, y_scale, other_zero_point))
    return _rounded(chosen / z_scale, y_zero_point, stored)


@op("QLinearConcat", domain=DOMAIN)
def qlinear_concat(
    y_scale: Tensor, y_zero_point: Tensor, *inputs: Carried, axis: int, stored: str | None = "uint8"
) -> Tensor:
    """Put 8-bit tensors of different scales one behind the other."""
    parts = [_real(*inputs[i : i + 3]) for i in range(0, len(inputs), 3)]
    return _rounded(torch.cat(parts, axis) / y_scale, y_zero_point, stored)


# pooling and convolution


def _channels_first(run: Callable[[Tensor], Tensor], x: Tensor, channels_last: int) -> Tensor:
    """Run something that wants the channels behind the batch, wherever they are."""
    return run(x.movedim(-1, 1)).movedim(1, -1) if channels_last else run(x)


@op("QLinearGlobalAveragePool", domain=DOMAIN)
def qlinear_global_average_pool(
    x: Carried,
    x_scale: Tensor,
    x_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    *,
    channels_last: int = 0,
    stored: str | None = "uint8",
) -> Tensor:
    """Average each whole feature map of 8-bit numbers."""
    axes = _spatial(x, channels_last)
    count = 1
    for axis in axes:
        count = count * x.shape[axis]
    total = _shifted(x, x_zero_point).sum(axes, keepdim=True)
    return _rounded(total * (x_scale / (y_scale * count)), y_zero_point, stored)


def _spatial(x: Tensor, channels_last: int) -> list[int]:
    return list(range(1, x.dim() - 1)) if channels_last else list(range(2, x.dim()))


@op("QLinearAveragePool", domain=DOMAIN)
def qlinear_average_pool(
    x: Carried,
    x_scale: Tensor,
    x_zero_point: Tensor | None,
    y_scale: Tensor,
    y_zero_point: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    channels_last: int = 0,
    count_include_pad: int = 0,
    kernel_shape: list[int],
    pads: list[int] | None = None,
    strides: list[int] | None = None,
    stored: str | None = "uint8",
) -> Tensor:
    """Average each window of 8-bit numbers."""
    _unsigned_by_default(x, x_zero_point, y_zero_point)

    pool = partial(
        average_pool, kernel_shape=kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode,
        count_include_pad=count_include_pad, pads=pads, strides=strides,
    )  # fmt: skip
    mean = _channels_first(pool, _real(x, x_scale, x_zero_point), channels_last)
    return _rounded(mean / y_scale, y_zero_point, stored)


@op("NhwcMaxPool", domain=DOMAIN)
def nhwc_max_pool(
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: list[int] | None = None,
    kernel_shape: list[int],
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Keep the largest value of each window, with the channels last."""
    y, _ = max_pool_dilated(
        x.movedim(-1, 1), kernel_shape=kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations,
        pads=pads, strides=strides,
    )  # fmt: skip
    return y.movedim(1, -1)


@op("QLinearConv", domain=DOMAIN)
def qlinear_conv_microsoft(
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
    channels_last: int = 0,
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
    stored: str | None = "uint8",
) -> Tensor:
    """Convolve 8-bit numbers exactly, with the channels first or last, and round the result to 8 bits."""

    def convolve(first: Tensor) -> Tensor:
        return qlinear_conv(
            first, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, b,
            auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides, stored=stored,
        )  # fmt: skip

    return _channels_first(convolve, x, channels_last)


# products


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices of small whole numbers exactly."""
    a, b = exact(a.shape[-1], a, b)
    return torch.matmul(a, b)


@op("MatMulIntegerToFloat", domain=DOMAIN)
def matmul_integer_to_float(
    a: Carried,
    b: Carried,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Multiply 8-bit matrices exactly, then scale to floats and add a bias."""
    y = _product(_shifted(a, a_zero_point), _shifted(b, b_zero_point)).to(a_scale.dtype) * (a_scale * b_scale)
    return y if bias is None else y + bias


@op("DynamicQuantizeMatMul", domain=DOMAIN)
def dynamic_quantize_matmul(
    a: Tensor, b: Carried, b_scale: Tensor, b_zero_point: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Round a matrix to 8 bits as it comes, multiply it by one of 8 bits, and add a bias."""
    rounded, a_scale, a_zero_point = dynamic_quantize_linear(a)
    return matmul_integer_to_float(rounded, b, a_scale, b_scale, a_zero_point, b_zero_point, bias)


@op("MatMulInteger16", domain=DOMAIN, gradient=False)
def matmul_integer_16(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices of 16-bit numbers to 32-bit sums."""
    return torch.matmul(a.long(), b.long()).to(torch.int32)


@op("QGemm", domain=DOMAIN)
def qgemm(
    a: Carried,
    a_scale: Tensor,
    a_zero_point: Tensor,
    b: Carried,
    b_scale: Tensor,
    b_zero_point: Tensor,
    c: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero_point: Tensor | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    stored: str | None = "",
) -> Tensor:
    """Multiply 8-bit matrices exactly, add whole numbers, and scale to floats or round to 8 bits."""
    left, right = _shifted(a, a_zero_point), load(b)
    right = (right.t() if transB else right) - load(b_zero_point)
    total = _product(left.t() if transA else left, right).double()
    if c is not None:
        total = total + c
    real = total.to(a_scale.dtype) * (alpha * a_scale * b_scale)
    return real if y_scale is None else _rounded(real / y_scale, y_zero_point, stored)


# what they mean on real numbers

real(quantize_linear)(quantize_linear_real)
real(dequantize_linear)(dequantize_linear_real)


def _operand(place: int, x: Tensor, scale: Tensor, zero_point: Tensor | None) -> Operand:
    """Return the numbers of an input that its scale and its zero point stand behind."""
    return Operand(place, _shifted(x, zero_point), scale, place + 1)


def _of_steps(
    op_type: str,
    function: Callable[..., Tensor],
    operands: tuple[Operand, ...],
    y_scale: Tensor,
    y_zero_point: Tensor | None,
    stored: str | None,
    opset: int = 13,
) -> Real:
    """Return the meaning of an operator whose result is rounded."""
    kind = stored or str(torch.uint8 if y_zero_point is None else y_zero_point.dtype).removeprefix("torch.")
    return Real(op_type, function, operands, y_scale, bounds_of(y_scale, y_zero_point, kind), opset)


def _of_two(op_type: str, function: Callable[..., Tensor]) -> Callable[..., Real]:
    def meaning(
        a: Tensor,
        a_scale: Tensor,
        a_zero_point: Tensor | None,
        b: Tensor,
        b_scale: Tensor,
        b_zero_point: Tensor | None,
        c_scale: Tensor,
        y_zero_point: Tensor | None = None,
        *,
        stored: str | None = "uint8",
    ) -> Real:
        operands = _operand(0, a, a_scale, a_zero_point), _operand(3, b, b_scale, b_zero_point)
        return _of_steps(op_type, function, operands, c_scale, y_zero_point, stored)

    return meaning


real(qlinear_add)(_of_two("Add", torch.add))
real(qlinear_mul)(_of_two("Mul", torch.mul))


def _of_one(op_type: str, choose: Callable[..., Callable[[Tensor], Tensor]]) -> Callable[..., Real]:
    """Return the meaning of an operator of one operand; ``choose`` finds its function by the input and attributes."""

    def meaning(
        x: Tensor,
        x_scale: Tensor,
        x_zero_point: Tensor | None,
        y_scale: Tensor,
        y_zero_point: Tensor | None = None,
        *,
        stored: str | None = "uint8",
        **attributes: Any,
    ) -> Real:
        operands = (_operand(0, x, x_scale, x_zero_point),)
        function, opset = choose(x, **attributes), attributes.get("opset", 13)
        return _of_steps(op_type, function, operands, y_scale, y_zero_point, stored, opset)

    return meaning


real(qlinear_sigmoid)(_of_one("Sigmoid", lambda _: torch.sigmoid))
real(qlinear_leaky_relu)(_of_one("LeakyRelu", lambda _, alpha=0.01: partial(F.leaky_relu, negative_slope=alpha)))
real(qlinear_softmax)(_of_one("Softmax", lambda _, axis=-1, *, opset: partial(_softmax, axis=axis, opset=opset)))
real(qlinear_global_average_pool)(
    _of_one(
        "GlobalAveragePool",
        lambda x, channels_last=0: partial(torch.mean, dim=_spatial(x, channels_last), keepdim=True),
    )
)
real(qlinear_average_pool)(
    _of_one(
        "AveragePool",
        lambda _, channels_last=0, **view: partial(
            _channels_first, partial(average_pool, **view), channels_last=channels_last
        ),
    )
)


@real(qlinear_where)
def qlinear_where_real(
    condition: Tensor,
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    y: Tensor,
    y_scale: Tensor,
    other_zero_point: Tensor,
    z_scale: Tensor,
    y_zero_point: Tensor,
    *,
    stored: str | None = "uint8",
) -> Real:
    """A choice."""
    sides = _operand(1, x, x_scale, x_zero_point), _operand(4, y, y_scale, other_zero_point)
    return _of_steps("Where", torch.where, (Operand(0, condition), *sides), z_scale, y_zero_point, stored)


@real(qlinear_concat)
def qlinear_concat_real(
    y_scale: Tensor, y_zero_point: Tensor, *inputs: Tensor, axis: int, stored: str | None = "uint8"
) -> Real:
    """Tensors one behind the other."""
    parts = tuple(_operand(2 + i, *inputs[i : i + 3]) for i in range(0, len(inputs), 3))
    return _of_steps("Concat", lambda *reals: torch.cat(reals, axis), parts, y_scale, y_zero_point, stored)


@real(qlinear_conv_microsoft)
def qlinear_conv_microsoft_real(*inputs: Tensor, channels_last: int = 0, **attributes: Any) -> Real:
    """A convolution."""
    found = qlinear_conv_real(*inputs, **attributes)

    def convolve(x: Tensor, *constants: Tensor) -> Tensor:
        return _channels_first(lambda first: found.function(first, *constants), x, channels_last)

    return replace(found, function=convolve)


def _affine(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    y = torch.matmul(a, b)
    return y if bias is None else y + bias


@real(matmul_integer_to_float)
def matmul_integer_to_float_real(
    a: Tensor,
    b: Tensor,
    a_scale: Tensor,
    b_scale: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
    bias: Tensor | None = None,
) -> Real:
    """A product of matrices and a bias."""
    left, right = Operand(0, _shifted(a, a_zero_point), a_scale, 2), Operand(1, _shifted(b, b_zero_point), b_scale, 3)
    return Real("MatMul", _affine, (left, right) if bias is None else (left, right, Operand(6, bias)))


@real(dynamic_quantize_matmul)
def dynamic_quantize_matmul_real(
    a: Tensor, b: Tensor, b_scale: Tensor, b_zero_point: Tensor | None = None, bias: Tensor | None = None
) -> Real:
    """A product of matrices, the first of which is rounded, and a bias."""
    left, right = Operand(0, a), Operand(1, _shifted(b, b_zero_point), b_scale, 2)
    return Real("MatMul", _affine, (left, right) if bias is None else (left, right, Operand(4, bias)))


@real(qgemm)
def qgemm_real(
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor,
    c: Tensor | None = None,
    y_scale: Tensor | None = None,
    y_zero_point: Tensor | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    stored: str | None = "",
) -> Real:
    """A product of matrices and a bias."""

    def of_columns(value: Tensor) -> Tensor:
        return value.unsqueeze(-1) if transB and value.dim() == 1 and len(value) > 1 else value

    left = _operand(0, a, a_scale, a_zero_point)
    right = Operand(3, load(b) - of_columns(load(b_zero_point)), of_columns(b_scale), 4)
    bias = () if c is None else (Operand(6, load(c), alpha * a_scale * b_scale),)
    function = partial(gemm, alpha=alpha, transA=transA, transB=transB)
    if y_scale is None:
        return Real("Gemm", function, (left, right, *bias))
    return _of_steps("Gemm", function, (left, right, *bias), y_scale, y_zero_point, stored)


# weights in blocks of few bits


def unpacked(packed: Tensor, bits: int) -> Tensor:
    """Return the numbers a tensor of bytes holds, the lowest bits first, along the last axis."""
    if bits == 8:
        return packed
    shifts = torch.arange(0, 8, bits, device=packed.device, dtype=torch.uint8)
    numbers: Tensor = (packed.unsqueeze(-1) >> shifts) & (2**bits - 1)
    return numbers.flatten(-2)


@op("MatMulNBits", domain=DOMAIN)
def matmul_nbits(
    a: Tensor,
    b: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    g_idx: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    K: int,
    N: int,
    accuracy_level: int = 0,
    bits: int = 4,
    block_size: int,
    constants: tuple[int, ...] = (),
    weight_prepacked: int = 0,
) -> Tensor:
    """Multiply by a matrix that is stored in blocks of few bits, each with a scale and a zero point."""
    if {1, 2} <= set(constants) and is_coarse(accuracy_level, bits, block_size, zero_points, g_idx):
        a = coarse(a, block_size).to(a.dtype)
    weight = block_weight(b, scales, zero_points, g_idx, K=K, N=N, bits=bits, block_size=block_size,
                          weight_prepacked=weight_prepacked)  # fmt: skip
    return F.linear(a, weight.to(a.dtype), bias)


def is_coarse(
    accuracy_level: int, bits: int, block_size: int, zero_points: Tensor | None, g_idx: Tensor | None = None
) -> bool:
    """Say whether ONNX Runtime rounds to 8 bits what it multiplies with a constant matrix of few bits."""
    plain = g_idx is None and (zero_points is None or not zero_points.is_floating_point())
    return accuracy_level == COARSE and plain and (bits > 2 or block_size >= 32)


def block_weight(
    b: Tensor,
    scales: Tensor,
    zero_points: Tensor | None,
    g_idx: Tensor | None,
    *,
    K: int,
    N: int,
    bits: int,
    block_size: int,
    weight_prepacked: int = 0,
) -> Tensor:
    """Return the matrix, one row for each output."""
    if weight_prepacked:
        raise ImportFault("weights packed for one kind of processor cannot be read", hint="export them unpacked")
    if bits not in {2, 4, 8}:
        raise ImportFault(f"weights of {bits} bits are not supported", hint="2, 4 and 8 are")
    blocks = -(-K // block_size)
    numbers = unpacked(b.reshape(N, -1), bits)[:, : blocks * block_size].to(scales.dtype)
    shift = _zero_points(zero_points, N, blocks, bits, scales.dtype)
    scale = scales.reshape(N, blocks)
    if g_idx is not None:  # the columns were sorted by another order of blocks
        owner = g_idx.long()
        return (numbers[:, :K] - (shift[:, owner] if isinstance(shift, Tensor) else shift)) * scale[:, owner]
    spread = numbers.reshape(N, blocks, block_size) - (shift.unsqueeze(-1) if isinstance(shift, Tensor) else shift)
    return (spread * scale.unsqueeze(-1)).reshape(N, -1)[:, :K]


def _zero_points(given: Tensor | None, rows: int, blocks: int, bits: int, dtype: torch.dtype) -> Tensor | float:
    """Return each block's zero point: the middle of the range where none is given."""
    if given is None:
        return float(2 ** (bits - 1))
    if given.is_floating_point():
        return given.reshape(rows, blocks)
    return unpacked(given.reshape(rows, -1), bits)[:, :blocks].to(dtype)


@layer(matmul_nbits)
def matmul_nbits_layer(
    b: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    g_idx: Tensor | None = None,
    bias: nn.Parameter | None = None,
    *,
    K: int,
    N: int,
    accuracy_level: int = 0,
    bits: int = 4,
    block_size: int,
    weight_prepacked: int = 0,
) -> nn.Module | None:
    """Use a linear layer over the unpacked weights where they are constant."""
    weight = block_weight(b, scales, zero_points, g_idx, K=K, N=N, bits=bits, block_size=block_size,
                          weight_prepacked=weight_prepacked)  # fmt: skip
    module = linear_layer(weight.detach(), bias)
    rounded = is_coarse(accuracy_level, bits, block_size, zero_points, g_idx)
    return CoarseLinear(module, block_size) if rounded else module


class CoarseLinear(nn.Module):
    """A linear layer that multiplies what it first rounds to 8 bits."""

    def __init__(self, linear: nn.Linear, block_size: int) -> None:
        super().__init__()
        self.linear, self.block_size = linear, block_size

    def forward(self, x: Tensor) -> Tensor:
        """Return the product with the rounded numbers."""
        return self.linear(coarse(x, self.block_size).to(x.dtype))  # type: ignore[no-any-return]


FP4 = (0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 1 / 2, 1 / 6, 1 / 4)
NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
CODES = ((*FP4, *(-v for v in FP4)), NF4)
"""What 4 bits stand for: a small float with a sign, or the quantiles of a normal distribution (QLoRA)."""


@op("MatMulBnb4", domain=DOMAIN)
def matmul_bnb4(
    a: Tensor,
    b: Tensor,
    absmax: Tensor,
    *,
    K: int,
    N: int,
    block_size: int,
    quant_type: int,
    training_mode: int = 0,
    transB: int = 1,
) -> Tensor:
    """Multiply by a matrix whose elements are 4-bit codes, in blocks that each have a scale."""
    del training_mode
    weight = _coded_weight(b, absmax, K=K, N=N, block_size=block_size, quant_type=quant_type).to(a.dtype)
    return F.linear(a, weight) if transB else torch.matmul(a, weight)


def _coded_weight(b: Tensor, absmax: Tensor, *, K: int, N: int, block_size: int, quant_type: int) -> Tensor:
    if quant_type not in {0, 1}:
        raise ImportFault(f"quant_type {quant_type} is unknown", hint="0 (FP4) and 1 (NF4) are known")
    places = torch.stack([b.reshape(-1) >> 4, b.reshape(-1) & 15], -1).flatten()[: N * K]
    codes = torch.tensor(CODES[quant_type], dtype=absmax.dtype, device=b.device)
    scales = absmax.reshape(-1).repeat_interleave(block_size)[: N * K]
    return (codes[places.long()] * scales).reshape(N, K)


@layer(matmul_bnb4)
def matmul_bnb4_layer(
    b: Tensor,
    absmax: Tensor,
    *,
    K: int,
    N: int,
    block_size: int,
    quant_type: int,
    training_mode: int = 0,
    transB: int = 1,
) -> nn.Module | None:
    """Use a linear layer over the decoded weights where they are constant."""
    del training_mode
    if not transB:
        return None
    weight = _coded_weight(b, absmax, K=K, N=N, block_size=block_size, quant_type=quant_type)
    return linear_layer(weight.detach(), None)


@op("GatherBlockQuantized", domain=DOMAIN)
def gather_block_quantized(
    data: Tensor,
    indices: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    *,
    bits: int = 4,
    block_size: int = 128,
    gather_axis: int = 0,
    quantize_axis: int = 1,
) -> Tensor:
    """Pick slices of a table that is stored in blocks of few bits, each with a scale and a zero point."""
    gather_axis, quantize_axis = gather_axis % data.dim(), quantize_axis % data.dim()
    packed = data.dtype == torch.uint8 and scales.shape[quantize_axis] * block_size > data.shape[quantize_axis]
    in_bytes = data.dtype == torch.uint8 and (packed or bits == 8)  # not a tensor of 4-bit numbers
    middle = 2 ** (bits - 1) if in_bytes and zero_points is None else 0
    numbers = _picked(data, indices, gather_axis)
    scale = _picked(scales, indices, gather_axis)
    shift = None if zero_points is None else _picked(zero_points, indices, gather_axis)
    axis = quantize_axis + (indices.dim() - 1 if quantize_axis > gather_axis else 0)
    if packed and bits < 8:
        numbers = unpacked(numbers, bits)
        shift = None if shift is None else unpacked(shift, bits).narrow(axis, 0, scale.shape[axis])
    width = numbers.shape[axis]
    scale = scale.repeat_interleave(block_size, axis).narrow(axis, 0, width)
    real = numbers.to(scale.dtype) - middle
    if shift is not None:
        real = real - shift.to(scale.dtype).repeat_interleave(block_size, axis).narrow(axis, 0, width)
    return real * scale


def _picked(table: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Return slices of a table; an index below zero counts from the end."""
    places = torch.where(indices < 0, indices + table.shape[axis], indices)
    picked = table.index_select(axis, places.reshape(-1))
    return picked.reshape(*table.shape[:axis], *indices.shape, *table.shape[axis + 1 :])
