"""Quantised operators under the rules of the operators on real numbers that they stand for (`Call.real`).

Rounding passes differences and relevance straight through, as in the gradient; what saturates is rescaled. The ratio of
the differences after and before a rounding would be exact, and say nothing: a hair's breadth may be one step, or none,
so that the ratio multiplies noise, layer by layer. What roundings add is therefore nobody's; the completeness of the
whole tells how much it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxsal.methods._rules import Rule, difference, first, summed_to
from onnxsal.types import Call

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Lifted:
    """DeepLIFT's rule of a quantised operator, from the one of the operator it stands for; None: the gradient's."""

    rule: Rule | None

    def __call__(self, call: Call, gradient: Any) -> Sequence[Tensor | None]:
        """Return the multipliers of the numbers that the operator is handed, each less its zero point."""
        if call.reference is None:
            return call.vjp(gradient)
        real = call.real()
        if real.step is not None:
            gradient = gradient * _unsaturated(real.output, real.reference.output, real.bounds) / real.step
        found = real.vjp(gradient) if self.rule is None else self.rule(real, gradient)
        return _multipliers(call, real, found)


def dynamic(call: Call, gradient: Any) -> Sequence[Tensor | None]:
    """DynamicQuantizeLinear: numbers and their scale, by whose product they are told.

    What reads the numbers multiplies by the scale later on, and the multiplier of that product is in the numbers' own:
    exactly so where no second scale moves with it.
    """
    if call.reference is None:
        return call.vjp(gradient)
    return [first(gradient) / _mean(call.output[1], call.reference.output[1])]


def _unsaturated(real: Tensor, real0: Tensor, bounds: tuple[Tensor, Tensor]) -> Tensor:
    """Return the part of a difference that lies within the range that can be told in steps."""
    moved = difference(real, real0)
    still = moved == 0
    clipped = real.clamp(*bounds)
    return ((clipped - real0.clamp(*bounds)) / moved.where(~still, 1)).where(~still, (clipped == real).to(real))


def _multipliers(call: Call, real: Any, found: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """Return the multipliers of a node's inputs from those of the real operands.

    A number times its scale is a product: each gets the multiplier half way.
    """
    by_place: dict[int, Tensor] = {}
    shapes = {place: x.shape for place, x in zip(call.places, call.inputs, strict=True)}
    for now, then, fixed, multiplier in zip(real.operands, real.reference.operands, real.constant, found, strict=True):
        if multiplier is None or fixed:
            continue
        if now.scale is None:
            by_place[now.place] = summed_to(multiplier, shapes[now.place])
            continue
        by_place[now.place] = summed_to(multiplier * _mean(now.scale, then.scale), shapes[now.place])
        shares = summed_to(multiplier * _mean(now.numbers, then.numbers), now.scale.shape)
        by_place[now.scale_place] = shares.reshape(shapes[now.scale_place])
    return [by_place.get(place) for place in call.places]


def _mean(now: Tensor, then: Tensor) -> Tensor:
    return (now + then) / 2


@dataclass(frozen=True)
class Handed:
    """LRP's rule of a quantised operator, from the one of the operator it stands for."""

    rule: Rule

    def __call__(self, call: Call, relevance: Any) -> Sequence[Tensor | None]:
        """Return the relevance of the numbers that the operator is handed."""
        real = call.real()
        found = self.rule(real, relevance)
        by_place = {operand.place: share for operand, share in zip(real.operands, found, strict=True)}
        return [by_place.get(place) for place in call.places]
