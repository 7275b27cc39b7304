"""Deconvolution."""

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
    """What the score asks of the input when every rectifier is applied to what comes back, not to what came in.

    Zeiler and Fergus 2013, Visualizing and Understanding Convolutional Networks (arXiv 1311.2901).
    """
    return gradients(score, feeds, _rectified, "deconvolution")


def _rectified(call: Call, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return gradient.clamp_min(0), *[None] * (len(call.inputs) - 1)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("deconvolution", explain, ruled=RECTIFIERS)
