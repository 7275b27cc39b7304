"""Guided backpropagation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Method
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._rectifiers import RECTIFIERS, gradients
from onnxsal.types import Call, Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor


def explain(score: Score, feeds: Feeds) -> Feeds:
    """The gradient along ways that are active and speak for the score at every rectifier.

    It shows edges more than evidence: it hardly changes with the target. Springenberg et al. 2014, Striving for
    Simplicity (arXiv 1412.6806).
    """
    return gradients(score, feeds, _guided, "guided_backprop")


def _guided(call: Call, gradient: Tensor) -> tuple[Tensor, ...]:
    return call.vjp(gradient.clamp_min(0))


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("guided_backprop", explain, ruled=RECTIFIERS)
