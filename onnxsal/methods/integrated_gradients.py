"""Integrated Gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from onnxsal.entries import ZERO, Baseline, Method
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds, Score

Quadrature = Literal["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]


def explain(
    score: Score, feeds: Feeds, *, baseline: Baseline = ZERO, steps: int = 50, quadrature: Quadrature = "gausslegendre"
) -> Feeds:
    """The gradient along the straight way from a baseline to the input, times that way.

    The attributions sum to the difference of the two scores, up to the error of the quadrature. Sundararajan, Taly and
    Yan 2017, Axiomatic Attribution for Deep Networks (arXiv 1703.01365).

    Args:
        baseline: Where the way starts: a number, the name of a baseline, or a file.
        steps: How many points on the way the gradient is taken at.
        quadrature: Which points, and with which weights.
    """
    import torch

    points, weights = nodes(quadrature, steps)
    ways = {name: value - baseline[name] for name, value in feeds.items()}
    stacked = {name: torch.cat([baseline[name] + p * way for p in points]) for name, way in ways.items()}
    gradients = score.gradients(stacked)
    return {
        name: way * torch.tensordot(way.new_tensor(weights), gradients[name].reshape(steps, *way.shape), dims=1)
        for name, way in ways.items()
    }


def nodes(quadrature: Quadrature, steps: int) -> tuple[list[float], list[float]]:
    """Return points in [0, 1] and their weights, which sum to 1."""
    import numpy as np

    from onnxsal.errors import UsageError

    if steps < (2 if quadrature == "riemann_trapezoid" else 1):
        raise UsageError(f"steps={steps} is too few", where="integrated_gradients", hint="50 is usual")
    even = np.full(steps, 1 / steps)
    match quadrature:
        case "riemann_left":
            points, weights = np.arange(steps) / steps, even
        case "riemann_right":
            points, weights = np.arange(1, steps + 1) / steps, even
        case "riemann_middle":
            points, weights = (np.arange(steps) + 0.5) / steps, even
        case "riemann_trapezoid":
            points, weights = np.linspace(0, 1, steps), np.full(steps, 1 / (steps - 1))
            weights[[0, -1]] /= 2
        case _:
            points, weights = np.polynomial.legendre.leggauss(steps)
            points, weights = (points + 1) / 2, weights / 2
    return points.tolist(), weights.tolist()


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("integrated_gradients", explain, complete=True)
