"""LayerCAM."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import feature_maps
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, layer: str = "") -> Feeds:
    """Where a layer's feature maps raise the score: each value times its own gradient, where that is positive.

    It stays sharp at early layers, whose places are finer. Jiang et al. 2021, LayerCAM: Exploring Hierarchical Class
    Activation Maps for Localization (IEEE Transactions on Image Processing 30).

    Args:
        layer: The ONNX value or node to look at; empty: the last feature maps before the score.
    """
    maps = feature_maps(score, feeds, layer)
    return maps.weighted(maps.gradients.clamp_min(0), relu=True)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("layer_cam", explain)
