"""SmoothTaylor for onnxsal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal import hookimpl
from onnxsal.entries import Method
from onnxsal.errors import UsageError
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor


def explain(score: Score, feeds: Feeds, *, samples: int = 25, noise: float = 0.15) -> Feeds:
    """The gradient at noisy copies of the input, times the way from there, on average.

    Goh et al. 2020, Understanding Integrated Gradients with SmoothTaylor (arXiv 2004.10484).

    Args:
        samples: How many noisy copies.
        noise: The noise's standard deviation, as a part of the way from an example's least to its greatest value.
    """
    import torch

    if samples < 1:
        raise UsageError(f"samples={samples} leaves nothing to average", where="smoothtaylor", hint="25 is usual")
    draws = [score.normal(feeds, draw) for draw in range(samples)]
    ways = {n: torch.cat([-noise * spread(x) * draw[n] for draw in draws]) for n, x in feeds.items()}
    gradients = score.gradients({n: feeds[n].repeat(samples, *[1] * (w.ndim - 1)) - w for n, w in ways.items()})
    return {n: (w * gradients[n]).unflatten(0, (samples, -1)).mean(0) for n, w in ways.items()}


def spread(values: Tensor) -> Tensor:
    """Return each example's greatest value minus its least, shaped to multiply the examples."""
    rows = values.reshape(len(values), -1)
    return (rows.amax(1) - rows.amin(1)).reshape(-1, *[1] * (values.ndim - 1))


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("smoothtaylor", explain)
