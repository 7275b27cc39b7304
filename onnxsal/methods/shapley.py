"""Shapley values, exact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import factorial
from typing import TYPE_CHECKING

from onnxsal.entries import Baselines, Features, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._game import Game
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

ZERO = Baselines("zero")
FEW = Features("auto:9")
ROWS = 4096


def explain(
    score: Score, feeds: Feeds, *, baselines: Baselines = ZERO, features: Features = FEW, passes: int = 1 << 16
) -> Feeds:
    """What each feature adds to the score, in the mean over all orders in which the features may come.

    It runs the model for every subset of the features, and is exact. The elements of a feature share its value evenly.
    Shapley 1953, A Value for n-Person Games.

    Args:
        baselines: What absent features look like: a number, the name of a baseline, or a file; of several, the mean.
        features: What comes and goes together: the name of a mask, or a file of labels.
        passes: How many runs of the model are accepted for one example; each feature doubles them.
    """
    game = Game(score, feeds, baselines, features)
    most = max(game.counts)
    if 2**most > passes:
        raise UsageError(
            f"{most} features have 2^{most} subsets, more than passes={passes}",
            where="shapley",
            hint="cut the input into fewer features, or use kernel_shap or shapley_sampling, which take a sample",
        )
    return game.shared(game.weighed(subsets))


def subsets(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every subset of the features, and its weight in each one's Shapley value."""
    import torch

    joins = [factorial(n) * factorial(count - n - 1) / factorial(count) for n in range(count)]
    present = torch.tensor([0.0, *joins], dtype=torch.float64)
    absent = torch.tensor([*joins, 0.0], dtype=torch.float64)
    for start in range(0, 2**count, ROWS):
        numbers = torch.arange(start, min(start + ROWS, 2**count))[:, None]
        kept = numbers >> torch.arange(count) & 1 == 1
        sizes = kept.sum(1, keepdim=True)
        yield kept, torch.where(kept, present[sizes], -absent[sizes])


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("shapley", explain, complete=True, gradient=False)
