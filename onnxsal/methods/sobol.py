"""Sobol attribution."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import AUTO, Baselines, Features, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._game import Game
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Generator, Tensor

ZERO = Baselines("zero")
MOST = 10_000
"""For no more features are there enough directions of the Sobol sequence."""


def explain(
    score: Score, feeds: Feeds, *, baselines: Baselines = ZERO, features: Features = AUTO, samples: int = 32
) -> Feeds:
    """How much of the score's variance each feature has a part in, by itself and with others, when all are blended.

    The total Sobol indices, by Jansen's estimator, of the parts to which features are mixed with a baseline. They have
    no sign; every element shows its feature's. It runs the model samples times two more than there are features. Fel
    et al. 2021, Look at the Variance! Efficient Black-box Explanations with Sobol-based Sensitivity Analysis
    (arXiv 2111.04138).

    Args:
        baselines: What features are blended with: a number, the name of a baseline, or a file; of several, the mean.
        features: What is blended together: the name of a mask, or a file of labels.
        samples: How many blends are varied in each feature; powers of two spread best.
    """
    import torch

    game = Game(score, feeds, baselines, features)
    if samples < 2 or max(game.counts) > MOST:
        raise UsageError(
            f"samples={samples} for {max(game.counts)} features",
            where="sobol",
            hint=f"give at least two samples, and cut the input into no more than {MOST} features",
        )
    scores = game(game.aligned(lambda count: blends(count, samples, score.generator())))
    first, _, *swapped = scores.cpu().double().split(samples)
    moved = (torch.stack(swapped) - first).square().mean(1) / 2
    spread = first.var(0, correction=0)
    return game.shown((moved / spread.where(spread > 0, spread.new_ones(()))).T)


def blends(count: int, samples: int, generator: Generator) -> Tensor:
    """Return two samples of blends, and for each feature the first with this feature's column from the second."""
    import torch

    points = torch.quasirandom.SobolEngine(2 * count).draw(samples)
    points = (points + torch.rand(2 * count, generator=generator)) % 1
    first, second = points[:, 0::2], points[:, 1::2]
    swapped = torch.where(torch.eye(count, dtype=torch.bool)[:, None], second, first)
    return torch.cat([first, second, swapped.flatten(0, 1)])


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("sobol", explain, gradient=False)
