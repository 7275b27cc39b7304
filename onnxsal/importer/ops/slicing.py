"""Joining tensors, and cutting stretches out of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import SymInt, Tensor

from onnxsal.importer.operator import Host, on_host, op
from onnxsal.importer.shapes import is_known, settled
from onnxsal.importer.values import ints


@op("Concat")
def concat_by_default_axis(*inputs: Tensor, axis: int | None = None) -> Tensor:
    """Join the inputs along an axis, the second where none is named."""
    return torch.cat(inputs, 1 if axis is None else axis)


@op("Concat", since=4)
def concat(*inputs: Tensor, axis: int) -> Tensor:
    """Join the inputs along an axis."""
    return torch.cat(inputs, axis)


@on_host(concat_by_default_axis)
def _concat_by_default_axis_on_host(*inputs: np.ndarray, axis: int | None = None) -> np.ndarray:
    return settled(np.concatenate(inputs, 1 if axis is None else axis))


@on_host(concat)
def _concat_on_host(*inputs: np.ndarray, axis: int) -> np.ndarray:
    return settled(np.concatenate(inputs, axis))


@op("Split")
def split_by_either(
    data: Tensor, sizes: Host | None = None, *, n_outputs: int, axis: int | None = None, split: list[int] | None = None
) -> tuple[Tensor, ...]:
    """Cut into parts of the sizes an input or the attribute gives, or into equal ones."""
    return _cut(data, split if sizes is None else ints(sizes), axis or 0, n_outputs)


@op("Split", since=2)
def split_by_attribute(
    data: Tensor, *, n_outputs: int, axis: int = 0, split: list[int] | None = None
) -> tuple[Tensor, ...]:
    """Cut into parts of the sizes the attribute gives, or into equal ones."""
    return _cut(data, split, axis, n_outputs)


@op("Split", since=13)
def split(
    data: Tensor, split: Host | None = None, *, n_outputs: int, axis: int = 0, num_outputs: int | None = None
) -> tuple[Tensor, ...]:
    """Cut into parts of the given sizes, or into equal ones, of which the last may be smaller."""
    return _cut(data, None if split is None else ints(split), axis, num_outputs or n_outputs)


@on_host(split_by_attribute)
def _split_by_attribute_on_host(
    data: np.ndarray, *, n_outputs: int, axis: int = 0, split: list[int] | None = None
) -> Any:
    sizes = _part_sizes(data.shape[axis], n_outputs) if split is None else split
    if any(isinstance(size, SymInt) for size in sizes):
        return NotImplemented
    return tuple(settled(part) for part in np.split(data, list(accumulate(sizes))[:-1], axis))


@on_host(split)
def _split_on_host(
    data: np.ndarray,
    split: np.ndarray | None = None,
    *,
    n_outputs: int,
    axis: int = 0,
    num_outputs: int | None = None,
) -> Any:
    sizes = None if split is None else ints(split)
    return _split_by_attribute_on_host(data, n_outputs=num_outputs or n_outputs, axis=axis, split=sizes)


def _cut(data: Tensor, sizes: list[int] | None, axis: int, count: int) -> tuple[Tensor, ...]:
    parts = torch.split(data, _part_sizes(data.shape[axis], count) if sizes is None else sizes, axis)
    return tuple(parts)


def _part_sizes(size: int, count: int) -> list[int]:
    part = (size + count - 1) // count
    return [part] * (count - 1) + [size - part * (count - 1)]


@op("Slice")
def slice_by_attribute(data: Tensor, *, starts: list[int], ends: list[int], axes: list[int] | None = None) -> Tensor:
    """Cut out the stretch between the starts and ends that the attributes name."""
    for axis, stretch in _stretches(data.shape, starts, ends, axes, None):
        data = data[_along(axis, data.ndim, stretch)]
    return data


@op("Slice", since=10)
def slice_by_input(
    data: Tensor, starts: Host, ends: Host, axes: Host | None = None, steps: Host | None = None
) -> Tensor:
    """Cut out every step-th element between starts and ends, backwards where the step is negative."""
    for axis, stretch in _stretches(data.shape, ints(starts), ints(ends), _ints(axes), _ints(steps)):
        data = _backwards(data, axis, stretch) if stretch.step < 0 else data[_along(axis, data.ndim, stretch)]
    return data


@on_host(slice_by_attribute)
def _slice_by_attribute_on_host(
    data: np.ndarray, *, starts: list[int], ends: list[int], axes: list[int] | None = None
) -> np.ndarray:
    for axis, stretch in _stretches(data.shape, starts, ends, axes, None):
        data = data[_along(axis, data.ndim, stretch)]
    return settled(data)


@on_host(slice_by_input)
def _slice_by_input_on_host(
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    axes: np.ndarray | None = None,
    steps: np.ndarray | None = None,
) -> Any:
    if not (is_known(starts) and is_known(ends)):
        return NotImplemented
    for axis, stretch in _stretches(data.shape, ints(starts), ints(ends), _ints(axes), _ints(steps)):
        data = data[_along(axis, data.ndim, stretch)]
    return settled(data)


Indices = list[int] | None
FURTHEST = 2**60
OPEN = (2**31 - 1, 2**63 - 1)
"""Ends that mean "to the last", or "to the first" where the step is negative."""


def _ints(values: np.ndarray | None) -> Indices:
    return None if values is None else ints(values)


def _stretches(
    sizes: Sequence[int], starts: list[int], ends: list[int], axes: Indices, steps: Indices
) -> list[tuple[int, slice]]:
    """Return what to cut from which axis, in Python's terms."""
    places = axes if axes is not None else list(range(len(starts)))
    strides = steps if steps is not None else [1] * len(starts)
    bounds = zip(places, starts, ends, strides, strict=True)
    return [
        (axis, slice(_near(start), _near(end), step) if step > 0 else _down(start, end, step, sizes[axis]))
        for axis, start, end, step in bounds
    ]


def _near(place: int) -> int:
    """Return a place that means the same to every tensor, and that torch does not warn about."""
    return max(-FURTHEST, min(place, FURTHEST)) if isinstance(place, int) else place


def _down(start: Any, end: Any, step: int, size: Any) -> slice:
    """Return a stretch that runs backwards; it differs from Python's where the bounds lie outside."""
    if isinstance(start, int) and start < -1:  # before the first element means the first
        start = torch.sym_max(start, -size)
    if isinstance(end, int) and end in OPEN:
        end = -FURTHEST
    return slice(_near(start), _near(end), step)


def _along(axis: int, rank: int, stretch: slice) -> tuple[slice, ...]:
    return (slice(None),) * (axis % rank) + (stretch,)


def _backwards(data: Tensor, axis: int, stretch: slice) -> Tensor:
    """Cut a stretch that runs backwards: turned round, place i is place ~i, counted from whichever end it was."""
    forwards = slice(~stretch.start, ~stretch.stop, -stretch.step)
    return data.flip(axis)[_along(axis, data.ndim, forwards)]


@op("Compress", since=9)
def compress(data: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    """Keep the slices along an axis for which the condition is true; of all elements in a row without one."""
    if axis is None:
        data, axis = data.reshape(-1), 0
    return data.index_select(axis, condition.nonzero().reshape(-1))


@on_host(compress)
def _compress_on_host(data: np.ndarray, condition: np.ndarray, *, axis: int | None = None) -> np.ndarray:
    return settled(np.compress(condition.astype(bool), data, axis))
