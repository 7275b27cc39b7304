"""Open sizes: whole numbers that are known when the file runs, each a vector of one."""

from __future__ import annotations

from typing import Any

import torch

from onnxsal.compiler.emit import Builder, Value
from onnxsal.compiler.lower import lower, lower_each

ARITHMETIC = {"add": "Add", "sub": "Sub", "mul": "Mul", "sym_max": "Max", "sym_min": "Min", "mod": "Mod"}
COMPARISONS = {"eq": "Equal", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "lt": "Less"}


@lower("aten.sym_size.int")
def sym_size(g: Builder, x: Value, dim: int) -> Any:
    found = g.Shape(x, start=dim % x.rank, end=dim % x.rank + 1)
    return Value(found.name, torch.int64, (1,))


@lower("aten.sym_numel.default")
def sym_numel(g: Builder, x: Value) -> Value:
    return g.reshape(g.Size(x), [1])


def number(g: Builder, x: Any) -> Value:
    """Return a size or a number as a vector of one."""
    if isinstance(x, Value):
        return x
    dtype = torch.int64 if isinstance(x, int) else torch.float64
    return Value(g.constant(torch.tensor([x], dtype=dtype).numpy()).name, dtype, (1,))


def _pair(g: Builder, a: Any, b: Any) -> tuple[Value, Value, torch.dtype]:
    a, b = number(g, a), number(g, b)
    dtype = torch.float64 if torch.float64 in {a.dtype, b.dtype} else torch.int64
    return g.cast(a, dtype), g.cast(b, dtype), dtype


@lower_each("size.{}", ARITHMETIC)
def arithmetic(g: Builder, a: Any, b: Any, *, onnx: str) -> Value:
    a, b, dtype = _pair(g, a, b)
    return Value(g.op(onnx, a, b).name, dtype, (1,))


@lower("size.floordiv")
def floordiv(g: Builder, a: Any, b: Any) -> Value:
    """Sizes are positive, and so are what they are divided by: cutting is rounding down."""
    a, b, dtype = _pair(g, a, b)
    return Value(g.Div(a, b).name, dtype, (1,))


@lower("size.truediv")
def truediv(g: Builder, a: Any, b: Any) -> Value:
    a, b = (g.cast(number(g, x), torch.float64) for x in (a, b))
    return Value(g.Div(a, b).name, torch.float64, (1,))


@lower("size.neg")
def neg(g: Builder, a: Value) -> Value:
    return Value(g.Neg(a).name, a.dtype, (1,))


@lower("size.pow")
def power(g: Builder, a: Any, b: Any) -> Value:
    a, b, dtype = _pair(g, a, b)
    return Value(g.Pow(a, b).name, dtype, (1,))


@lower("size.sym_float")
def sym_float(g: Builder, a: Value) -> Value:
    return g.cast(a, torch.float64)


@lower("size.sym_int", "size.trunc")
def sym_int(g: Builder, a: Value) -> Value:
    return g.cast(a, torch.int64)


@lower_each("size.{}", {"floor": "Floor", "ceil": "Ceil", "round": "Round"})
def rounded(g: Builder, a: Value, *, onnx: str) -> Value:
    return g.cast(Value(g.op(onnx, g.cast(a, torch.float64)).name, torch.float64, (1,)), torch.int64)


@lower("size._sym_sqrt")
def root(g: Builder, a: Value) -> Value:
    return Value(g.Sqrt(g.cast(a, torch.float64)).name, torch.float64, (1,))


@lower_each("size.{}", COMPARISONS)
def compare(g: Builder, a: Any, b: Any, *, onnx: str) -> Value:
    a, b, _ = _pair(g, a, b)
    return Value(g.op(onnx, a, b).name, torch.bool, (1,))


@lower("size.sym_ite")
def choose(g: Builder, condition: Value, a: Any, b: Any) -> Value:
    a, b, dtype = _pair(g, a, b)
    return Value(g.Where(condition, a, b).name, dtype, (1,))


@lower("size.getitem")
def getitem(g: Builder, values: Any, index: int) -> Any:
    """One of a call's several results."""
    return values[index]


@lower("aten.scalar_tensor.default")
def scalar_tensor(g: Builder, number: Any, **_: Any) -> Value:
    dtype = g.result.dtype
    return g.reshape(g.cast(number, dtype), []) if isinstance(number, Value) else g.scalar(number, dtype)
