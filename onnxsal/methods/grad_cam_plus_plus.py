"""Grad-CAM++."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._cam import feature_maps
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, layer: str = "", relu: bool = True) -> Feeds:
    """Grad-CAM that counts every place where a feature map speaks for the score, so that each of several is seen.

    Up to the positive factor exp(score), which the paper's choice of score brings in, and which changes no picture.
    Chattopadhay et al. 2017, Grad-CAM++ (arXiv 1710.11063).

    Args:
        layer: The ONNX value or node to look at; empty: the last feature maps before the score.
        relu: Show only what speaks for the score.
    """
    import torch

    maps = feature_maps(score, feeds, layer)
    gradients = maps.gradients
    places = tuple(range(2, gradients.ndim))
    # The paper's g² / (2 g² + sum(A) g³) with g² cancelled, so that small gradients do not vanish in the squares.
    scale = 2 + maps.activations.sum(places, keepdim=True) * gradients
    shares = torch.where((gradients != 0) & (scale != 0), 1 / scale, 0)
    return maps.weighted((shares * gradients.clamp_min(0)).sum(places, keepdim=True), relu)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("grad_cam_plus_plus", explain)
