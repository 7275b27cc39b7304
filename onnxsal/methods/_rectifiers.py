"""What guided backpropagation and deconvolution share: other ways back through rectifiers."""

from __future__ import annotations

from typing import Any

from onnxsal.errors import UsageError
from onnxsal.types import Feeds, Score

RECTIFIERS = ("Relu", "Clip")
"""Operators that cut off what is negative; exporters write ReLU6 as Clip."""


def gradients(score: Score, feeds: Feeds, rule: Any, method: str) -> Feeds:
    """Return the gradients with a rule for every rectifier on the way.

    Raises:
        UsageError: there is no rectifier, and the method would be the plain gradient under another name.
    """
    if not any(node.op_type in RECTIFIERS and not node.domain for node in score.nodes):
        raise UsageError(
            "no Relu or Clip lies between the inputs and the score", where=method, hint="say -m saliency instead"
        )
    return score.gradients(feeds, rules=dict.fromkeys(RECTIFIERS, rule))
