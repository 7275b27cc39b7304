"""Relevance rank accuracy: do the greatest attributions fill what they should?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._ranks import ordered
from onnxsal.metrics._region import relevance_and_region
from onnxsal.types import Explanation

if TYPE_CHECKING:
    from torch import Tensor


def measure(explanation: Explanation) -> Tensor:
    """The part of the region that is covered by as many of the greatest attributions as the region has parts.

    Arras, Osman and Samek 2022, CLEVR-XAI (arXiv 2003.07258).
    """
    relevance, region = relevance_and_region(explanation)
    size = region.sum(1, keepdim=True)
    hits = (ordered(relevance) < size) & region
    return hits.sum(1).to(relevance.dtype) / size[:, 0]


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("relevance_rank", measure, higher_is_better=True, needs_region=True)
