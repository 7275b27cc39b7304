"""KernelSHAP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

from onnxsal.entries import AUTO, Baselines, Features, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._game import Game
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Generator, Tensor

ZERO = Baselines("zero")


def explain(
    score: Score, feeds: Feeds, *, baselines: Baselines = ZERO, features: Features = AUTO, samples: int = 2048
) -> Feeds:
    """Shapley values as the additive model that fits the scores of coalitions best, big and small ones counting most.

    Exact where the sample holds every subset. Sizes of coalitions are taken whole, from the smallest and the largest
    on, as far as the sample reaches; of the rest, pairs of opposites are drawn. The attributions sum to the score's
    difference whatever the sample; the elements of a feature share its value evenly. Lundberg and Lee 2017, A Unified
    Approach to Interpreting Model Predictions (arXiv 1705.07874); Covert and Lee 2021 (arXiv 2012.01536).

    Args:
        baselines: What absent features look like: a number, the name of a baseline, or a file; of several, the mean.
        features: What comes and goes together: the name of a mask, or a file of labels.
        samples: How many coalitions, at least two for each feature.
    """
    game = Game(score, feeds, baselines, features)
    if samples < 2 * max(game.counts):
        raise UsageError(
            f"samples={samples} is too few for {max(game.counts)} features",
            where="kernel_shap",
            hint=f"give at least {2 * max(game.counts)}, or cut the input into fewer features",
        )
    return game.shared(game.weighed(lambda count: regression(count, samples, score.generator())))


def regression(count: int, samples: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield coalitions, and what their scores weigh in the fit that sums to the score's difference."""
    import torch

    ends = torch.arange(2)[:, None].expand(-1, count) == 1
    if count == 1:
        yield ends, torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        return
    kept, counted = coalitions(count, samples, generator)
    there = kept.double()
    weighted = there * counted[:, None]
    inverse = torch.linalg.inv(weighted.T @ there)
    even = inverse.sum(0) / inverse.sum()
    fit = weighted @ inverse
    fit = fit - fit.sum(1, keepdim=True) * even
    yield kept, fit
    yield ends, torch.stack([-even - fit.sum(0), even])


def coalitions(count: int, samples: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return coalitions that are neither empty nor whole, and how much each counts."""
    import torch

    mass = {size: (count - 1) / (size * (count - size)) for size in range(1, count)}
    tables, counted, left = [], [], samples
    for size in range(1, count // 2 + 1):
        sizes = {size, count - size}
        number = sum(comb(count, s) for s in sizes)
        share = sum(mass[s] for s in sizes) / sum(mass.values())
        if size > 1 and number > left * share and 2**count - 2 > samples:
            break
        for s in sizes:
            tables.append(_of_size(count, s))
            counted.append(torch.full((comb(count, s),), mass.pop(s) / comb(count, s), dtype=torch.float64))
        left -= number
    if mass and left > 1:
        drawn = _drawn(count, mass, left // 2, generator)
        tables.append(torch.cat([drawn, ~drawn]))
        counted.append(torch.full((2 * len(drawn),), sum(mass.values()) / (2 * len(drawn)), dtype=torch.float64))
    return torch.cat(tables), torch.cat(counted)


def _of_size(count: int, size: int) -> Tensor:
    """Return all coalitions of a size."""
    import torch

    members = torch.tensor(list(combinations(range(count), size)))
    return torch.zeros(len(members), count, dtype=torch.bool).scatter(1, members, True)


def _drawn(count: int, mass: dict[int, float], number: int, generator: Generator) -> Tensor:
    """Return coalitions drawn at random: their size by its mass, their members evenly."""
    import torch

    chances = torch.tensor(list(mass.values()), dtype=torch.float64)
    sizes = torch.tensor(list(mass))[torch.multinomial(chances, number, replacement=True, generator=generator)]
    ranks = torch.rand(number, count, generator=generator).argsort(1).argsort(1)
    return ranks < sizes[:, None]


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("kernel_shap", explain, complete=True, gradient=False)
