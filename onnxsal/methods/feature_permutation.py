"""Feature permutation."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import AUTO, Features, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._game import Game, each_without
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, *, features: Features = AUTO, samples: int = 10) -> Feeds:
    """What the score loses when each feature is another example's: the mean over the other examples of the call.

    Alone among the methods it compares the examples with each other. Every element shows the number of its feature.
    Fisher, Rudin and Dominici 2019, All Models are Wrong, but Many are Useful (arXiv 1801.01489).

    Args:
        features: What is exchanged together: the name of a mask, or a file of labels.
        samples: From how many of the others each feature is taken, one after the other; all where there are fewer.
    """
    import torch

    examples = len(next(iter(feeds.values())))
    if examples < 2 or samples < 1:
        raise UsageError(
            "one example has nobody to exchange features with" if examples < 2 else f"samples={samples} is too few",
            where="feature_permutation",
            hint="explain several examples at once, or use feature_ablation with baselines=FILE, the rows to take from",
        )
    shifts = torch.arange(1, examples)[:samples].tolist()
    others = {name: torch.stack([value.roll(shift, 0) for shift in shifts]) for name, value in feeds.items()}
    game = Game(score, feeds, others, features)
    return game.shown(game.weighed(each_without))


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("feature_permutation", explain, gradient=False)
