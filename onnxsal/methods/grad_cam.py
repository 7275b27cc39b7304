"""Grad-CAM."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import feature_maps, per_channel
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, layer: str = "", relu: bool = True) -> Feeds:
    """Where a layer's feature maps are strong, each map counted by its mean gradient.

    Selvaraju et al. 2016, Grad-CAM: Visual Explanations from Deep Networks (arXiv 1610.02391).

    Args:
        layer: The ONNX value or node to look at; empty: the last feature maps before the score.
        relu: Show only what speaks for the score.
    """
    maps = feature_maps(score, feeds, layer)
    return maps.weighted(per_channel(maps.gradients), relu)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("grad_cam", explain)
