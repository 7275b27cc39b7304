"""Monotonicity: does every further part of the input raise the score?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import ZERO, Baseline, Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._curves import curve
from onnxsal.metrics._units import by_unit
from onnxsal.types import Explanation

if TYPE_CHECKING:
    from torch import Tensor


def measure(explanation: Explanation, *, baseline: Baseline = ZERO, steps: int = 50) -> Tensor:
    """The part of the steps at which the score does not fall as the baseline becomes the input, the least part first.

    Arya et al. 2019, One Explanation Does Not Fit All (arXiv 1909.03012).

    Args:
        baseline: What is there before anything is inserted.
        steps: How many times a part is inserted.
    """
    least_first = -by_unit(explanation, explanation.values).abs()
    scores, _ = curve(explanation, least_first, baseline, explanation.feeds, steps, "metric monotonicity")
    return (scores.diff(dim=0) >= 0).to(scores.dtype).mean(0)


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("monotonicity", measure, higher_is_better=True)
