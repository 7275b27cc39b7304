"""What a region covers of an explanation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxsal.metrics._units import by_unit
from onnxsal.types import Explanation

if TYPE_CHECKING:
    from torch import Tensor


def relevance_and_region(explanation: Explanation) -> tuple[Tensor, Tensor]:
    """Return what speaks for the score in each unit, and whether the region covers it, both [examples, units]."""
    return by_unit(explanation, explanation.values), by_unit(explanation, explanation.region) > 0
