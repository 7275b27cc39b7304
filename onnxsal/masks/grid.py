"""Rectangular cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import MaskMaker
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.masks._labels import each_apart, product
from onnxsal.places import places
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor


def make(feeds: Feeds, *, cell: tuple[int, ...] = (16,)) -> Feeds:
    """Cells of equal size over height and width, along a signal, or through a volume; channels stay together.

    Args:
        cell: A cell's size in elements: one number for all axes, or one for each, as in 16,32.
    """
    return each_apart(feeds, lambda value: _cells(value, cell))


def _cells(value: Tensor, cell: tuple[int, ...]) -> Tensor:
    import torch

    axes = places(value.shape)
    sizes = cell * len(axes) if len(cell) == 1 else cell
    if len(sizes) != len(axes) or min(sizes, default=1) < 1:
        raise UsageError(
            f"cell={','.join(map(str, cell))} does not cut an input of shape {list(value.shape)}",
            where="mask grid",
            hint=f"give one size from 1, or one for each of its {len(axes)} axes of places",
        )
    return product(value, [(a, torch.arange(value.shape[a]) // s) for a, s in zip(axes, sizes, strict=True)])


@hookimpl
def onnxsal_masks() -> Iterable[MaskMaker]:
    yield MaskMaker("grid", make)
