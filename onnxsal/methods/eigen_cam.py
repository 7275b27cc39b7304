"""Eigen-CAM."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import feature_maps
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

SQUARINGS = 28
"""How often the products of feature maps are squared: all but the first direction die out, were it larger by 1e-7."""


def explain(score: Score, feeds: Feeds, *, layer: str = "") -> Feeds:
    """What a layer sees most of all, whatever the target: its feature maps along their first principal direction.

    Muhammad and Yeasin 2020, Eigen-CAM (arXiv 2008.00299).

    Args:
        layer: The ONNX value or node to look at; empty: the last feature maps before the score.
    """
    import torch

    maps = feature_maps(score, feeds, layer)
    table = maps.activations.flatten(2).mT
    # A direction has no sign of its own, so the map's sum is made positive.
    seen = along_first_direction(table.double())
    seen = torch.where(seen.sum(1, keepdim=True) < 0, -seen, seen).to(table.dtype)
    return maps.over_input(seen.clamp_min(0).unflatten(1, maps.activations.shape[2:]))


def along_first_direction(tables: Tensor) -> Tensor:
    """Return tables of shape [examples, places, channels] times their first right singular vector.

    Products alone find it, so that a graph can hold it: of the smaller side's, squared over and over.
    """
    if tables.shape[1] <= tables.shape[2]:
        places = _first_eigenvector(tables @ tables.mT)
        return (places * (tables.mT @ places).norm(dim=1, keepdim=True)).squeeze(-1)
    return (tables @ _first_eigenvector(tables.mT @ tables)).squeeze(-1)


def _first_eigenvector(products: Tensor) -> Tensor:
    """Return the eigenvector of the largest eigenvalue of symmetric matrices without negative ones, as columns."""
    import torch

    tiny = torch.finfo(products.dtype).tiny
    for _ in range(SQUARINGS):
        products = products / products.abs().amax((1, 2), keepdim=True).clamp_min(tiny)
        products = products @ products
    # What is left is a column times itself: the one that is met most is taken.
    most = (products * torch.eye(products.shape[1], dtype=products.dtype, device=products.device)).sum(2).argmax(1)
    column = products.gather(2, most[:, None, None].expand(-1, products.shape[1], 1))
    return column / column.norm(dim=1, keepdim=True).clamp_min(tiny)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("eigen_cam", explain, gradient=False, layers=True)
