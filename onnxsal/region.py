"""The region in which an explanation should lie: from what a user gives to truth values shaped like the inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from onnxsal.errors import InputError, nearest


def check_region(region: Mapping[str, Any], feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return truth values shaped like the inputs that a region is marked in.

    Args:
        region: Arrays by input name, true or above zero inside; the axes of channels and examples may be left out, or
            be 1.
        feeds: The inputs.

    Raises:
        InputError: an input that does not exist, or a shape that does not fit.
    """
    for name in region:
        if name not in feeds:
            raise InputError(f"no input {name!r} to mark a region in", where="region", hint=nearest(name, feeds))
    return {name: _fitted(np.asarray(array), np.shape(feeds[name]), name) for name, array in region.items()}


def _fitted(array: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise InputError(f"a region of {array.dtype} marks nothing", where=f"input {name!r}", hint="give truth values")
    inside = array > 0
    for candidate in _with_axes(inside, len(shape)):
        if all(mine in {1, whole} for mine, whole in zip(candidate.shape, shape, strict=True)):
            return np.broadcast_to(candidate, shape)
    raise InputError(
        f"a region of shape {list(array.shape)} does not fit shape {list(shape)}",
        where=f"input {name!r}",
        hint="mark every place of the input; the channels may be left out",
    )


def _with_axes(inside: np.ndarray, rank: int) -> Iterator[np.ndarray]:
    """Yield the array as it is, or with the axes that may have been left out: examples, channels first or last."""
    missing = rank - inside.ndim
    if missing == 0:
        yield inside
    elif missing == 1:
        yield from (np.expand_dims(inside, axis) for axis in (0, 1, rank - 1))
    elif missing == 2:
        yield from (np.expand_dims(inside, axes) for axes in ((0, 1), (0, rank - 1)))
