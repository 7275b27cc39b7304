"""Integrated Decision Gradients."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import ZERO, Baseline, Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._straight import Quadrature, line
from onnxsal.types import Feeds, Score


def explain(
    score: Score, feeds: Feeds, *, baseline: Baseline = ZERO, steps: int = 50, quadrature: Quadrature = "adaptive"
) -> Feeds:
    """Integrated gradients that count most where the decision falls: each times how fast the score rises there.

    Walker et al. 2023, Integrated Decision Gradients: Compute Your Attributions Where the Model Makes Its Decision
    (arXiv 2305.20052).

    Args:
        baseline: Where the way starts: a number, the name of a baseline, or a file.
        steps: How many points on the way the gradient is taken at.
        quadrature: Which points, and with which weights; adaptive adds them where the gradients differ.
    """
    way = line(score, feeds, baseline, steps, quadrature)
    return way.total(way.rises())


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("idg", explain)
