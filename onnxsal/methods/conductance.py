"""Conductance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnxsal.entries import ZERO, Baseline, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._straight import rows_at
from onnxsal.types import Feeds, Score


def explain(score: Score, feeds: Feeds, layer: Sequence[str], *, baseline: Baseline = ZERO, steps: int = 50) -> Feeds:
    """How much of the score's change from a baseline to the input passes through each value of a layer; needs --layer.

    The inputs go the straight way; each change of the layer's values counts times the score's gradient by them.
    Dhamdhere, Sundararajan and Yan 2018, How Important Is a Neuron? (arXiv 1805.12233).

    Args:
        baseline: Where the inputs' way starts: a number, the name of a baseline, or a file.
        steps: Into how many parts the way is cut.
    """
    import torch

    if steps < 1:
        raise UsageError(f"steps={steps} is too few", where="conductance", hint="50 is usual")
    examples = next(iter(feeds.values())).shape[0]
    points = torch.linspace(0, 1, steps + 1, dtype=torch.float64).unsqueeze(1).expand(-1, examples)
    rows = rows_at(points, baseline, {name: value - baseline[name] for name, value in feeds.items()})
    inside = score.layer(*layer)
    values, slopes = (
        {name: found.unflatten(0, (steps + 1, -1)) for name, found in both.items()}
        for both in (inside.activations(rows), inside.gradients(rows))
    )
    return {name: (v.diff(dim=0) * (slopes[name][1:] + slopes[name][:-1]) / 2).sum(0) for name, v in values.items()}


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("conductance", explain, through=True)
