"""Other shapes, other orders of axes, parts and joins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from onnxsal.compiler.emit import Builder, Value, are_same
from onnxsal.compiler.lower import lower
from onnxsal.compiler.lower._maps import is_number_a_map, spread
from onnxsal.errors import CompileFault

END = 2**62
"""What says "to the end" in a slice."""


@lower("aten.alias.default", "aten.detach.default", "aten.clone.default", "aten.lift_fresh_copy.default")
def same(g: Builder, x: Value, **_: Any) -> Value:
    return x


@lower("aten.copy.default")
def copy(g: Builder, x: Value, source: Value, non_blocking: bool = False) -> Value:
    """What stands in x once the source was written over all of it."""
    source = g.cast(source, g.result.dtype)
    return source if source.shape == x.shape else g.Expand(source, g.vector(g.sizes(x)))


@lower("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default")
def view(g: Builder, x: Value, shape: Sequence[Any]) -> Value:
    return g.reshape(x, shape)


@lower("aten.expand.default")
def expand(g: Builder, x: Value, shape: Sequence[Any], implicit: bool = False) -> Value:
    if are_same(x.shape, g.result.shape):
        return x
    wanted = [1 if isinstance(size, int) and size == -1 else size for size in shape]
    if is_number_a_map(x, g.result.shape):
        return spread(g, x, g.result.shape)
    return g.Expand(x, g.vector(wanted))


@lower("aten.permute.default")
def permute(g: Builder, x: Value, dims: Sequence[int]) -> Value:
    return g.Transpose(x, perm=[dim % x.rank for dim in dims])


@lower("aten.transpose.int")
def transpose(g: Builder, x: Value, a: int, b: int) -> Value:
    perm = list(range(x.rank))
    if perm:
        perm[a], perm[b] = perm[b], perm[a]
    return g.Transpose(x, perm=perm)


@lower("aten.t.default")
def t(g: Builder, x: Value) -> Value:
    return transpose(g, x, 0, 1) if x.rank == 2 else x


@lower("aten.unsqueeze.default")
def unsqueeze(g: Builder, x: Value, dim: int) -> Value:
    return g.Unsqueeze(x, [dim % (x.rank + 1)])


@lower("aten.squeeze.dim", "aten.squeeze.dims", "aten.squeeze.default")
def squeeze(g: Builder, x: Value, dims: Any = None) -> Value:
    assert x.shape is not None
    asked = range(x.rank) if dims is None else [dims] if isinstance(dims, int) else dims
    axes = [dim % x.rank for dim in asked if x.rank and x.shape[dim] == 1]
    return g.Squeeze(x, axes) if axes else x


@lower("aten.select.int")
def select(g: Builder, x: Value, dim: int, index: Any) -> Value:
    if isinstance(index, Value):
        return g.Gather(x, g.reshape(index, []), axis=dim % x.rank)
    return g.Gather(x, np.array(index, np.int64), axis=dim % x.rank)


@lower("aten.slice.Tensor")
def slice_(g: Builder, x: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Value:
    if (start is None or start == 0) and step == 1 and (end is None or (isinstance(end, int) and end >= END)):
        return x
    begin, stop = (0 if start is None else start), (END if end is None else end)
    return g.Slice(x, g.vector([begin]), g.vector([stop]), [dim % x.rank], [step])


@lower("aten.narrow.default")
def narrow(g: Builder, x: Value, dim: int, start: Any, length: Any) -> Value:
    return slice_(g, x, dim, start, plus(g, start, length))


@lower("aten.select_backward.default")
def select_backward(g: Builder, gradient: Value, sizes: Sequence[Any], dim: int, index: Any) -> Value:
    dim = dim % len(sizes)
    if isinstance(index, int) and index < 0:
        index = plus(g, sizes[dim], index)
    return _between_zeros(g, g.Unsqueeze(gradient, [dim]), sizes, dim, index, plus(g, index, 1))


@lower("aten.slice_backward.default")
def slice_backward(
    g: Builder, gradient: Value, sizes: Sequence[Any], dim: int, start: Any, end: Any, step: int
) -> Value:
    """Lay the gradient between zeros where the slice was."""
    dim = dim % len(sizes)
    size = sizes[dim]
    begin = _bound(g, 0 if start is None else start, size)
    if step == 1:
        taken = (
            gradient.shape[dim] if gradient.shape and isinstance(gradient.shape[dim], int) else g.size(gradient, dim)
        )
        return _between_zeros(g, gradient, sizes, dim, begin, plus(g, begin, taken))
    count = g.size(gradient, dim)
    places = g.Range(g.scalar(0, torch.int64), _bare(g, count), g.scalar(1, torch.int64))
    places = g.Add(g.Mul(places, [step]), g.vector([begin]))
    rank = len(sizes)
    zeros = g.ConstantOfShape(g.vector(list(sizes)), value=zero_tensor(gradient.dtype))
    order = [dim, *(axis for axis in range(rank) if axis != dim)]
    back = [order.index(axis) for axis in range(rank)]
    moved = g.ScatterND(g.Transpose(zeros, perm=order), g.Unsqueeze(places, [1]), g.Transpose(gradient, perm=order))
    return g.Transpose(moved, perm=back)


def zero_tensor(dtype: torch.dtype | None) -> Any:
    """Return a zero for ConstantOfShape."""
    from onnxsal.compiler.emit import tensor_proto, zero_of

    return tensor_proto(zero_of(dtype).reshape(1), "value")


def plus(g: Builder, a: Any, b: Any) -> Any:
    """Add sizes, numbers where both are."""
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    a, b = (x if isinstance(x, Value) else g.constant(np.array([x], np.int64)) for x in (a, b))
    return Value(g.Add(a, b).name, torch.int64, (1,))


def minus(g: Builder, a: Any, b: Any) -> Any:
    """Subtract sizes, numbers where both are."""
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    a, b = (x if isinstance(x, Value) else g.constant(np.array([x], np.int64)) for x in (a, b))
    return Value(g.Sub(a, b).name, torch.int64, (1,))


def times(g: Builder, a: Any, b: Any) -> Any:
    """Multiply sizes, numbers where both are."""
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    a, b = (x if isinstance(x, Value) else g.constant(np.array([x], np.int64)) for x in (a, b))
    return Value(g.Mul(a, b).name, torch.int64, (1,))


def _bare(g: Builder, size: Any) -> Value:
    """Return a size without axes."""
    return g.scalar(size, torch.int64) if isinstance(size, int) else g.reshape(size, [])


def _bound(g: Builder, bound: Any, size: Any) -> Any:
    """Return where a slice begins, counted from the front and within the axis."""
    if isinstance(bound, int):
        if bound < 0:
            found = plus(g, size, bound)
            return max(found, 0) if isinstance(found, int) else found
        return min(bound, size) if isinstance(size, int) else bound
    return bound


def _between_zeros(g: Builder, x: Value, sizes: Sequence[Any], dim: int, begin: Any, end: Any) -> Value:
    """Return x with zeros before and behind it along one axis."""
    before, behind = begin, minus(g, sizes[dim], end)
    if before == 0 and behind == 0:
        return x
    x = Value(x.name, g.result.dtype, tuple(g.result.shape))  # of the same rank
    return g.pad(x, [dim], [before], [behind], 0, g.result.dtype)


@lower("aten.constant_pad_nd.default")
def constant_pad(g: Builder, x: Value, pads: Sequence[Any], value: Any = 0) -> Value:
    count = len(pads) // 2
    axes = [x.rank - 1 - i for i in range(count)]
    begins, ends = [pads[2 * i] for i in range(count)], [pads[2 * i + 1] for i in range(count)]
    if all(isinstance(p, int) and p == 0 for p in pads):
        return x
    if g.result.dtype is torch.bool:
        padded = g.pad(g.cast(x, torch.uint8), axes, begins, ends, value, torch.uint8)
        return g.cast(Value(padded.name, torch.uint8), torch.bool)
    if all(isinstance(p, int) and p <= 0 for p in pads):
        ends = [END if p == 0 else p for p in ends]
        return g.Slice(x, g.vector([-p for p in begins]), g.vector(ends), axes)
    return g.pad(x, axes, begins, ends, value, g.result.dtype)


@lower("aten.cat.default")
def cat(g: Builder, parts: Sequence[Value], dim: int = 0) -> Value:
    dtype, rank = g.result.dtype, len(g.result.shape)
    real = [g.cast(part, dtype) for part in parts if part.shape != (0,)] or [g.cast(parts[0], dtype)]
    return g.Concat(*real, axis=dim % max(rank, 1)) if len(real) > 1 else real[0]


@lower("aten.stack.default")
def stack(g: Builder, parts: Sequence[Value], dim: int = 0) -> Value:
    dim = dim % len(g.result.shape)
    dtype = g.result.dtype
    return g.Concat(*(g.Unsqueeze(g.cast(part, dtype), [dim]) for part in parts), axis=dim)


@lower("aten.split.Tensor", "aten.split_with_sizes.default")
def split(g: Builder, x: Value, sizes: Any, dim: int = 0) -> Any:
    dim = dim % x.rank
    lengths = [meta.shape[dim] for meta in g.result] if isinstance(sizes, (int, Value)) else list(sizes)
    if len(lengths) == 1:
        return (x,)
    if not all(isinstance(length, int) for length in lengths) and isinstance(sizes, (int, Value)):
        raise CompileFault("splits into an open number of parts")
    return g.Split(x, g.vector(lengths), axis=dim, n_outputs=len(lengths))


@lower("aten.unbind.int")
def unbind(g: Builder, x: Value, dim: int = 0) -> tuple[Value, ...]:
    dim = dim % x.rank
    return tuple(g.Gather(x, np.array(i, np.int64), axis=dim) for i in range(len(g.result)))


@lower("aten.flip.default")
def flip(g: Builder, x: Value, dims: Sequence[int]) -> Value:
    axes = [dim % x.rank for dim in dims]
    if not axes:
        return x
    return g.Slice(x, [-1] * len(axes), [-END] * len(axes), axes, [-1] * len(axes))


@lower("aten.repeat.default")
def repeat(g: Builder, x: Value, repeats: Sequence[Any]) -> Value:
    extra = len(repeats) - x.rank
    if extra:
        x = g.Unsqueeze(x, list(range(extra)))
    return g.Tile(x, g.vector(repeats))


@lower("aten.roll.default")
def roll(g: Builder, x: Value, shifts: Sequence[int], dims: Sequence[int] = ()) -> Value:
    if not dims:
        flat = g.reshape(x, [-1])
        rolled = roll(g, Value(flat.name, x.dtype, (None,)), shifts, [0])
        return g.reshape(rolled, g.sizes(x))
    for shift, dim in zip(shifts, dims, strict=True):
        if shift == 0:
            continue
        axis = dim % x.rank
        size = x.shape[axis] if x.shape else None
        place = -shift % size if isinstance(size, int) else -shift
        if place == 0:
            continue
        first = g.Slice(x, [place], [END], [axis])
        x = Value(g.Concat(first, g.Slice(x, [0], [place], [axis]), axis=axis).name, x.dtype, x.shape)
    return x


@lower("aten.select_scatter.default")
def select_scatter(g: Builder, x: Value, source: Value, dim: int, index: int) -> Value:
    dim = dim % x.rank
    end = index + 1 if index != -1 else None
    return slice_scatter(g, x, Value(g.Unsqueeze(source, [dim]).name, source.dtype), dim, index, end)


@lower("aten.slice_scatter.default")
def slice_scatter(
    g: Builder, x: Value, source: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    if step != 1:
        raise CompileFault("slice_scatter with a step")
    dim = dim % x.rank
    parts = [g.Slice(x, [0], g.vector([start]), [dim])] if start not in {None, 0} else []
    parts.append(g.cast(source, x.dtype or torch.float32))
    if end is not None and not (isinstance(end, int) and end >= END):
        parts.append(g.Slice(x, g.vector([end]), [END], [dim]))
    return g.Concat(*parts, axis=dim) if len(parts) > 1 else parts[0]


@lower("aten.unfold.default")
def unfold(g: Builder, x: Value, dim: int, size: int, step: int) -> Value:
    """Windows along an axis, their elements in a last axis of their own."""
    dim = dim % x.rank
    count = g.result.shape[dim]
    if isinstance(count, int):
        places = np.arange(count)[:, None] * step + np.arange(size)
        taken = g.Gather(x, places, axis=dim)
    else:
        raise CompileFault("unfold of an axis of open size")
    rank = x.rank + 1
    perm = [axis for axis in range(rank) if axis != dim + 1] + [dim + 1]
    return g.Transpose(taken, perm=perm)


@lower("aten.unfold_backward.default")
def unfold_backward(g: Builder, gradient: Value, sizes: Sequence[Any], dim: int, size: int, step: int) -> Value:
    """Add what comes back to overlapping windows."""
    rank = len(sizes)
    dim = dim % rank
    count = gradient.shape[dim] if gradient.shape else None
    if not isinstance(count, int):
        raise CompileFault("unfold of an axis of open size")
    axes = [dim, rank, *(axis for axis in range(rank) if axis != dim)]
    rest = [s for axis, s in enumerate(sizes) if axis != dim]
    rows = g.reshape(g.Transpose(gradient, perm=axes), [count * size, *rest])
    zeros = g.ConstantOfShape(g.vector([sizes[dim], *rest]), value=zero_tensor(gradient.dtype))
    places = (np.arange(count)[:, None] * step + np.arange(size)).reshape(-1, 1)
    total = g.ScatterND(zeros, places, rows, reduction="add")
    return g.Transpose(total, perm=[*range(1, dim + 1), 0, *range(dim + 1, rank)])
