"""Where a gradient breaks: the node behind which it is finite and before which it is not."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onnxsal.importer.graph import Node
from onnxsal.score import BoundScore
from onnxsal.types import Feeds

CAUSES = {
    "Sqrt": "the root's slope is infinite at 0",
    "Pow": "a power below 1 has an infinite slope at 0",
    "Log": "the logarithm's slope is infinite at 0",
    "Div": "a division by 0",
    "Reciprocal": "a division by 0",
    "ReduceL2": "the norm of zeros has no slope",
    "ReduceLogSum": "the logarithm's slope is infinite at 0",
    "LpNormalization": "the norm of zeros has no slope",
}


@dataclass(frozen=True)
class Break:
    """The node at which a gradient stops being finite, and what is likely the cause."""

    node: Node
    in_value: bool
    half: bool

    def __str__(self) -> str:
        what = "its value" if self.in_value else "its gradient"
        cause = CAUSES.get(self.node.op_type, "")
        if self.half:
            cause = cause or "half precision overflows"
            remedy = "explain the model in float32 (--precision float32)"
        else:
            remedy = "explain an input without digital silence or exact zeros there (a little noise is enough)"
        return f"at {self.node} {what} is not finite{f' ({cause})' if cause else ''}: {remedy}"


def find_break(score: BoundScore, feeds: Feeds) -> Break | None:
    """Return the node nearest to the score at which the gradient is not finite, or None."""
    nodes = [node for node in score.nodes if node.outputs and node.outputs[0]]
    names = [node.outputs[0] for node in nodes]
    values = score.layer(*names).activations(feeds)
    floats = [name for name in names if values[name].is_floating_point()]
    gradients = score.layer(*floats).gradients(feeds) | score.gradients(feeds)
    for node in reversed(nodes):
        name = node.outputs[0]
        if name in gradients and not _finite(values[name]):
            first = next(node for node in nodes if not _finite(values[node.outputs[0]]))
            return Break(first, in_value=True, half=_half(values[first.outputs[0]]))
        before = [gradients[i] for i in node.inputs if i in gradients]
        if name in gradients and _finite(gradients[name]) and not all(map(_finite, before)):
            return Break(node, in_value=False, half=_half(values[name]))
    return None


def _finite(value: torch.Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def _half(value: torch.Tensor) -> bool:
    return value.dtype in {torch.float16, torch.bfloat16}
