"""HSIC attribution."""

from __future__ import annotations

from collections.abc import Iterable
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
    score: Score, feeds: Feeds, *, baselines: Baselines = ZERO, features: Features = AUTO, samples: int = 1500
) -> Feeds:
    """How far the score depends on whether each feature is there, in whatever way: the Hilbert-Schmidt criterion.

    The dependence of the score, under a Gaussian kernel as wide as its median distance, on the presence of a feature in
    random halves of the input. It has no sign; every element shows its feature's. Novello, Fel and Vigouroux 2022,
    Making Sense of Dependence: Efficient Black-box Explanations Using Dependence Measure (arXiv 2206.06219).

    Args:
        baselines: What absent features look like: a number, the name of a baseline, or a file; of several, the mean.
        features: What comes and goes together: the name of a mask, or a file of labels.
        samples: How many random halves.
    """
    if samples < 2:
        raise UsageError(f"samples={samples} is too few", where="hsic", hint="1500 is usual")
    game = Game(score, feeds, baselines, features)
    kept = game.aligned(lambda count: _halves(count, samples, score))
    return game.shown(dependence(kept.double(), game(kept).cpu().double()))


def _halves(count: int, samples: int, score: Score) -> Tensor:
    """Return coalitions in which each feature is there in every second one, at random (a Latin hypercube, cut)."""
    import torch

    ranks = torch.rand(samples, count, generator=score.generator()).argsort(0)
    return ranks % 2 == 0


def dependence(there: Tensor, scores: Tensor) -> Tensor:
    """Return the criterion of each feature, shape [examples, features].

    Two presences are alike or not, so that their centred kernel is twice the product of the centred presences.
    """
    import torch

    centred = there - there.mean(0)
    found = []
    for example, values in enumerate(scores.T):
        distances = (values[:, None] - values).square()
        width = distances[~torch.eye(len(values), dtype=torch.bool)].median()
        likeness = torch.where(width > 0, (-distances / (2 * width)).exp(), (distances == 0).double())
        own = centred[:, min(example, centred.shape[1] - 1)]
        found.append(2 * (own * (likeness @ own)).sum(0) / (len(values) - 1) ** 2)
    return torch.stack(found)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("hsic", explain, gradient=False)
