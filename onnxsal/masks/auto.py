"""What fits the input's rank."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import MaskMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.masks._labels import each_apart, even, product
from onnxsal.places import is_table, places
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor


def make(feeds: Feeds, *, parts: int = 64) -> Feeds:
    """The columns of a table, stretches of a signal, a grid over a picture: as the input's rank tells.

    Args:
        parts: How many features a signal or picture has at most; a table has as many as it has columns.
    """
    return each_apart(feeds, lambda value: _cells(value, parts))


def _cells(value: Tensor, parts: int) -> Tensor:
    axes = places(value.shape)
    if is_table(value.shape):
        parts = value.shape[1]
    each = next((n for n in range(max(parts, 1), 1, -1) if n ** len(axes) <= parts), 1)
    return product(value, [(axis, even(value.shape[axis], each)) for axis in axes])


@hookimpl
def onnxsal_masks() -> Iterable[MaskMaker]:
    yield MaskMaker("auto", make)
