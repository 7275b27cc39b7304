"""Shapley values, sampled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from onnxsal.entries import AUTO, Baselines, Features, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._game import Game
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

ZERO = Baselines("zero")
ROWS = 1024


def explain(
    score: Score, feeds: Feeds, *, baselines: Baselines = ZERO, features: Features = AUTO, samples: int = 25
) -> Feeds:
    """What each feature adds to the score, in the mean over random orders in which the features come.

    Every second order is the one before it backwards, which cancels much of the chance. The attributions sum to the
    score's difference whatever the sample; the elements of a feature share its value evenly. Castro, Gómez and Tejada
    2009, Polynomial Calculation of the Shapley Value Based on Sampling; Mitchell et al. 2022 (arXiv 2104.12199).

    Args:
        baselines: What absent features look like: a number, the name of a baseline, or a file; of several, the mean.
        features: What comes and goes together: the name of a mask, or a file of labels.
        samples: How many orders; each runs the model once a feature.
    """
    if samples < 1:
        raise UsageError(f"samples={samples} is too few", where="shapley_sampling", hint="25 is usual")
    game = Game(score, feeds, baselines, features)
    return game.shared(game.weighed(lambda count: joining(orders(score, count, samples))))


def orders(score: Score, count: int, samples: int) -> list[Tensor]:
    """Return random orders of so many features, every second the reverse of the one before."""
    import torch

    generator = score.generator()
    drawn = [torch.randperm(count, generator=generator) for _ in range(0, samples, 2)]
    return [order for forth in drawn for order in (forth, forth.flip(0))][:samples]


def joining(taken: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what is there before each feature joins, and what its score weighs: for the last to come, against the next.

    The empty and the whole input are the ends of every order, and come once.
    """
    import torch

    count = len(taken[0])
    marks = torch.eye(count, dtype=torch.float64) / len(taken)
    for order in taken:
        rank = order.argsort()
        for start in range(1, count, ROWS):
            steps = torch.arange(start, min(start + ROWS, count))
            yield rank < steps[:, None], marks[order[steps - 1]] - marks[order[steps]]
    first, last = (marks[torch.stack([order[end] for order in taken])].sum(0) for end in (0, -1))
    yield torch.arange(2)[:, None].expand(-1, count) == 1, torch.stack([-first, last])


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("shapley_sampling", explain, complete=True, gradient=False)
