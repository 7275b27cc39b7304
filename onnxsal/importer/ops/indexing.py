"""Picking elements by index, and putting them back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Host, layer, on_host, op
from onnxsal.importer.shapes import is_known, settled
from onnxsal.importer.unsigned import modular, ordered
from onnxsal.importer.values import ints, is_text


@op("Where", since=9)
def where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Take from the first tensor where the condition holds, from the second elsewhere."""
    return torch.where(condition, x, y)


@on_host(where)
def _where_on_host(condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return settled(np.where(condition.astype(bool), x, y))


@op("Gather")
def gather(data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Pick slices along an axis by their indices."""
    axis %= data.ndim
    picked = data.index_select(axis, _from_front(indices, data.shape[axis]).reshape(-1))
    return picked.reshape([*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]])


@on_host(gather)
def _gather_on_host(data: np.ndarray, indices: np.ndarray, *, axis: int = 0) -> Any:
    return settled(np.take(data, indices.astype(np.int64), axis)) if is_known(indices) else NotImplemented


class Select(nn.Module):
    """Gather by one known index, which needs no copy: the slice is a view."""

    def __init__(self, axis: int, index: int) -> None:
        super().__init__()
        self.axis = axis
        self.index = index

    def forward(self, data: Tensor) -> Tensor:
        """Return the slice."""
        return data.select(self.axis, self.index)

    def extra_repr(self) -> str:
        """Say which slice."""
        return f"axis={self.axis}, index={self.index}"


@layer(gather)
def _gather_layer(indices: Tensor, *, axis: int = 0) -> nn.Module | None:
    return Select(axis, int(indices)) if indices.ndim == 0 else None


def _from_front(indices: Tensor, size: Any) -> Tensor:
    """Return indices of which the negative ones, counted from the end, are counted from the front."""
    indices = indices.long()
    return torch.where(indices < 0, indices + size, indices)


@op("GatherElements", since=11)
def gather_elements(data: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Pick for every place of the indices the element that lies there along the axis."""
    return data.gather(axis, _from_front(indices, data.shape[axis]))


@on_host(gather_elements)
def _gather_elements_on_host(data: np.ndarray, indices: np.ndarray, *, axis: int = 0) -> np.ndarray:
    return settled(np.take_along_axis(data, indices.astype(np.int64), axis))


@op("GatherND", since=11)
def gather_nd(data: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Pick slices by index tuples, which address the dimensions behind those of the batch."""
    places = indices.long().unbind(-1)
    batch = [_counted(data, d, indices.ndim - 1) for d in range(batch_dims)]
    return data[(*batch, *places)]


@on_host(gather_nd)
def _gather_nd_on_host(data: np.ndarray, indices: np.ndarray, *, batch_dims: int = 0) -> Any:
    if batch_dims:
        return NotImplemented if not is_text(data) else _gather_text_by_batch(data, indices, batch_dims)
    return settled(np.asarray(data[tuple(np.moveaxis(indices.astype(np.int64), -1, 0))], data.dtype))


def _gather_text_by_batch(data: np.ndarray, indices: np.ndarray, batch_dims: int) -> np.ndarray:
    return np.stack([_gather_nd_on_host(d, i, batch_dims=batch_dims - 1) for d, i in zip(data, indices, strict=True)])


def _counted(data: Tensor, dim: int, rank: int) -> Tensor:
    """Return 0, 1, 2, ... along one dimension among ``rank`` ones, to stand for "every one in turn"."""
    sizes = [1] * rank
    sizes[dim] = -1
    return torch.arange(data.shape[dim], device=data.device).reshape(sizes)


REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@op("Scatter", since=9)
def scatter(data: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0) -> Tensor:
    """Put every update where its index says along the axis."""
    return data.scatter(axis, _from_front(indices, data.shape[axis]), updates)


@op("ScatterElements", since=11)
def scatter_elements(
    data: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    """Put every update where its index says along the axis, alone or combined with what is there."""
    return _scatter(data, axis, _from_front(indices, data.shape[axis]), updates, reduction)


@op("ScatterND", since=11)
def scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """Put slices where index tuples say, alone or combined with what is there."""
    depth = indices.shape[-1]
    sizes = data.shape[:depth]
    rows = _flat_places(indices, sizes).reshape(-1, 1)
    flat = data.reshape(math.prod(sizes), -1)
    slices = updates.reshape(-1, flat.shape[1])
    return _scatter(flat, 0, rows.expand_as(slices), slices, reduction).reshape(data.shape)


def _flat_places(indices: Tensor, sizes: Sequence[Any]) -> Tensor:
    """Return index tuples as single indices into the dimensions rolled into one."""
    flat = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=indices.device)
    for index, size in zip(indices.unbind(-1), sizes, strict=True):
        flat = flat * size + _from_front(index, size)
    return flat


def _scatter(data: Tensor, axis: int, indices: Tensor, updates: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return data.scatter(axis, indices, updates)
    if reduction not in REDUCTIONS:
        raise ImportFault(f"reduction {reduction!r} is unknown", where="Scatter", hint="none, add, mul, max, min")
    through = modular if reduction in {"add", "mul"} else ordered  # torch adds and compares no wide unsigned numbers

    def combine(data: Tensor, updates: Tensor) -> Tensor:
        if reduction == "add":
            return data.scatter_add(axis, indices, updates)
        return data.scatter_reduce(axis, indices, updates, REDUCTIONS[reduction], include_self=True)

    return through(combine, data, updates)


@op("NonZero", since=9, gradient=False)
def non_zero(data: Tensor) -> Tensor:
    """List the indices of what is not zero, one row a dimension."""
    return (data if data.ndim else data.unsqueeze(0)).nonzero().T


@op("OneHot", since=9)
def one_hot(indices: Tensor, depth: Host, values: Tensor, *, axis: int = -1) -> Tensor:
    """Write each index as a row with one value at its place, another elsewhere; a negative index matches nothing."""
    return _one_hot(indices.long(), ints(depth)[0], values, axis)


@op("OneHot", since=11)
def one_hot_from_either_end(indices: Tensor, depth: Host, values: Tensor, *, axis: int = -1) -> Tensor:
    """Write each index as a row with one value at its place and another value elsewhere."""
    size = ints(depth)[0]
    return _one_hot(_from_front(indices, size), size, values, axis)


def _one_hot(indices: Tensor, size: Any, values: Tensor, axis: int) -> Tensor:
    classes = torch.arange(size, device=indices.device)
    hot = (indices.unsqueeze(-1) == classes).movedim(-1, axis)
    return torch.where(hot, values[1], values[0])


@op("ReverseSequence", since=10)
def reverse_sequence(data: Tensor, sequence_lens: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """Turn the first steps of every sequence round, as many as its length says."""
    rows = data.movedim((batch_axis, time_axis), (0, 1))
    steps = torch.arange(rows.shape[1], device=data.device)
    lengths = sequence_lens.long().unsqueeze(1)
    turned = torch.where(steps < lengths, lengths - 1 - steps, steps)
    every_row = torch.arange(rows.shape[0], device=data.device).unsqueeze(1)
    return rows[every_row, turned].movedim((0, 1), (batch_axis, time_axis))
