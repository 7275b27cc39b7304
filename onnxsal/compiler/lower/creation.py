"""Tensors out of nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from onnxsal.compiler.emit import Builder, Value, tensor_proto
from onnxsal.compiler.lower import lower, lower_each
from onnxsal.importer.values import to_host

NUMBERS = {"zeros": "0", "ones": "1"}


def filled(g: Builder, shape: Sequence[Any], number: Any) -> Value:
    """Return a tensor of one number."""
    dtype = g.result.dtype
    if isinstance(number, Value):
        return g.Expand(g.cast(number, dtype), g.vector(list(shape)))
    if not shape:
        return g.scalar(number, dtype)
    value = tensor_proto(to_host(torch.tensor([number], dtype=dtype)), "value")
    return g.ConstantOfShape(g.vector(list(shape)), value=value)


@lower("aten.full.default")
def full(g: Builder, shape: Sequence[Any], number: Any, **_: Any) -> Value:
    return filled(g, shape, number)


@lower_each("aten.{}.default", NUMBERS)
def constant(g: Builder, shape: Sequence[Any], *, onnx: str, **_: Any) -> Value:
    return filled(g, shape, int(onnx))


@lower_each("aten.new_{}.default", NUMBERS)
def new_constant(g: Builder, x: Value, shape: Sequence[Any], *, onnx: str, **_: Any) -> Value:
    return filled(g, shape, int(onnx))


@lower("aten.new_full.default")
def new_full(g: Builder, x: Value, shape: Sequence[Any], number: Any, **_: Any) -> Value:
    return filled(g, shape, number)


@lower("aten.empty.memory_format", "aten.empty_strided.default")
def empty(g: Builder, shape: Sequence[Any], *_: Any, **__: Any) -> Value:
    return filled(g, shape, 0)


@lower("aten.new_empty.default", "aten.new_empty_strided.default")
def new_empty(g: Builder, x: Value, shape: Sequence[Any], *_: Any, **__: Any) -> Value:
    return filled(g, shape, 0)


@lower("aten.empty_like.default")
def empty_like(g: Builder, x: Value, **_: Any) -> Value:
    return filled(g, g.sizes(x), 0)


@lower_each("aten.{}_like.default", NUMBERS)
def constant_like(g: Builder, x: Value, *, onnx: str, **_: Any) -> Value:
    return filled(g, g.sizes(x), int(onnx))


@lower("aten.full_like.default", "aten.fill.Scalar", "aten.fill.Tensor")
def full_like(g: Builder, x: Value, number: Any, **_: Any) -> Value:
    return filled(g, g.sizes(x), number)


@lower("aten.arange.start_step")
def arange(g: Builder, start: Any, end: Any, step: Any = 1, **_: Any) -> Value:
    return g.Range(*(_number(g, x) for x in (start, end, step)))


@lower("aten.arange.default")
def arange_to(g: Builder, end: Any, **_: Any) -> Value:
    return arange(g, 0, end)


@lower("aten.arange.start")
def arange_from(g: Builder, start: Any, end: Any, **_: Any) -> Value:
    return arange(g, start, end)


@lower("prims.iota.default")
def iota(g: Builder, length: Any, *, start: Any, step: Any, **_: Any) -> Value:
    if isinstance(length, int):
        return arange(g, start, start + length * step, step)
    ends = g.Add(g.Mul(length, [step]), [start])
    return arange(g, start, ends, step)


def _number(g: Builder, x: Any) -> Value:
    dtype = g.result.dtype
    return g.reshape(g.cast(x, dtype), []) if isinstance(x, Value) else g.scalar(x, dtype)


@lower("aten.eye.m", "aten.eye.default")
def eye(g: Builder, rows: Any, columns: Any = None, **_: Any) -> Value:
    columns = rows if columns is None else columns
    zeros = filled(g, [rows, columns], 0)
    return g.EyeLike(zeros)


@lower("aten.tril.default")
def tril(g: Builder, x: Value, diagonal: int = 0) -> Value:
    return g.Trilu(x, g.scalar(diagonal, torch.int64), upper=0)


@lower("aten.triu.default")
def triu(g: Builder, x: Value, diagonal: int = 0) -> Value:
    return g.Trilu(x, g.scalar(diagonal, torch.int64), upper=1)
