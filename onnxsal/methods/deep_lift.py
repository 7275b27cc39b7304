"""DeepLIFT."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import ZERO, Baseline, Method, Rules
from onnxsal.hookspecs import hookimpl
from onnxsal.methods import _deep_lift as lift
from onnxsal.methods._rules import Missing, by_operator
from onnxsal.types import Feeds, Score


def explain(
    score: Score,
    feeds: Feeds,
    *,
    baseline: Baseline = ZERO,
    rule: lift.ActivationRule = "rescale",
    steps: int = lift.STEPS,
    missing: Missing = "error",
) -> Feeds:
    """What each input moved the score by since a baseline, handed back node by node.

    Every node of the graph is a place of its own, whatever module it came from, and every rule is exact, so the
    attributions sum to the difference of the two scores; but for what the rounding of a quantised model adds, which is
    told as the completeness. Shrikumar, Greenside and Kundaje 2017, Learning Important
    Features Through Propagating Activation Differences (arXiv 1704.02685).

    Args:
        baseline: The reference input: a number, the name of a baseline, or a file.
        rule: How an activation behind a weighted sum shares its difference: by the sum's whole difference (rescale), or
            by what spoke for it and what against, each by itself (reveal_cancel).
        steps: How many points the gradient of operators without a closed form is taken at (LpPool, LRN, CDist and
            the like).
        missing: What becomes of nodes that no rule is known for: an error, or the plain gradient and a note.
    """
    return lift.attributions(score, feeds, baseline, rule, steps, missing, "deep_lift")


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("deep_lift", explain, complete=True, tolerance=0.01, ruled=lift.FAMILY)


@hookimpl
def onnxsal_rules() -> Iterable[Rules]:
    yield Rules("deep_lift", lift.FAMILY, by_operator(lift.OPERATORS))
