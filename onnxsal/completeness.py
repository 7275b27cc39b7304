"""Whether attributions sum to what they explain: the score's difference from the baseline's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onnxsal.errors import CompletenessError

NOTEWORTHY = 0.1
"""The part of the tolerance from which on a miss is noted."""

EXPLOSION = 1000
"""How many times the score relevance may be in all before that is noted."""

ROUNDING = 100
"""How many units in the last place of the scores a sum may be off by rounding alone."""


@dataclass(frozen=True)
class Completeness:
    """Sums of attributions beside the scores they explain, per example, and how far they may miss the difference.

    Args:
        total: The sums, shape [examples].
        score: The scores.
        baseline: The baseline's scores.
        tolerance: How far a sum may miss, as a part of the difference.
    """

    total: Tensor
    score: Tensor
    baseline: Tensor
    tolerance: float

    @property
    def difference(self) -> Tensor:
        """What there is to explain."""
        return self.score - self.baseline

    @property
    def missed(self) -> Tensor:
        """The sums less what there is to explain."""
        return self.total - self.difference

    @property
    def slack(self) -> Tensor:
        """What rounding of the two scores alone may do."""
        precision = torch.finfo(self.score.dtype).eps if self.score.is_floating_point() else 0.0
        return ROUNDING * precision * (self.score.abs() + self.baseline.abs())

    def require(self, method: str) -> None:
        """Refuse what misses by more than the tolerance.

        Raises:
            CompletenessError: the attributions of an example do not sum to what they explain.
        """
        if not self.baseline.isfinite().all() and self.score.isfinite().all():
            raise CompletenessError(
                f"the score of the baseline is {float(self.baseline[~self.baseline.isfinite()][0])}",
                where=method,
                hint="another baseline: baseline=NUMBER, blur, noise, a file; see `onnxsal list baselines`",
            )
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
        excess = self.missed.abs() / (self.difference.abs() + self.slack).clamp_min(1e-30)
        worst = int(excess.argmax())
        example = f" of example {worst}" if len(self.missed) > 1 else ""
        missed, difference = float(self.missed[worst]), float(self.difference[worst])
        return f"the attributions{example} miss the score's difference of {difference:.4g} by {abs(missed):.2g}"


def explosion(sizes: Tensor, score: Tensor) -> str:
    """Say whether relevance, which shares out the score, has grown far beyond it; empty where it has not.

    Args:
        sizes: The sum of the relevance's absolute values, shape [examples].
        score: The scores.
    """
    times = float((sizes / score.abs().clamp_min(1e-30)).max())
    if not times > EXPLOSION:
        return ""
    return (
        f"the relevance is {times:.2g} times the score in all: it grew where summands cancel, and says little; more "
        "gamma or epsilon holds it down"
    )
