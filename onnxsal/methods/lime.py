"""LIME."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from onnxsal.entries import AUTO, Baselines, Features, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._game import Game
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

ZERO = Baselines("zero")


def explain(
    score: Score,
    feeds: Feeds,
    *,
    baselines: Baselines = ZERO,
    features: Features = AUTO,
    samples: int = 1000,
    width: float = 0.25,
    ridge: float = 1.0,
) -> Feeds:
    """The weights of the linear model that fits the score best near the input, where about half of it is there.

    Coalitions count by their likeness to the whole, the cosine between the two. Every element shows the weight of its
    feature. Ribeiro, Singh and Guestrin 2016, "Why Should I Trust You?" (arXiv 1602.04938).

    Args:
        baselines: What absent features look like: a number, the name of a baseline, or a file; of several, the mean.
        features: What comes and goes together: the name of a mask, or a file of labels.
        samples: How many coalitions.
        width: How near is near: the kernel's width, in cosine distance.
        ridge: How strongly the weights are held towards zero.
    """
    if samples < 2 or width <= 0 or ridge <= 0:
        raise UsageError(
            f"samples={samples}, width={width}, ridge={ridge} fit no model",
            where="lime",
            hint="give at least two samples, and a width and a ridge above zero",
        )
    game = Game(score, feeds, baselines, features)

    def design(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        import torch

        kept = torch.rand(samples, count, generator=score.generator()) < 0.5
        kept[0] = True
        yield kept, regression(kept.double(), nearness(kept, width), ridge)

    return game.shown(game.weighed(design))


def nearness(kept: Tensor, width: float) -> Tensor:
    """Return how much each coalition counts, by its cosine distance from the whole."""
    distance = 1 - kept.double().mean(1).sqrt()
    return (-((distance / width) ** 2) / 2).exp()


def regression(there: Tensor, counted: Tensor, ridge: float) -> Tensor:
    """Return what each score weighs in the coefficients of a weighted ridge regression with an intercept."""
    import torch

    centred = there - (counted @ there) / counted.sum()
    weighted = centred * counted[:, None]
    return torch.linalg.solve(weighted.T @ centred + ridge * torch.eye(there.shape[1]), weighted.T).T


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("lime", explain, gradient=False)
