"""Completeness: do the attributions sum to what they explain?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import ZERO, Baseline, Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Explanation

if TYPE_CHECKING:
    from torch import Tensor


def measure(explanation: Explanation, *, baseline: Baseline = ZERO) -> Tensor:
    """How far the attributions are from summing to the score less the baseline's score.

    Sundararajan, Taly and Yan 2017, Axiomatic Attribution for Deep Networks (arXiv 1703.01365).

    Args:
        baseline: What is compared with, for methods that have no baseline themselves.
    """
    own = explanation.baselines or {name: value[None] for name, value in baseline.items()}
    references = explanation.score({name: value.flatten(0, 1) for name, value in own.items()})
    scores = explanation.score(explanation.feeds)
    difference = scores - references.reshape(-1, len(scores)).mean(0)
    return (sum(value.flatten(1).sum(1) for value in explanation.values.values()) - difference).abs()


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("completeness", measure, higher_is_better=False)
