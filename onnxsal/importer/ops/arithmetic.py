"""Arithmetic element by element, with numpy's broadcasting."""

from __future__ import annotations

import functools
import operator

import numpy as np
import torch
from torch import Tensor, nn

from onnxsal.errors import ImportFault
from onnxsal.importer import symbolic
from onnxsal.importer.operator import layer, on_host, op
from onnxsal.importer.symbolic import elementwise
from onnxsal.importer.unsigned import WITHOUT_KERNELS, in_order, modular, narrow, ordered, widen


@op("Add", since=7)
def add(a: Tensor, b: Tensor) -> Tensor:
    """Add."""
    return modular(torch.add, a, b)


on_host(add)(elementwise(np.add, operator.add))


@op("Sub", since=7)
def sub(a: Tensor, b: Tensor) -> Tensor:
    """Subtract."""
    return modular(torch.sub, a, b)


on_host(sub)(elementwise(np.subtract, operator.sub))


@op("Mul", since=7)
def mul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply."""
    return modular(torch.mul, a, b)


on_host(mul)(elementwise(np.multiply, operator.mul))


@op("Div", since=7)
def div(a: Tensor, b: Tensor) -> Tensor:
    """Divide; integers towards zero."""
    if a.dtype == torch.uint64:
        return narrow(_divide_uint64(a, b)[0], a.dtype)
    if a.is_floating_point():
        return torch.div(a, b)
    return narrow(torch.div(widen(a), widen(b), rounding_mode="trunc"), a.dtype)


on_host(div)(elementwise(symbolic.divide_arrays, symbolic.divide))


def _divide_uint64(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return quotient and remainder of 64-bit unsigned numbers, by the bits of the signed ones."""
    dividend, divisor = widen(a), widen(b)
    halved = (dividend >> 1) & torch.iinfo(torch.int64).max  # fits a signed number
    quotient = torch.div(halved, divisor, rounding_mode="trunc") * 2
    quotient = torch.where(divisor < 0, 0, quotient)  # a divisor from 2**63 on goes once at most
    rest = dividend - quotient * divisor
    once_more = in_order(rest.view(torch.uint64)) >= in_order(b)
    return quotient + once_more.to(torch.int64), torch.where(once_more, rest - divisor, rest)


@op("Mod", since=10)
def mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """Return the remainder of a division; its sign is the divisor's, or the dividend's where fmod is set."""
    if a.dtype == torch.uint64:
        return narrow(_divide_uint64(a, b)[1], a.dtype)
    return modular(torch.fmod if fmod else torch.remainder, a, b)


@on_host(mod)
def mod_on_host(a: np.ndarray, b: np.ndarray, *, fmod: int = 0) -> np.ndarray:
    """Return the remainder of a division."""
    return elementwise(np.fmod if fmod else np.mod, None if fmod else operator.mod)(a, b)


@op("Pow", since=7)
def power(x: Tensor, y: Tensor) -> Tensor:
    """Raise to a power; the result has the base's type."""
    if x.is_floating_point():
        return torch.pow(x, y if y.dtype in {torch.int32, torch.int64} else y.to(x.dtype))
    # integers go through double, as a negative exponent asks for
    return torch.pow(x.double(), y.double()).to(x.dtype)


@on_host(power)
def power_on_host(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Raise to a power; the result has the base's type."""

    def whole(base: np.ndarray, exponent: np.ndarray) -> np.ndarray:
        exponent = exponent.astype(np.float64) if exponent.dtype.kind in "iu" else exponent
        return np.asarray(np.power(base, exponent).astype(base.dtype))

    return elementwise(whole, operator.pow)(x, y)


class Power(nn.Module):
    """Raises to a constant power; far quicker than a power that is a tensor."""

    def __init__(self, exponent: float) -> None:
        super().__init__()
        self.exponent = exponent

    def forward(self, x: Tensor) -> Tensor:
        return torch.pow(x, self.exponent) if x.is_floating_point() else power(x, torch.tensor(self.exponent))


@layer(power)
def power_layer(y: Tensor) -> nn.Module | None:
    """Keep a constant exponent as a number."""
    return Power(float(y.item())) if y.ndim == 0 else None


@op("Neg")
def neg(x: Tensor) -> Tensor:
    """Change the sign."""
    return torch.neg(x)


on_host(neg)(elementwise(np.negative, operator.neg))


@op("Abs")
def absolute(x: Tensor) -> Tensor:
    """Drop the sign."""
    return x if x.dtype in WITHOUT_KERNELS else torch.abs(x)


on_host(absolute)(elementwise(np.abs, abs))


@op("Sqrt")
def sqrt(x: Tensor) -> Tensor:
    """Take the square root."""
    return torch.sqrt(x)


on_host(sqrt)(elementwise(np.sqrt, symbolic.root))


@op("Reciprocal")
def reciprocal(x: Tensor) -> Tensor:
    """Divide one by the value."""
    return torch.reciprocal(x)


on_host(reciprocal)(elementwise(np.reciprocal, lambda value: 1.0 / value))


@op("Exp")
def exp(x: Tensor) -> Tensor:
    """Raise e to the value."""
    return torch.exp(x)


on_host(exp)(elementwise(np.exp))


@op("Log")
def log(x: Tensor) -> Tensor:
    """Take the natural logarithm."""
    return torch.log(x)


on_host(log)(elementwise(np.log))


@op("Sign", since=9, gradient=False)
def sign(x: Tensor) -> Tensor:
    """Return -1, 0 or 1 by the sign."""
    return (x != 0).to(x.dtype) if x.dtype in WITHOUT_KERNELS else torch.sign(x)


on_host(sign)(elementwise(np.sign))


@op("Floor", gradient=False)
def floor(x: Tensor) -> Tensor:
    """Round down."""
    return torch.floor(x)


on_host(floor)(elementwise(np.floor, symbolic.floor))


@op("Ceil", gradient=False)
def ceil(x: Tensor) -> Tensor:
    """Round up."""
    return torch.ceil(x)


on_host(ceil)(elementwise(np.ceil, symbolic.ceil))


@op("Round", since=11, gradient=False)
def round_to_even(x: Tensor) -> Tensor:
    """Round to the nearest whole number; halves to the even one."""
    return torch.round(x)


on_host(round_to_even)(elementwise(np.round))


@op("Min")
def minimum(*inputs: Tensor) -> Tensor:
    """Return the smallest of the inputs."""
    return ordered(lambda *values: functools.reduce(torch.minimum, values), *inputs)


on_host(minimum)(lambda *inputs: functools.reduce(elementwise(np.minimum, symbolic.smaller), inputs))


@op("Max")
def maximum(*inputs: Tensor) -> Tensor:
    """Return the largest of the inputs."""
    return ordered(lambda *values: functools.reduce(torch.maximum, values), *inputs)


on_host(maximum)(lambda *inputs: functools.reduce(elementwise(np.maximum, symbolic.larger), inputs))


@op("Sum")
def total(*inputs: Tensor) -> Tensor:
    """Add up the inputs."""
    return functools.reduce(torch.add, inputs)


@op("Mean")
def mean(*inputs: Tensor) -> Tensor:
    """Average the inputs."""
    return total(*inputs) / len(inputs)


@op("BitShift", since=11, gradient=False)
def bit_shift(x: Tensor, y: Tensor, *, direction: str) -> Tensor:
    """Move the bits left or right; what is moved over the edge is lost."""
    if direction not in {"LEFT", "RIGHT"}:
        raise ImportFault(f"direction is {direction!r}", hint="LEFT and RIGHT are known")
    bits, count = widen(x), widen(y)
    sign = (bits >> 63 if x.dtype == torch.int64 else -(bits < 0).to(bits.dtype)) if x.dtype.is_signed else 0
    beyond = (count < 0) | (count >= 8 * x.element_size())
    count = torch.where(beyond, 0, count)
    if direction == "LEFT":
        return narrow(torch.where(beyond, 0, bits << count), x.dtype)
    moved = bits >> count
    if x.dtype == torch.uint64:  # the sign bit moved in copies
        moved = torch.where(count > 0, moved & ~(torch.full_like(bits, -1) << (64 - count)), moved)
    return narrow(torch.where(beyond, sign, moved), x.dtype)


@op("BitwiseAnd", since=18, gradient=False)
def bitwise_and(a: Tensor, b: Tensor) -> Tensor:
    """Keep the bits that both have."""
    return modular(torch.bitwise_and, a, b)


@op("BitwiseOr", since=18, gradient=False)
def bitwise_or(a: Tensor, b: Tensor) -> Tensor:
    """Keep the bits that either has."""
    return modular(torch.bitwise_or, a, b)


@op("BitwiseXor", since=18, gradient=False)
def bitwise_xor(a: Tensor, b: Tensor) -> Tensor:
    """Keep the bits that exactly one has."""
    return modular(torch.bitwise_xor, a, b)


@op("BitwiseNot", since=18, gradient=False)
def bitwise_not(x: Tensor) -> Tensor:
    """Flip every bit."""
    return modular(torch.bitwise_not, x)


@op("IsNaN", since=9, gradient=False)
def is_nan(x: Tensor) -> Tensor:
    """Say which values are no numbers."""
    return torch.isnan(x if x.element_size() > 1 else x.float())


@op("IsInf", since=10, gradient=False)
def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Say which values are infinite, of either sign or of one."""
    x = x if x.element_size() > 1 else x.float()
    negative, positive = torch.isneginf(x), torch.isposinf(x)
    return (negative & bool(detect_negative)) | (positive & bool(detect_positive))
