"""Blur Integrated Gradients."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.baselines.blur import blurred
from onnxsal.entries import Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, sigma: float = 50.0, steps: int = 50) -> Feeds:
    """The gradient along the way from the blurred input to the sharp one, with no baseline that adds its own edges.

    The attributions sum to the score less that of the most blurred input, up to the error of the steps. Xu,
    Venugopalan and Sundararajan 2020, Attribution in Scale and Space (arXiv 2004.03383).

    Args:
        sigma: Standard deviation of the strongest blur, in pixels or samples.
        steps: How many gradients are taken.
    """
    import torch

    if steps < 1 or sigma <= 0:
        raise UsageError(
            f"steps={steps} and sigma={sigma} describe no way", where="blur_ig", hint="both are greater than 0"
        )
    widths = [sigma * (1 - step / steps) for step in range(steps + 1)]
    path = {name: torch.stack([blurred(value, w) for w in widths]) for name, value in feeds.items()}
    gradients = score.gradients({name: ((p[1:] + p[:-1]) / 2).flatten(0, 1) for name, p in path.items()})
    return {name: (gradients[name].unflatten(0, (steps, -1)) * p.diff(dim=0)).sum(0) for name, p in path.items()}


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("blur_ig", explain)
