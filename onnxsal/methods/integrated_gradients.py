"""Integrated Gradients."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import ZERO, Baseline, Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._straight import Quadrature, line
from onnxsal.types import Feeds, Score


def explain(
    score: Score, feeds: Feeds, *, baseline: Baseline = ZERO, steps: int = 50, quadrature: Quadrature = "gausslegendre"
) -> Feeds:
    """The gradient along the straight way from a baseline to the input, times that way.

    The attributions sum to the difference of the two scores, up to the error of the quadrature. Sundararajan, Taly and
    Yan 2017, Axiomatic Attribution for Deep Networks (arXiv 1703.01365).

    Args:
        baseline: Where the way starts: a number, the name of a baseline, or a file.
        steps: How many points on the way the gradient is taken at.
        quadrature: Which points, and with which weights; adaptive adds them where the gradients differ.
    """
    return line(score, feeds, baseline, steps, quadrature).total()


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("integrated_gradients", explain, complete=True)
