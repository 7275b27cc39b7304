"""HiResCAM."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import feature_maps
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, layer: str = "", relu: bool = True) -> Feeds:
    """Where a layer's feature maps move the score: each value times its own gradient.

    Draelos and Carin 2020, Use HiResCAM instead of Grad-CAM (arXiv 2011.08891).

    Args:
        layer: The ONNX value or node to look at; empty: the last feature maps before the score.
        relu: Show only what speaks for the score.
    """
    maps = feature_maps(score, feeds, layer)
    return maps.weighted(maps.gradients, relu)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("hires_cam", explain)
