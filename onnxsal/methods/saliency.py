"""Saliency: the reference plugin."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, abs: bool = True) -> Feeds:
    """How much the score moves with each part of the input: its gradient.

    Simonyan, Vedaldi and Zisserman 2013, Deep Inside Convolutional Networks (arXiv 1312.6034).

    Args:
        abs: Give the gradient's size without its sign.
    """
    gradients = score.gradients(feeds)
    return {name: gradient.abs() if abs else gradient for name, gradient in gradients.items()}


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("saliency", explain)
