"""Shapes: asking for them and changing them, without touching a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import SymInt, Tensor

from onnxsal.errors import InputError
from onnxsal.importer.operator import Host, on_host, op
from onnxsal.importer.shapes import fits_host, is_known, is_zero, settled, shape_array
from onnxsal.importer.values import ints, is_text

Axes = list[int] | None


@op("Identity")
def identity(data: Tensor) -> Tensor:
    """Hand the input on."""
    return data


@on_host(identity)
def _identity_on_host(data: np.ndarray) -> np.ndarray:
    return data


@op("Shape", gradient=False)
def shape(data: Tensor, *, start: int = 0, end: int | None = None) -> Host:
    """Tell the dimensions, or the stretch of them from start up to end."""
    return shape_array(data.shape[start:end])


@on_host(shape)
def _shape_on_host(data: np.ndarray, *, start: int = 0, end: int | None = None) -> np.ndarray:
    return shape_array(data.shape[start:end])


@op("Size", gradient=False)
def size(data: Tensor) -> Host:
    """Tell how many elements there are."""
    return settled(math.prod(data.shape))


@on_host(size)
def _size_on_host(data: np.ndarray) -> np.ndarray:
    return settled(data.size)


@op("Reshape")
def reshape_by_attribute(data: Tensor, *, shape: list[int] | None = None) -> Tensor:
    """Lay the elements out in the dimensions the attribute names; a single element without one."""
    return data.reshape(_kept_sizes(data, shape or []))


@op("Reshape", since=5)
def reshape(data: Tensor, shape: Host, *, allowzero: int = 0) -> Tensor:
    """Lay the elements out in other dimensions; 0 keeps a dimension, -1 is worked out."""
    sizes = ints(shape)
    return data.reshape(sizes if allowzero else _kept_sizes(data, sizes))


@on_host(reshape)
def _reshape_on_host(data: np.ndarray, shape: np.ndarray, *, allowzero: int = 0) -> Any:
    if not is_known(shape):
        return NotImplemented
    sizes = ints(shape)
    return data.reshape(sizes if allowzero else _kept_sizes(data, sizes))


def _kept_sizes(data: Tensor | np.ndarray, sizes: list[int]) -> list[int]:
    return _worked_out(data.shape, [data.shape[i] if is_zero(size) else size for i, size in enumerate(sizes)])


def _worked_out(before: Sequence[int], sizes: list[int]) -> list[int]:
    """Return the sizes with a number for the -1 where all symbolic ones cancel out.

    A tracer then sees a plain number, and not a quotient of products that it has to simplify again and again.
    """
    rest, left = list(before), [size for size in sizes if not _is_open(size)]
    symbolic = [size for size in left if isinstance(size, SymInt)]
    if not symbolic or len(left) == len(sizes):
        return sizes
    for size in symbolic:
        same = next((i for i, other in enumerate(rest) if _is_same(size, other)), None)
        if same is None:
            return sizes
        rest.pop(same)
    known = math.prod(size for size in left if not isinstance(size, SymInt))
    if not known or any(isinstance(size, SymInt) for size in rest):
        return sizes
    return [math.prod(rest) // known if _is_open(size) else size for size in sizes]


def _is_same(a: Any, b: Any) -> bool:
    """Say whether two dimensions are equal whatever their symbols stand for."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(a == b)


def _is_open(size: int) -> bool:
    return not isinstance(size, SymInt) and size == -1


@op("Flatten")
def flatten(data: Tensor, *, axis: int = 1) -> Tensor:
    """Fold the dimensions before the axis into one, and those from it on into another."""
    return data.reshape(math.prod(data.shape[:axis]), math.prod(data.shape[axis:]))


@on_host(flatten)
def _flatten_on_host(data: np.ndarray, *, axis: int = 1) -> np.ndarray:
    return data.reshape(math.prod(data.shape[:axis]), math.prod(data.shape[axis:]))


@op("Transpose")
def transpose(data: Tensor, *, perm: list[int] | None = None) -> Tensor:
    """Put the dimensions into another order; turned round where none is given."""
    return data.permute(perm if perm is not None else list(range(data.ndim))[::-1])


@on_host(transpose)
def _transpose_on_host(data: np.ndarray, *, perm: list[int] | None = None) -> np.ndarray:
    return np.transpose(data, perm)


@op("Squeeze")
def squeeze_by_attribute(data: Tensor, *, axes: list[int] | None = None) -> Tensor:
    """Drop the dimensions of size one that the attribute names, or all of them."""
    return _squeeze(data, axes)


@op("Squeeze", since=13)
def squeeze(data: Tensor, axes: Host | None = None) -> Tensor:
    """Drop the named dimensions of size one, or all of them."""
    return _squeeze(data, _axes(axes))


@on_host(squeeze_by_attribute)
def _squeeze_by_attribute_on_host(data: np.ndarray, *, axes: list[int] | None = None) -> np.ndarray:
    return settled(np.squeeze(data, None if axes is None else tuple(axes)))


@on_host(squeeze)
def _squeeze_on_host(data: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    return _squeeze_by_attribute_on_host(data, axes=_axes(axes))


def _squeeze(data: Tensor, axes: Axes) -> Tensor:
    if axes is None:
        return data.squeeze()
    squeezed = data.squeeze(axes[0]) if len(axes) == 1 else data.squeeze(axes)
    if squeezed.ndim != data.ndim - len(axes):
        raise InputError(f"a dimension among {axes} of shape {tuple(data.shape)} is not 1", where="Squeeze")
    return squeezed


def _axes(axes: np.ndarray | None) -> Axes:
    return None if axes is None else ints(axes)


@op("Unsqueeze")
def unsqueeze_by_attribute(data: Tensor, *, axes: list[int]) -> Tensor:
    """Insert dimensions of size one where the attribute says."""
    return _unsqueeze(data, axes)


@op("Unsqueeze", since=13)
def unsqueeze(data: Tensor, axes: Host) -> Tensor:
    """Insert dimensions of size one at the given places of the result."""
    return _unsqueeze(data, ints(axes))


@on_host(unsqueeze_by_attribute)
def _unsqueeze_by_attribute_on_host(data: np.ndarray, *, axes: list[int]) -> np.ndarray:
    return np.expand_dims(data, tuple(axes))


@on_host(unsqueeze)
def _unsqueeze_on_host(data: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return np.expand_dims(data, tuple(ints(axes)))


def _unsqueeze(data: Tensor, axes: list[int]) -> Tensor:
    rank = data.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        data = data.unsqueeze(axis)
    return data


@op("Expand", since=8)
def expand(data: Tensor, shape: Host) -> Tensor:
    """Repeat dimensions of size one until the shape fits the given one, in either direction."""
    return data.expand(_broadcast(data.shape, ints(shape)))


@on_host(expand)
def _expand_on_host(data: np.ndarray, shape: np.ndarray) -> Any:
    sizes = _broadcast(data.shape, ints(shape))
    return np.broadcast_to(data, sizes) if is_text(data) or fits_host(sizes) else NotImplemented


def _broadcast(shape: Sequence[Any], target: Sequence[Any]) -> list[Any]:
    """Return the target with its ones replaced by what the shape has there."""
    rank = max(len(shape), len(target))
    shape = [1] * (rank - len(shape)) + list(shape)
    target = [1] * (rank - len(target)) + list(target)
    return [have if isinstance(want, int) and want == 1 else want for have, want in zip(shape, target, strict=True)]


@op("Tile")
def tile_one_axis(data: Tensor, tiles: Host, axis: Host) -> Tensor:
    """Lay copies of the input one behind the other along one axis."""
    repeats = [1] * data.ndim
    repeats[int(axis.item())] = ints(tiles)[0]
    return data.repeat(repeats)


@op("Tile", since=6)
def tile(data: Tensor, repeats: Host) -> Tensor:
    """Lay copies of the input side by side, as many along each axis as told."""
    return data.repeat(ints(repeats)) if data.ndim else data


@on_host(tile)
def _tile_on_host(data: np.ndarray, repeats: np.ndarray) -> Any:
    return np.tile(data, ints(repeats)) if is_known(repeats) else NotImplemented
