"""Score-CAM."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import Maps, beside_places, by_channels, feature_maps
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor


def explain(score: Score, feeds: Feeds, *, layer: str = "") -> Feeds:
    """Where a layer's feature maps are strong, each map counted by the score of the input seen through it.

    It runs the model once per channel and takes no gradients. Wang et al. 2019, Score-CAM (arXiv 1910.01279).

    Args:
        layer: The ONNX value or node to look at; empty: the last feature maps before the score.
    """
    maps = feature_maps(score, feeds, layer)
    scores = by_channels(maps, lambda some: maps.scores_under(_masks(maps, some)))
    return maps.weighted(beside_places(scores.softmax(1), maps), relu=True)


def _masks(maps: Maps, channels: range) -> Tensor:
    """Return some feature maps at the input's size, each stretched to reach from 0 to 1; a flat one hides all."""
    import torch

    large = maps.resampled(maps.activations[:, channels.start : channels.stop])
    places = tuple(range(2, large.ndim))
    low, high = large.amin(places, keepdim=True), large.amax(places, keepdim=True)
    return torch.where(high > low, (large - low) / (high - low), 0)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("score_cam", explain, gradient=False, layers=True)
