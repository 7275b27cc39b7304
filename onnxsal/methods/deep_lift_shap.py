"""DeepLIFT-SHAP."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import ZERO, Baselines, Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods import _deep_lift as lift
from onnxsal.methods._rules import Missing
from onnxsal.types import Feeds, Score


def explain(
    score: Score,
    feeds: Feeds,
    *,
    baselines: Baselines = ZERO,
    rule: lift.ActivationRule = "rescale",
    steps: int = lift.STEPS,
    missing: Missing = "error",
) -> Feeds:
    """DeepLIFT from several baselines, averaged: an estimate of Shapley values over them.

    The attributions sum to the score less the mean of the baselines' scores. Lundberg and Lee 2017, A Unified Approach
    to Interpreting Model Predictions (arXiv 1705.07874).

    Args:
        baselines: The reference inputs: the name of a baseline that is several, or a file whose rows are baselines.
        rule: How an activation behind a weighted sum shares its difference; as in deep_lift.
        steps: How many points the gradient of operators without a closed form is taken at (LpPool, LRN, CDist and
            the like).
        missing: What becomes of nodes that no rule is known for: an error, or the plain gradient and a note.
    """
    references = {name: value.flatten(0, 1) for name, value in baselines.items()}
    count = len(next(iter(baselines.values())))
    rows = {name: value.repeat(count, *[1] * (value.ndim - 1)) for name, value in feeds.items()}
    shares = lift.attributions(score, rows, references, rule, steps, missing, "deep_lift_shap")
    return {name: shares[name].unflatten(0, (count, -1)).mean(0) for name in feeds}


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("deep_lift_shap", explain, complete=True, tolerance=0.01)
