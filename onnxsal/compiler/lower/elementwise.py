"""Arithmetic, comparison and choice, element by element."""

from __future__ import annotations

import math
from typing import Any

import torch

from onnxsal.compiler.emit import Builder, Value
from onnxsal.compiler.lower import lower, lower_each
from onnxsal.compiler.lower._maps import is_number_a_map, number_of, spread
from onnxsal.compiler.lower._types import common_type, operand

UNARY = {
    "abs": "Abs",
    "acos": "Acos",
    "acosh": "Acosh",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "atanh": "Atanh",
    "bitwise_not": "BitwiseNot",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "log": "Log",
    "neg": "Neg",
    "reciprocal": "Reciprocal",
    "relu": "Relu",
    "round": "Round",
    "sigmoid": "Sigmoid",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "sqrt": "Sqrt",
    "tan": "Tan",
    "tanh": "Tanh",
}
BINARY = {
    "bitwise_and.Tensor": "And",
    "bitwise_or.Tensor": "Or",
    "bitwise_xor.Tensor": "Xor",
    "maximum.default": "Max",
    "minimum.default": "Min",
    "mul.Tensor": "Mul",
    "mul.Scalar": "Mul",
    "pow.Scalar": "Pow",
    "pow.Tensor_Scalar": "Pow",
    "pow.Tensor_Tensor": "Pow",
}
PRIMITIVE = {
    "add": "Add",
    "bitwise_and": "And",
    "bitwise_or": "Or",
    "bitwise_xor": "Xor",
    "div": "Div",
    "maximum": "Max",
    "minimum": "Min",
    "mul": "Mul",
    "pow": "Pow",
    "sub": "Sub",
}
ON_TRUTH = {"Mul": "And", "Max": "Or", "Min": "And", "Add": "Or"}
"""What arithmetic on truth values is."""
ON_BITS = {"And": "BitwiseAnd", "Or": "BitwiseOr", "Xor": "BitwiseXor"}
COMPARISONS = {"eq": "Equal", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "lt": "Less"}
HOLLOW = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
"""Types that hold NaN and infinities."""


@lower_each("aten.{}.default", UNARY)
@lower_each("prims.{}.default", UNARY)
def unary(g: Builder, x: Value, *, onnx: str) -> Value:
    if onnx == "BitwiseNot" and g.result.dtype is torch.bool:
        onnx = "Not"
    if onnx == "Relu" and not g.result.dtype.is_floating_point:
        return g.Max(x, g.scalar(0, g.result.dtype))
    return g.op(onnx, g.cast(x, g.result.dtype))


@lower_each("aten.{}", BINARY)
@lower_each("prims.{}.default", PRIMITIVE)
def binary(g: Builder, x: Any, y: Any, *, onnx: str) -> Value:
    dtype = g.result.dtype
    if dtype is torch.bool:
        onnx = ON_TRUTH.get(onnx, onnx)
    elif onnx in ON_BITS:
        onnx = ON_BITS[onnx]
    return g.op(onnx, *(_laid_out(g, operand(g, v, dtype)) for v in (x, y)))


def _laid_out(g: Builder, x: Value) -> Value:
    """Return an operand, as a whole map where it is one number a map."""
    return spread(g, x, g.result.shape) if is_number_a_map(x, g.result.shape) else x


@lower_each("aten.{}", {"add.Tensor": "Add", "add.Scalar": "Add", "sub.Tensor": "Sub", "sub.Scalar": "Sub"})
def add(g: Builder, x: Any, y: Any, alpha: float = 1, *, onnx: str) -> Value:
    dtype = g.result.dtype
    if dtype is torch.bool:
        onnx = ON_TRUTH[onnx]
    other = operand(g, y, dtype)
    if alpha != 1:
        other = g.Mul(other, g.scalar(alpha, dtype))
    return g.op(onnx, operand(g, x, dtype), other)


@lower("aten.rsub.Scalar", "aten.rsub.Tensor")
def rsub(g: Builder, x: Any, y: Any, alpha: float = 1) -> Value:
    return add(g, y, x, alpha, onnx="Sub")


@lower("aten.div.Tensor", "aten.div.Scalar")
def div(g: Builder, x: Any, y: Any) -> Value:
    dtype = g.result.dtype
    numbers = number_of(g, x) if isinstance(x, Value) and _is_number(y) else None
    if numbers is not None and dtype is x.dtype:
        return spread(g, g.Div(numbers, g.scalar(y, dtype)), x.shape)
    return g.Div(operand(g, x, dtype), operand(g, y, dtype))


@lower("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def div_rounded(g: Builder, x: Any, y: Any, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode is None:
        return div(g, x, y)
    dtype = g.result.dtype
    a, b = operand(g, x, dtype), operand(g, y, dtype)
    if dtype.is_floating_point:
        quotient = g.Div(a, b)
        return g.Floor(quotient) if rounding_mode == "floor" else _cut(g, quotient)
    quotient = g.Div(a, b)  # whole numbers are cut towards zero
    if rounding_mode == "trunc":
        return quotient
    rest = g.Sub(a, g.Mul(quotient, b))
    zero = g.scalar(0, dtype)
    opposed = g.And(g.Not(g.Equal(rest, zero)), g.Xor(g.Less(rest, zero), g.Less(b, zero)))
    return g.Sub(quotient, g.cast(Value(opposed.name, torch.bool), dtype))


@lower("aten.floor_divide.default")
def floor_divide(g: Builder, x: Any, y: Any) -> Value:
    return div_rounded(g, x, y, rounding_mode="floor")


@lower("aten.trunc.default")
def trunc(g: Builder, x: Value) -> Value:
    return _cut(g, x)


def _cut(g: Builder, x: Value) -> Value:
    return g.Mul(g.Sign(x), g.Floor(g.Abs(x)))


@lower("aten.remainder.Tensor", "aten.remainder.Scalar", "aten.remainder.Scalar_Tensor")
def remainder(g: Builder, x: Any, y: Any) -> Value:
    dtype = g.result.dtype
    a, b = operand(g, x, dtype), operand(g, y, dtype)
    if not dtype.is_floating_point:
        return g.Mod(a, b)
    return g.Sub(a, g.Mul(g.Floor(g.Div(a, b)), b))


@lower("aten.fmod.Tensor", "aten.fmod.Scalar")
def fmod(g: Builder, x: Any, y: Any) -> Value:
    dtype = g.result.dtype
    return g.Mod(operand(g, x, dtype), operand(g, y, dtype), fmod=1)


@lower("aten.rsqrt.default")
def rsqrt(g: Builder, x: Value) -> Value:
    return g.Reciprocal(g.Sqrt(g.cast(x, g.result.dtype)))


@lower("aten.log1p.default")
def log1p(g: Builder, x: Value) -> Value:
    """The rounding of 1 + x is taken back: log(w) x / (w - 1) for w = 1 + x."""
    one = g.scalar(1, x.dtype)
    wide = g.Add(x, one)
    rest = g.Sub(wide, one)
    exact = g.Div(g.Mul(g.Log(wide), x), rest)
    plain = g.Or(g.Equal(rest, g.scalar(0, x.dtype)), g.Equal(rest, g.scalar(math.inf, x.dtype)))
    return g.Where(plain, x, exact)


@lower("aten.expm1.default")
def expm1(g: Builder, x: Value) -> Value:
    """2 exp(x/2) sinh(x/2), which is exact where x is small."""
    half = g.Mul(x, g.scalar(0.5, x.dtype))
    return g.Mul(g.scalar(2, x.dtype), g.Mul(g.Exp(half), g.Sinh(half)))


@lower("aten.exp2.default")
def exp2(g: Builder, x: Value) -> Value:
    return g.Pow(g.scalar(2, x.dtype), x)


@lower_each("aten.{}.default", {"log2": "2", "log10": "10"})
def log_to_base(g: Builder, x: Value, *, onnx: str) -> Value:
    return g.Mul(g.Log(x), g.scalar(1 / math.log(float(onnx)), x.dtype))


@lower("aten.square.default")
def square(g: Builder, x: Value) -> Value:
    return g.Mul(x, x)


@lower("aten.isnan.default")
def isnan(g: Builder, x: Value) -> Value:
    return g.IsNaN(x if x.dtype in HOLLOW else g.cast(x, torch.float32))


@lower("aten.isinf.default")
def isinf(g: Builder, x: Value) -> Value:
    return g.IsInf(x if x.dtype in {torch.float32, torch.float64} else g.cast(x, torch.float32))


@lower_each("aten.{}.default", {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"})
def logical(g: Builder, x: Value, y: Value, *, onnx: str) -> Value:
    return g.op(onnx, g.cast(x, torch.bool), g.cast(y, torch.bool))


@lower("aten.logical_not.default")
def logical_not(g: Builder, x: Value) -> Value:
    return g.Not(g.cast(x, torch.bool))


@lower_each("aten.{}.Tensor", COMPARISONS)
def compare(g: Builder, x: Value, y: Any, *, onnx: str) -> Value:
    dtype = common_type(x, y)
    return g.op(onnx, operand(g, x, dtype), operand(g, y, dtype))


@lower_each("aten.{}.Scalar", COMPARISONS)
@lower_each("prims.{}.default", COMPARISONS)
def compare_number(g: Builder, x: Value, y: Any, *, onnx: str) -> Value:
    return compare(g, x, y, onnx=onnx)


@lower("aten.ne.Tensor", "aten.ne.Scalar", "prims.ne.default")
def differs(g: Builder, x: Value, y: Any) -> Value:
    return g.Not(compare(g, x, y, onnx="Equal"))


@lower("prims.where.default", "aten.where.self", "aten.where.Scalar", "aten.where.ScalarSelf", "aten.where.ScalarOther")
def where(g: Builder, condition: Value, x: Any, y: Any) -> Value:
    dtype = g.result.dtype
    return g.Where(g.cast(condition, torch.bool), operand(g, x, dtype), operand(g, y, dtype))


@lower("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def masked_fill(g: Builder, x: Value, mask: Value, value: Any) -> Value:
    return g.Where(mask, operand(g, value, x.dtype or torch.float32), x)


@lower("aten.clamp.default", "aten.clamp.Tensor")
def clamp(g: Builder, x: Value, min: Any = None, max: Any = None) -> Value:
    dtype = g.result.dtype
    bounded = g.cast(x, dtype)
    if _is_number(min) and _is_number(max) and (min is not None or max is not None):
        low, high = (None if bound is None else g.scalar(bound, dtype) for bound in (min, max))
        return g.Clip(bounded, low, high)
    if min is not None:
        bounded = g.Max(bounded, operand(g, min, dtype))
    if max is not None:
        bounded = g.Min(bounded, operand(g, max, dtype))
    return bounded


def _is_number(bound: Any) -> bool:
    return not isinstance(bound, Value)


@lower("aten.clamp_min.default", "aten.clamp_min.Tensor")
def clamp_min(g: Builder, x: Value, min: Any) -> Value:
    return clamp(g, x, min)


@lower("aten.clamp_max.default", "aten.clamp_max.Tensor")
def clamp_max(g: Builder, x: Value, max: Any) -> Value:
    return clamp(g, x, None, max)


@lower("aten._to_copy.default", "aten.to.dtype", "prims.convert_element_type.default")
def to_copy(g: Builder, x: Value, dtype: torch.dtype | None = None, **_: Any) -> Value:
    if x.dtype is not None and x.dtype.is_floating_point and g.result.dtype is torch.bool:
        return g.Not(g.Equal(x, g.scalar(0, x.dtype)))
    return g.cast(x, g.result.dtype)


@lower("aten.atan2.default")
def atan2(g: Builder, y: Value, x: Value) -> Value:
    """The angle of (x, y), from the arc tangent of the quotient."""
    dtype = g.result.dtype
    zero, pi = g.scalar(0, dtype), g.scalar(math.pi, dtype)
    plain = g.Atan(g.Div(y, x))
    up = g.Where(g.Less(y, zero), g.Sub(plain, pi), g.Add(plain, pi))
    found = g.Where(g.Less(x, zero), up, plain)
    return g.Where(g.And(g.Equal(x, zero), g.Equal(y, zero)), zero, found)
