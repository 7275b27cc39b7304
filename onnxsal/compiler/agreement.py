"""Whether two ways to compute a gradient agree, where rounding may decide on which side of a kink a unit stands.

The gradient of a network of rectifiers jumps where a unit's input is zero, and largest values may be tied. Near such
a kink the forward pass's last bit decides, and two right answers differ by what one unit contributes. A wrong formula
errs everywhere; a kink is met in some examples. So every example is compared by itself, over several draws. Where
some differ, and a twin of the graph can be had that decides as the expected does, all examples of that twin have to
agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnxsal.parity import distance

TRIES = 4
"""How many draws of the inputs are looked at, at most."""

AWAY_FROM_KINKS = 1 / 3
"""Which part of the examples has to agree to the last digits."""

ACROSS_A_KINK = 0.2
"""How far the others may be off, as a part of the scale."""


MOSTLY_ACROSS = 0.05
"""How far half of them may be off, where a twin on the same side of every kink proves the formula."""


@dataclass
class Agreement:
    """The distances of an attribution's examples from what is expected, as parts of its scale."""

    accepted: float
    examples: list[float] = field(default_factory=list)
    same_side: Agreement | None = None

    def compare(self, got: np.ndarray, expected: np.ndarray, *, stacked: bool) -> None:
        """Compare another draw, example by example."""
        _, scale = distance(expected, expected)
        if got.shape != expected.shape:
            self.examples.append(float("inf"))
            return
        pairs = zip(got, expected, strict=True) if stacked else [(got, expected)]
        self.examples += [gap / scale if scale else gap for gap, _ in (distance(g, e) for g, e in pairs)]

    @property
    def is_clear(self) -> bool:
        """Whether all examples agree."""
        return not self.excused

    @property
    def holds(self) -> bool:
        """Whether what differs can be blamed on kinks: few differ, or nothing does on the same side of them."""
        if not all(gap <= ACROSS_A_KINK for gap in self.examples):
            return False
        if self.same_side is not None:
            return self.same_side.is_clear and float(np.median(self.examples)) <= MOSTLY_ACROSS
        return len(self.examples) - len(self.excused) >= AWAY_FROM_KINKS * len(self.examples)

    def compare_on_the_same_side(self, got: np.ndarray, expected: np.ndarray) -> None:
        """Compare two that decide alike for every unit: they have to agree everywhere."""
        self.same_side = Agreement(self.accepted)
        self.same_side.compare(got, expected, stacked=False)

    @property
    def excused(self) -> list[float]:
        """The distances of the examples that differ by more than is accepted."""
        return [gap for gap in self.examples if not gap <= self.accepted]  # NaN is far from everything

    @property
    def worst(self) -> float:
        """The largest distance of those examples that agree; of all where none does."""
        return max((gap for gap in self.examples if gap <= self.accepted), default=max(self.examples, default=0.0))
