"""Recipro-CAM."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import by_places, feature_maps
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, layer: str = "", blur: bool = True) -> Feeds:
    """What each place of a layer is worth by itself: the score of the layer seen there only, from 0 to 1.

    It runs the rest of the model once per place and takes no gradients. Class tokens stay. Byun and Lee 2022,
    Recipro-CAM (arXiv 2209.14074).

    Args:
        layer: The ONNX value or node to look at; empty: the last feature maps before the score.
        blur: See each place with its neighbours, less of them the farther they are.
    """
    import torch

    maps = feature_maps(score, feeds, layer)
    worth = by_places(maps, blur)
    places = tuple(range(1, worth.ndim))
    low, high = worth.amin(places, keepdim=True), worth.amax(places, keepdim=True)
    return maps.over_input(torch.where(high > low, (worth - low) / (high - low), 0))


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("recipro_cam", explain, gradient=False, layers=True)
