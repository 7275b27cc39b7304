"""Ablation-CAM."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import beside_places, by_channels, feature_maps
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, layer: str = "", relu: bool = True) -> Feeds:
    """Where a layer's feature maps are strong, each map counted by what the score loses without it.

    It runs the rest of the model once per channel and takes no gradients. The loss is a part of the score's size, so
    that it keeps its sign where the score is negative. Desai and Ramaswamy 2020, Ablation-CAM (WACV).

    Args:
        layer: The ONNX value or node to look at; empty: the last feature maps before the score.
        relu: Show only what speaks for the score.
    """
    import torch

    maps = feature_maps(score, feeds, layer)
    whole = score(feeds).unsqueeze(1)
    lost = whole - by_channels(maps, maps.scores_without)
    parts = torch.where(whole != 0, lost / whole.abs(), lost)
    return maps.weighted(beside_places(parts, maps), relu)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("ablation_cam", explain, gradient=False, layers=True)
