"""Eigen-CAM."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import feature_maps
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, layer: str = "") -> Feeds:
    """What a layer sees most of all, whatever the target: its feature maps along their first principal direction.

    Muhammad and Yeasin 2020, Eigen-CAM (arXiv 2008.00299).

    Args:
        layer: The ONNX value or node to look at; empty: the last feature maps before the score.
    """
    import torch

    maps = feature_maps(score, feeds, layer)
    table = maps.activations.flatten(2).mT
    # Half precision has no decomposition; a direction has no sign of its own, so the map's sum is made positive.
    direction = torch.linalg.svd(table.double(), full_matrices=False).Vh[:, :1].mT
    seen = (table.double() @ direction).squeeze(-1)
    seen = torch.where(seen.sum(1, keepdim=True) < 0, -seen, seen).to(table.dtype)
    return maps.over_input(seen.clamp_min(0).reshape(len(seen), *maps.activations.shape[2:]))


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("eigen_cam", explain, gradient=False, layers=True)
