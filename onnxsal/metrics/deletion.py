"""Deletion: how fast does the score fall as what is important goes?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import ZERO, Baseline, Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._curves import area, curve
from onnxsal.metrics._units import by_unit
from onnxsal.types import Explanation

if TYPE_CHECKING:
    from torch import Tensor


def measure(explanation: Explanation, *, baseline: Baseline = ZERO, steps: int = 50) -> Tensor:
    """The area under the score's curve as the input becomes the baseline, the most important part first.

    Petsiuk, Das and Saenko 2018, RISE (arXiv 1806.07421).

    Args:
        baseline: What takes the place of what is deleted.
        steps: How many times a part is deleted.
    """
    importance = by_unit(explanation, explanation.values)
    return area(*curve(explanation, importance, explanation.feeds, baseline, steps, "metric deletion"))


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("deletion", measure, higher_is_better=False)
