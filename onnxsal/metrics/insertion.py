"""Insertion: how fast does the score rise as what is important comes?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Baseline, Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._curves import area, curve
from onnxsal.metrics._units import by_unit
from onnxsal.types import Explanation

if TYPE_CHECKING:
    from torch import Tensor

BLUR = Baseline("blur")


def measure(explanation: Explanation, *, baseline: Baseline = BLUR, steps: int = 50) -> Tensor:
    """The area under the score's curve as the baseline becomes the input, the most important part first.

    Petsiuk, Das and Saenko 2018, RISE (arXiv 1806.07421).

    Args:
        baseline: What is there before anything is inserted.
        steps: How many times a part is inserted.
    """
    importance = by_unit(explanation, explanation.values)
    return area(*curve(explanation, importance, baseline, explanation.feeds, steps, "metric insertion"))


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("insertion", measure, higher_is_better=True)
