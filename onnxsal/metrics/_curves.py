"""How the score changes as the input is given or taken away, the most important part first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxsal.metrics._draws import check_count
from onnxsal.metrics._ranks import ordered
from onnxsal.metrics._units import scores_of_mixed
from onnxsal.types import Explanation, Feeds

if TYPE_CHECKING:
    from torch import Tensor


def curve(
    explanation: Explanation, importance: Tensor, first: Feeds, last: Feeds, steps: int, where: str
) -> tuple[Tensor, Tensor]:
    """Return the scores on the way from one input to another, and which part of the way lies behind.

    Args:
        explanation: What is measured.
        importance: What is changed first, shape [examples, units].
        first: Where the way begins, one row per example.
        last: Where it ends.
        steps: How many steps the way has, at most one for each unit.
        where: Who asks, for the fault's message.

    Returns:
        Scores of shape [steps + 1, examples], and parts of shape [steps + 1].
    """
    import torch

    check_count(steps, "steps", where)
    order = ordered(importance)
    units = order.shape[1]
    counts = torch.linspace(0, units, min(steps, units) + 1, device=order.device).round()
    scores = scores_of_mixed(explanation, first, last, order >= counts[:, None, None])
    return scores, counts / units


def area(scores: Tensor, parts: Tensor) -> Tensor:
    """Return the area under each example's curve."""
    import torch

    return torch.trapezoid(scores, parts.to(scores.dtype), dim=0)
