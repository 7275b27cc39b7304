"""Internal Influence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnxsal.entries import ZERO, Baseline, Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._straight import Even, even, rows_at, weighted
from onnxsal.types import Feeds, Score


def explain(
    score: Score,
    feeds: Feeds,
    layer: Sequence[str],
    *,
    baseline: Baseline = ZERO,
    steps: int = 50,
    quadrature: Even = "gausslegendre",
) -> Feeds:
    """How the score moves with each value of a layer, on average from a baseline to the input; needs --layer.

    Leino et al. 2018, Influence-Directed Explanations for Deep Convolutional Networks (arXiv 1802.03788).

    Args:
        baseline: Where the inputs' way starts: a number, the name of a baseline, or a file.
        steps: How many points on the way the gradient is taken at.
        quadrature: Which points, and with which weights.
    """
    points, weights = even(quadrature, steps, feeds)
    rows = rows_at(points, baseline, {name: value - baseline[name] for name, value in feeds.items()})
    return {name: weighted(weights, slopes) for name, slopes in score.layer(*layer).gradients(rows).items()}


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("internal_influence", explain, through=True)
