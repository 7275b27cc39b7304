"""Conductance of a neuron."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import ZERO, Baseline, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._straight import Even, even, rows_at, weighted
from onnxsal.types import Feeds, Score


def explain(
    score: Score,
    feeds: Feeds,
    *,
    neuron: str = "",
    baseline: Baseline = ZERO,
    steps: int = 50,
    quadrature: Even = "gausslegendre",
) -> Feeds:
    """How much of the score's change from a baseline each input brings about through one neuron; needs --neuron.

    Integrated gradients, of which only the part counts that flows through the neuron. Dhamdhere, Sundararajan and Yan
    2018, How Important Is a Neuron? (arXiv 1805.12233).

    Args:
        neuron: A number inside the graph, such as conv1[3,5,5]; there has to be one.
        baseline: Where the inputs' way starts: a number, the name of a baseline, or a file.
        steps: How many points on the way the gradient is taken at.
        quadrature: Which points, and with which weights.
    """
    if not neuron:
        raise UsageError(
            "it explains a score through one neuron, and none is named",
            where="--neuron",
            hint="say --neuron 'LAYER[INDEX]'; `onnxsal inspect` names the layers",
        )
    ways = {name: value - baseline[name] for name, value in feeds.items()}
    points, weights = even(quadrature, steps, feeds)
    rows = rows_at(points, baseline, ways)
    inner = score.neuron(neuron)
    pulls = inner.pulls(rows).reshape(weights.shape)
    moves = inner.score.gradients(rows)
    return {name: way * weighted(weights.to(pulls) * pulls, moves[name]) for name, way in ways.items()}


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("neuron_conductance", explain)
