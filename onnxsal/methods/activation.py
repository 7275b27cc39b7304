"""Activations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, layer: Sequence[str]) -> Feeds:
    """What the values of a layer are, whatever is explained; needs --layer."""
    return score.layer(*layer).activations(feeds)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("activation", explain, gradient=False, layers=True, through=True)
