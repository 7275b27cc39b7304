"""The pointing game: does the explanation point at what it should?"""

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
    """Whether the greatest attribution lies within the region: 1 or 0.

    Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop (arXiv 1608.00507).
    """
    relevance, region = relevance_and_region(explanation)
    return region.gather(1, relevance.argmax(1, keepdim=True))[:, 0].to(relevance.dtype)


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("pointing_game", measure, higher_is_better=True, needs_region=True)
