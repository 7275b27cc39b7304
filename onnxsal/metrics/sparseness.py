"""Sparseness: does the explanation name few parts of the input?"""

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
    """The Gini index of the attributions' sizes: 0 where all are equal, near 1 where one part has it all.

    Chalasani et al. 2020, Concise Explanations of Neural Networks using Adversarial Training (arXiv 1810.06583).
    """
    import torch

    sizes = by_unit(explanation, explanation.values).abs().double().sort(dim=1).values
    count = sizes.shape[1]
    weights = (count - torch.arange(1, count + 1, device=sizes.device) + 0.5) / count
    return 1 - 2 * (sizes * weights).sum(1) / sizes.sum(1)


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("sparseness", measure, higher_is_better=True)
