"""Random numbers of metrics: by example, and others than those that methods and baselines draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from onnxsal.errors import UsageError
from onnxsal.types import Explanation, Feeds

if TYPE_CHECKING:
    from torch import Generator, Tensor

FIRST_DRAW = -2
"""Methods draw from 0 up, baselines -1, metrics from here down."""


def drawn(explanation: Explanation, draw: Callable[[Generator], Tensor]) -> Tensor:
    """Return what is drawn for each example, examples on axis 1."""
    import torch

    generators = explanation.score.generators(explanation.feeds, FIRST_DRAW)
    device = next(iter(explanation.feeds.values())).device
    return torch.stack([draw(generator) for generator in generators], dim=1).to(device)


def gaussian(explanation: Explanation, noise: float, samples: int) -> Feeds:
    """Return noise for ``samples`` copies of the examples, its deviation a part of the examples' scale."""
    import torch

    score, feeds = explanation.score, explanation.feeds
    draws = [score.normal(feeds, FIRST_DRAW - sample) for sample in range(samples)]
    return {name: torch.cat([noise * _scale(value) * draw[name] for draw in draws]) for name, value in feeds.items()}


def uniform(explanation: Explanation, radius: float, samples: int) -> Feeds:
    """Return noise for ``samples`` copies of the examples, up to a part of the examples' scale either way."""
    import torch

    def draw(generator: Generator) -> Tensor:
        return torch.rand(samples, sum(sizes), generator=generator, dtype=torch.float64)

    feeds = explanation.feeds
    sizes = [value[0].numel() for value in feeds.values()]
    numbers = dict(zip(feeds, (2 * drawn(explanation, draw) - 1).split(sizes, dim=2), strict=True))
    return {
        name: (radius * _scale(value) * numbers[name].to(value.dtype).reshape(samples, *value.shape)).flatten(0, 1)
        for name, value in feeds.items()
    }


def _scale(value: Tensor) -> Tensor:
    """Return what noise is a part of: each example's range; in a table, where columns differ in unit, each number."""
    if value.ndim == 2:
        return value.abs()
    rows = value.reshape(len(value), -1)
    return (rows.amax(1) - rows.amin(1)).reshape(-1, *[1] * (value.ndim - 1))


def check_count(count: int, name: str, where: str, least: int = 1) -> None:
    """Refuse a number of samples or steps that leaves nothing to measure.

    Raises:
        UsageError: it is less than the least.
    """
    if count < least:
        raise UsageError(f"{name}={count} leaves nothing to measure", where=where, hint=f"{least} or more")


def check_part(part: float, name: str, where: str) -> None:
    """Refuse a part that is none.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if not 0 < part <= 1:
        raise UsageError(f"{name}={part} is no part of the whole", where=where, hint="more than 0, at most 1")
