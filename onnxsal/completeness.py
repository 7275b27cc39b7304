"""Whether attributions sum to what they explain: the score's difference from the baseline's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onnxsal.errors import CompletenessError

NOTEWORTHY = 0.1
"""The part of the tolerance from which on a miss is noted."""

ROUNDING = 100
"""How many units in the last place of the scores a sum may be off by rounding alone."""


@dataclass(frozen=True)
class Completeness:
    """How far attributions miss the score's difference, per example, and how far they may."""

    missed: Tensor
    difference: Tensor
    slack: Tensor
    tolerance: float

    def require(self, method: str) -> None:
        """Refuse what misses by more than the tolerance.

        Raises:
            CompletenessError: the attributions of an example do not sum to what they explain.
        """
        if self._beyond(self.tolerance).any():
            raise CompletenessError(
                f"{self._miss}; {self.tolerance:.3g} of it is accepted",
                where=method,
                hint="more steps where the method takes them, float64 instead of float32, another method; or accept "
                "it: --completeness-tolerance",
            )

    @property
    def remark(self) -> str:
        """What is worth a note; empty where the miss is small."""
        return self._miss if self._beyond(self.tolerance * NOTEWORTHY).any() else ""

    def _beyond(self, part: float) -> Tensor:
        return self.missed.abs() > part * self.difference.abs() + self.slack

    @property
    def _miss(self) -> str:
        """The worst example, in words."""
        excess = self.missed.abs() / (self.difference.abs() + self.slack).clamp_min(torch.finfo(self.slack.dtype).tiny)
        worst = int(excess.argmax())
        example = f" of example {worst}" if len(self.missed) > 1 else ""
        missed, difference = float(self.missed[worst]), float(self.difference[worst])
        return f"the attributions{example} miss the score's difference of {difference:.4g} by {abs(missed):.2g}"


def judge(total: Tensor, score: Tensor, reference: Tensor, tolerance: float) -> Completeness:
    """Compare sums of attributions with the scores' differences from the baseline's, all of shape [examples].

    Args:
        total: The sums.
        score: The scores.
        reference: The baseline's scores.
        tolerance: How far a sum may miss, as a part of the difference.
    """
    precision = torch.finfo(score.dtype).eps if score.is_floating_point() else 0.0
    slack = ROUNDING * precision * (score.abs() + reference.abs())
    return Completeness(total - (score - reference), score - reference, slack, tolerance)
