"""Feature ablation."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import AUTO, Baselines, Features, Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._game import Game, each_without
from onnxsal.types import Feeds, Score

ZERO = Baselines("zero")


def explain(score: Score, feeds: Feeds, *, baselines: Baselines = ZERO, features: Features = AUTO) -> Feeds:
    """What the score loses without each feature: replaced by a baseline, all others left as they are.

    Every element shows the number of its feature. It runs the model once a feature. Zeiler and Fergus 2014, Visualizing
    and Understanding Convolutional Networks (arXiv 1311.2901).

    Args:
        baselines: What replaces a feature: a number, the name of a baseline, or a file; of several, the mean loss.
        features: What is replaced together: the name of a mask, or a file of labels.
    """
    game = Game(score, feeds, baselines, features)
    return game.shown(game.weighed(each_without))


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("feature_ablation", explain, gradient=False)
