"""The random logit test: does the explanation of another class look different?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._ranks import rank_correlation
from onnxsal.metrics._units import by_unit
from onnxsal.types import Explanation

if TYPE_CHECKING:
    from torch import Tensor


def measure(explanation: Explanation) -> Tensor:
    """The rank correlation of the attributions with those of another class, drawn at random: 1 where nothing changes.

    Sixt, Granz and Landgraf 2020, When Explanations Lie (arXiv 1912.09818).
    """
    return rank_correlation(
        by_unit(explanation, explanation.values), by_unit(explanation, explanation.of_other_targets())
    )


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("random_logit", measure, higher_is_better=False)
