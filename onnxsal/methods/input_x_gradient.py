"""Input x Gradient."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds) -> Feeds:
    """What each part of the input contributes were the model linear: the input times its gradient.

    Shrikumar et al. 2016, Not Just a Black Box (arXiv 1605.01713).
    """
    return {name: feeds[name] * gradient for name, gradient in score.gradients(feeds).items()}


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("input_x_gradient", explain)
