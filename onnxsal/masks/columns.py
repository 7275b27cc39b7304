"""Columns of a table, channels of the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import MaskMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.masks._labels import each_apart, product
from onnxsal.places import places
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor


def make(feeds: Feeds) -> Feeds:
    """Each column of a table; of pictures and signals each channel."""
    return each_apart(feeds, _columns)


def _columns(value: Tensor) -> Tensor:
    import torch

    taken = places(value.shape) if value.ndim > 2 else ()
    axes = [axis for axis in range(1, value.ndim) if axis not in taken]
    return product(value, [(axis, torch.arange(value.shape[axis])) for axis in axes])


@hookimpl
def onnxsal_masks() -> Iterable[MaskMaker]:
    yield MaskMaker("columns", make)
