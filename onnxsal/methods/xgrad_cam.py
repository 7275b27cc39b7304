"""XGrad-CAM."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import feature_maps
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, layer: str = "", relu: bool = True) -> Feeds:
    """Grad-CAM with each feature map's gradient averaged by where the map is active.

    Fu et al. 2020, Axiom-based Grad-CAM (arXiv 2008.02312).

    Args:
        layer: The ONNX value or node to look at; empty: the last feature maps before the score.
        relu: Show only what speaks for the score.
    """
    import torch

    maps = feature_maps(score, feeds, layer)
    activations = maps.activations
    places = tuple(range(2, activations.ndim))
    total = activations.sum(places, keepdim=True)
    moved = (maps.gradients * activations).sum(places, keepdim=True)
    return maps.weighted(torch.where(total != 0, moved / total, 0), relu)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("xgrad_cam", explain)
