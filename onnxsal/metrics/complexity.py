"""Complexity: how many parts of the input does one have to look at?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._units import by_unit
from onnxsal.types import Explanation

if TYPE_CHECKING:
    from torch import Tensor


def measure(explanation: Explanation) -> Tensor:
    """The entropy of the attributions' sizes in nats: 0 where one part has it all.

    Bhatt, Weller and Moura 2020, Evaluating and Aggregating Feature-based Model Explanations (arXiv 2005.00631).
    """
    import torch

    sizes = by_unit(explanation, explanation.values).abs().double()
    shares = sizes / sizes.sum(1, keepdim=True)
    return -torch.xlogy(shares, shares).sum(1)


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("complexity", measure, higher_is_better=False)
