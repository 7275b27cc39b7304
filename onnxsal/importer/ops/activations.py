"""Activation functions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from onnxsal.importer.operator import op


@op("Relu")
def relu(x: Tensor) -> Tensor:
    """Cut off what is negative."""
    return F.relu(x)


@op("LeakyRelu")
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """Let negative values through, scaled."""
    return F.leaky_relu(x, alpha)
