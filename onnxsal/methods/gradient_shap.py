"""Gradient SHAP, also known as expected gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Baselines, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

ZERO = Baselines("zero")


def explain(score: Score, feeds: Feeds, *, baselines: Baselines = ZERO, samples: int = 50, noise: float = 0.0) -> Feeds:
    """The gradient at random points on the ways from many baselines to the input, times the way, on average.

    In expectation these are the integrated gradients from every baseline. The places on the way are spread evenly and
    drawn within their spread. Lundberg and Lee 2017, A Unified Approach to Interpreting Model Predictions (arXiv
    1705.07874); Erion et al. 2019, Expected Gradients (arXiv 1906.10670).

    Args:
        baselines: What the input is compared with: a file of many examples, a number, or the name of a baseline.
        samples: How many points for each example.
        noise: Standard deviation of noise added to the input, in the input's own unit.
    """
    import torch

    if samples < 1:
        raise UsageError(f"samples={samples} leaves nothing to average", where="gradient_shap", hint="50 is usual")
    which, places = _drawn(score, feeds, samples, len(next(iter(baselines.values()))))
    examples = torch.arange(next(iter(feeds.values())).shape[0])
    ends = _noisy(score, feeds, samples, noise)
    starts = {name: several[which, examples] for name, several in baselines.items()}
    ways = {name: ends[name] - start for name, start in starts.items()}
    points = {name: starts[name] + _beside(places, way) * way for name, way in ways.items()}
    gradients = score.gradients({name: value.flatten(0, 1) for name, value in points.items()})
    return {name: (way * gradients[name].reshape(way.shape)).mean(0) for name, way in ways.items()}


def _drawn(score: Score, feeds: Feeds, samples: int, count: int) -> tuple[Tensor, Tensor]:
    """Return which baseline each point starts from, and its place on the way, each of shape [samples, examples]."""
    import torch

    numbers = score.uniform(feeds, 2 * samples).T
    which = (numbers[:samples] * count).long().clamp_max(count - 1)  # in single precision a number may round up to 1
    return which, (torch.arange(samples).unsqueeze(1) + numbers[samples:]) / samples


def _noisy(score: Score, feeds: Feeds, samples: int, noise: float) -> Feeds:
    """Return the feeds once for every sample, shape [samples, *feed]."""
    import torch

    if not noise:
        return {name: value.expand(samples, *value.shape) for name, value in feeds.items()}
    draws = [score.normal(feeds, draw) for draw in range(1, samples + 1)]  # draw 0 decided the points
    return {name: torch.stack([value + noise * draw[name] for draw in draws]) for name, value in feeds.items()}


def _beside(places: Tensor, ways: Tensor) -> Tensor:
    return places.to(ways.device, ways.dtype).reshape(*places.shape, *[1] * (ways.ndim - 2))


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("gradient_shap", explain)
