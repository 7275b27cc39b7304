"""One function an operator: inputs are positional, attributes keyword-only, with the names that the files use."""

import torch
from torch import Tensor

from onnxsal import op


@op("ScaledTanh", domain="com.acme")
def scaled_tanh(x: Tensor, *, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """Acme's activation: ``alpha * tanh(beta * x)``."""
    return alpha * torch.tanh(beta * x)


@op("Round", since=11)
def round_straight_through(x: Tensor) -> Tensor:
    """Round half to even, as onnxsal's own does; the gradient goes straight through, as in Acme's training."""
    return x + (x.round() - x).detach()
