"""Picking elements by place, and laying them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from onnxsal.compiler.emit import Builder, Value
from onnxsal.compiler.lower import lower
from onnxsal.compiler.lower.creation import filled
from onnxsal.errors import CompileFault

REDUCTIONS = {"sum": "add", "add": "add", "prod": "mul", "multiply": "mul", "amax": "max", "amin": "min"}


@lower("aten.gather.default")
def gather(g: Builder, x: Value, dim: int, index: Value, *, sparse_grad: bool = False) -> Value:
    if x.rank == 0:
        return x
    return g.GatherElements(x, index, axis=dim % x.rank)


@lower("aten.scatter_add.default")
def scatter_add(g: Builder, x: Value, dim: int, index: Value, source: Value) -> Value:
    return g.ScatterElements(x, index, source, axis=dim % x.rank, reduction="add")


@lower("aten.scatter.src")
def scatter(g: Builder, x: Value, dim: int, index: Value, source: Value) -> Value:
    return g.ScatterElements(x, index, source, axis=dim % x.rank)


@lower("aten.scatter.value")
def scatter_value(g: Builder, x: Value, dim: int, index: Value, number: Any) -> Value:
    source = g.Expand(g.scalar(number, x.dtype), g.Shape(index))
    return g.ScatterElements(x, index, source, axis=dim % x.rank)


@lower("aten.scatter.reduce", "aten.scatter_reduce.two")
def scatter_reduce(
    g: Builder, x: Value, dim: int, index: Value, source: Value, reduce: str, *, include_self: bool = True
) -> Value:
    if reduce not in REDUCTIONS or not include_self:
        raise CompileFault(f"scatter_reduce with {reduce}{'' if include_self else ' without its target'}")
    return g.ScatterElements(x, index, source, axis=dim % x.rank, reduction=REDUCTIONS[reduce])


@lower("aten.index_select.default")
def index_select(g: Builder, x: Value, dim: int, index: Value) -> Value:
    return g.Gather(x, index, axis=dim % x.rank)


@lower("aten.embedding.default")
def embedding(g: Builder, weight: Value, index: Value, *_: Any) -> Value:
    return g.Gather(weight, index, axis=0)


@lower("aten.index.Tensor", "aten._unsafe_index.Tensor")
def index(g: Builder, x: Value, indices: Sequence[Value | None]) -> Value:
    places = [i for i, value in enumerate(indices) if value is not None]
    if any(indices[p].dtype is torch.bool for p in places):  # type: ignore[union-attr]
        raise CompileFault("picks by a mask: how many are picked depends on values")
    if len(places) == 1:
        return g.Gather(x, indices[places[0]], axis=places[0])
    front, moved = _in_front(g, x, places)
    found = g.GatherND(front, _joined(g, [indices[p] for p in places]))
    return _from_front(g, found, places, _rank_of(indices), moved)


@lower("aten.index_put.default", "aten._unsafe_index_put.default")
def index_put(g: Builder, x: Value, indices: Sequence[Value | None], values: Value, accumulate: bool = False) -> Value:
    places = [i for i, value in enumerate(indices) if value is not None]
    if any(indices[p].dtype is torch.bool for p in places):  # type: ignore[union-attr]
        if len(places) == 1 and len(values.shape or ()) == 0 and not accumulate:
            return _fill_where(g, x, indices[places[0]], places[0], values)
        raise CompileFault("puts by a mask: how many are put depends on values")
    front, moved = _in_front(g, x, places)
    joined = _joined(g, [indices[p] for p in places])
    count = _rank_of(indices)
    order = [*places, *(axis for axis in range(x.rank) if axis not in places)]
    updates = _updates(g, x, values, places, joined, count, order)
    reduction = "add" if accumulate else "none"
    put = g.ScatterND(front, joined, updates, reduction=reduction)
    back = [order.index(axis) for axis in range(x.rank)]
    return g.Transpose(put, perm=back) if moved else put


def _fill_where(g: Builder, x: Value, mask: Any, place: int, number: Value) -> Value:
    behind = x.rank - place - mask.rank
    wide = g.Unsqueeze(mask, list(range(mask.rank, mask.rank + behind))) if behind else mask
    return g.Where(wide, g.cast(number, x.dtype or torch.float32), x)


def _rank_of(indices: Sequence[Value | None]) -> int:
    return max(len(i.shape or ()) for i in indices if i is not None)


def _in_front(g: Builder, x: Value, places: Sequence[int]) -> tuple[Value, bool]:
    """Return x with the picked axes first."""
    if list(places) == list(range(len(places))):
        return x, False
    order = [*places, *(axis for axis in range(x.rank) if axis not in places)]
    return g.Transpose(x, perm=order), True


def _joined(g: Builder, indices: Sequence[Any]) -> Value:
    """Return the indices' places as one tensor with the axes of an index last, broadcast against each other."""
    rank = max(i.rank for i in indices)
    if any(i.shape != indices[0].shape for i in indices):
        shape = g.Shape(indices[0])
        total = g.Expand(g.cast(indices[0], torch.int64), g.constant(np.ones(rank, np.int64)))
        for other in indices[1:]:
            total = g.Add(g.Mul(total, g.scalar(0, torch.int64)), g.Mul(other, g.scalar(0, torch.int64)))
        shape = g.Shape(total)
        indices = [g.Expand(i, shape) for i in indices]
    columns = [g.Unsqueeze(i, [rank]) for i in indices]
    return g.Concat(*columns, axis=rank) if len(columns) > 1 else columns[0]


def _from_front(g: Builder, x: Value, places: Sequence[int], count: int, moved: bool) -> Value:
    """Bring the axes of the indices to where torch leaves them: in place of the first where all stand together."""
    together = list(places) == list(range(places[0], places[0] + len(places)))
    if not moved or not together:
        return x
    rank = len(g.result.shape)
    first = places[0]
    perm = [*range(count, count + first), *range(count), *range(count + first, rank)]
    return g.Transpose(x, perm=perm)


def _updates(
    g: Builder, x: Value, values: Value, places: Sequence[int], joined: Value, count: int, order: Sequence[int]
) -> Value:
    """Return the values with the axes of the indices first, broadcast to what is picked."""
    rest = [axis for axis in range(x.rank) if axis not in places]
    together = list(places) == list(range(places[0], places[0] + len(places)))
    first = places[0] if together else 0
    rank = count + len(rest)
    lead = g.Slice(g.Shape(joined), [0], [count])
    sizes = [g.size(x, axis) for axis in rest]
    if first and values.rank == rank:
        values = g.Transpose(values, perm=[*range(first, first + count), *range(first), *range(first + count, rank)])
    elif first and values.rank > rank - first:
        raise CompileFault("puts values that broadcast around the picked axes")
    shape = g.Concat(lead, g.vector(sizes), axis=0) if sizes else lead
    return g.Expand(values, shape)


@lower("aten.index_add.default")
def index_add(g: Builder, x: Value, dim: int, index: Value, source: Value, *, alpha: float = 1) -> Value:
    dim = dim % x.rank
    if alpha != 1:
        source = Value(g.Mul(source, g.scalar(alpha, source.dtype)).name, source.dtype, source.shape)
    order = [dim, *(axis for axis in range(x.rank) if axis != dim)]
    back = [order.index(axis) for axis in range(x.rank)]
    moved = g.Transpose(x, perm=order)
    rows = g.Transpose(source, perm=order)
    places = g.Unsqueeze(g.reshape(index, [-1]), [1])
    return g.Transpose(g.ScatterND(moved, places, rows, reduction="add"), perm=back)


@lower("aten.embedding_dense_backward.default")
def embedding_backward(
    g: Builder, gradient: Value, index: Value, count: Any, padding: int, by_frequency: bool
) -> Value:
    if by_frequency:
        raise CompileFault("embedding gradients scaled by frequency")
    assert gradient.shape is not None
    width = gradient.shape[-1]
    zeros = filled(g, [count, width], 0)
    rows, places = g.reshape(gradient, [-1, width]), g.reshape(index, [-1, 1])
    if padding >= 0:
        keeps = g.cast(Value(g.Not(g.Equal(places, g.scalar(padding, index.dtype))).name, torch.bool), g.result.dtype)
        rows = g.Mul(rows, keeps)
    return g.ScatterND(zeros, places, rows, reduction="add")


@lower("aten.nonzero.default")
def nonzero(g: Builder, x: Value) -> Value:
    return g.Transpose(g.NonZero(x), perm=[1, 0])
