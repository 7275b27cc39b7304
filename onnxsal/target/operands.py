"""What a reduction takes beside the numbers: a class's own region, a mask or a reference from a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnxsal.errors import InputError, OnnxsalError, UsageError
from onnxsal.importer.values import to_host

if TYPE_CHECKING:
    from torch import Tensor

Index = tuple[int | slice, ...]


def region(output: Tensor, index: Index) -> np.ndarray:
    """Return where the class at the one whole number of the index is the highest, shaped like what the index leaves.

    A single channel has no rival: it is its own region where it says yes, above 0.5 or, for logits, above 0.

    Raises:
        UsageError: the class is the highest nowhere.
    """
    values = to_host(output)
    axis = class_axis(index)
    if values.shape[axis] == 1:
        highest = values > (0.5 if values.min() >= 0 and values.max() <= 1 else 0)
    else:
        wanted = np.arange(values.shape[axis]).reshape(-1, *[1] * (values.ndim - axis - 1))
        highest = np.expand_dims(values.argmax(axis), axis) == wanted
    found: np.ndarray = highest[index]
    if not found.any():
        raise UsageError(
            f"class {index[axis]} is the highest nowhere, so it has no region",
            where="target",
            hint="say [argmax].region() for the widest class, or .over(FILE) with a mask of your own",
        )
    return found


def widest_class(output: Tensor, axis: int) -> int:
    """Return the class that is the highest in the most places."""
    return int(np.bincount(to_host(output).argmax(axis).ravel()).argmax())


def class_axis(index: tuple[int | slice | str, ...]) -> int:
    """Return the axis of the index's one class.

    Raises:
        UsageError: the index names no class, or several.
    """
    axes = [axis for axis, part in enumerate(index) if not isinstance(part, slice)]
    if len(axes) != 1:
        raise UsageError(
            "a region needs one class in the index, and leaves the places open",
            where="target",
            hint="for instance mask[3].region(), or mask[:,:,3].region() where the last axis counts the classes",
        )
    return axes[0]


def mask_from(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return where a mask is not zero, in the shape of the numbers that it chooses from.

    Args:
        path: An ``.npy`` file, or a picture, which is stretched to the last two axes.
        shape: The shape of the numbers.

    Raises:
        InputError: the file cannot be read, does not fit, or shows nothing.
    """
    mask = _array(path) if path.endswith(".npy") else _picture(path, shape)
    chosen = _fitted(mask != 0, shape, path)
    if not chosen.any():
        raise InputError("the mask is zero everywhere", where=path, hint="give one that shows a place")
    return chosen


def reference_from(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the reference of an embedding from an ``.npy`` file; errors as for `mask_from`."""
    reference = _fitted(_array(path), shape, path)
    if not np.linalg.norm(reference) > 0:
        raise InputError("the reference is zero or not finite, and has no direction", where=path, hint="give another")
    return reference


def _array(path: str) -> np.ndarray:
    from onnxsal.readers.npy import decode

    try:
        return decode(_bytes(path))
    except OnnxsalError as error:
        error.where = error.where or path
        raise


def _picture(path: str, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    if len(shape) < 2:
        raise InputError(f"a picture is no mask for numbers of shape {list(shape)}", where=path, hint="use .npy")
    try:
        picture = Image.open(io.BytesIO(_bytes(path))).convert("L")
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError("neither a picture nor an .npy file", where=path, hint="give a PNG, or .npy") from error
    return np.asarray(picture.resize((shape[-1], shape[-2]), Image.Resampling.NEAREST))


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path, hint="check the path") from error


def _fitted(array: np.ndarray, shape: tuple[int, ...], path: str) -> np.ndarray:
    bare = tuple(size for size in shape if size != 1)
    if tuple(size for size in array.shape if size != 1) == bare:
        return array.reshape(shape)
    try:
        return np.broadcast_to(array, shape)
    except ValueError as error:
        raise InputError(
            f"shape {list(array.shape)} does not fit the {list(shape)} numbers of the target",
            where=path,
            hint="give it the shape of one example's output",
        ) from error
