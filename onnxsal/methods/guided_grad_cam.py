"""Guided Grad-CAM."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods import guided_backprop
from onnxsal.methods._cam import feature_maps, per_channel
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, layer: str = "") -> Feeds:
    """The fine edges of guided backpropagation, where Grad-CAM says that they count.

    Selvaraju et al. 2016, Grad-CAM: Visual Explanations from Deep Networks (arXiv 1610.02391).

    Args:
        layer: The ONNX value or node to look at; empty: the last feature maps before the score.
    """
    maps = feature_maps(score, feeds, layer)
    places = maps.weighted(per_channel(maps.gradients), relu=True)
    edges = guided_backprop.explain(score, feeds)
    return {name: edges[name] * places[name] for name in feeds}


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("guided_grad_cam", explain)
