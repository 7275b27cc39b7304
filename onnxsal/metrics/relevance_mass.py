"""Relevance mass accuracy: how much of the explanation lies where it should?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._region import relevance_and_region
from onnxsal.types import Explanation

if TYPE_CHECKING:
    from torch import Tensor


def measure(explanation: Explanation) -> Tensor:
    """The part of all positive attribution that lies within the region.

    Arras, Osman and Samek 2022, CLEVR-XAI (arXiv 2003.07258).
    """
    relevance, region = relevance_and_region(explanation)
    positive = relevance.clamp_min(0)
    return (positive * region).sum(1) / positive.sum(1)


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("relevance_mass", measure, higher_is_better=True, needs_region=True)
