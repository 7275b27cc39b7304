"""What the classical learners of ``ai.onnx.ml`` have in common: class labels and what is done to scores at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from onnxsal.errors import ImportFault
from onnxsal.importer.values import Value, to_host

TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")
NEARLY_ZERO = 1e-7
"""SOFTMAX_ZERO leaves out scores up to this size."""


class Labels(nn.Module):
    """The names of classes: whole numbers, or text, which lives on the host."""

    def __init__(self, numbers: Sequence[int] | None, texts: Sequence[str] | None) -> None:
        super().__init__()
        self.texts = np.array(texts, dtype=object) if texts else None
        self.numbers: Tensor
        self.register_buffer("numbers", torch.tensor(list(numbers or ()), dtype=torch.int64), persistent=False)

    def __len__(self) -> int:
        return len(self.numbers) if self.texts is None else len(self.texts)

    def forward(self, index: Tensor) -> Value:
        """Return the labels at the given places."""
        return self.numbers[index] if self.texts is None else self.texts[to_host(index)]


def check_transform(name: str) -> str:
    """Return the name of a transform of scores.

    Raises:
        ImportFault: there is no such transform.
    """
    if name not in TRANSFORMS:
        raise ImportFault(f"post_transform {name!r} is unknown", hint=f"known: {', '.join(TRANSFORMS)}")
    return name


def transformed(scores: Tensor, name: str) -> Tensor:
    """Turn each row of two or more scores into what the learner hands out."""
    match name:
        case "LOGISTIC":
            return torch.sigmoid(scores)
        case "SOFTMAX":
            return torch.softmax(scores, -1)
        case "SOFTMAX_ZERO":
            return _softmax_zero(scores)
        case "PROBIT":
            return probit(scores)
    return scores


def of_two(positive: Tensor, *, opposite: bool, logistic: bool = False) -> Tensor:
    """Return the scores of both classes from a column that holds the second one's.

    Args:
        positive: The second class's scores, one column.
        opposite: True where the first class's score is the negative, False where both sum to one.
        logistic: True to squash both, which makes them sum to one however they were.
    """
    if logistic:
        return torch.sigmoid(torch.cat([-positive, positive], -1))
    return torch.cat([-positive if opposite else 1 - positive, positive], -1)


def _softmax_zero(scores: Tensor) -> Tensor:
    """Softmax over the scores that are not zero; those stay (nearly) zero."""
    highest = scores.amax(-1, keepdim=True)
    counted = scores.abs() > NEARLY_ZERO
    shifted = torch.where(counted, scores - highest, 0.0)
    weights = torch.where(counted, shifted.exp(), scores * torch.exp(-highest))
    total = torch.where(counted, weights, 0.0).sum(-1, keepdim=True)
    return weights / total


def probit(scores: Tensor) -> Tensor:
    """Return the normal distribution's quantiles: ONNX Runtime's approximation with the exact function's gradient."""
    exact: Tensor = torch.special.ndtri(scores)
    with torch.no_grad():
        sides = 2 * scores - 1
        log = torch.log((1 - sides) * (1 + sides))
        middle = 2 / (3.14159 * 0.147) + 0.5 * log
        size = torch.sqrt(torch.sqrt(middle * middle - log / 0.147) - middle)
        gap = 1.41421356 * size * torch.where(sides < 0, -1.0, 1.0) - exact
    return exact + torch.where(gap.isfinite(), gap, 0.0)


def rows(x: Tensor) -> Tensor:
    """Return the examples as rows of floats; a vector is one example."""
    return x.reshape(1, -1).float() if x.dim() == 1 else x.float()
