"""Activation functions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onnxsal.importer.operator import layer, op
from onnxsal.importer.unsigned import WITHOUT_KERNELS, ordered

FLOAT32_MAX = 3.4028234663852886e38


@op("Relu")
def relu(x: Tensor) -> Tensor:
    """Cut off what is negative."""
    return F.relu(x)


@op("LeakyRelu")
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """Let negative values through, scaled."""
    return F.leaky_relu(x, alpha)


@op("PRelu", since=7)
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Let negative values through, scaled by a slope that was learned."""
    if x.dtype in WITHOUT_KERNELS:  # unsigned: nothing is negative
        return x
    return torch.where(x > 0, x, x * slope)


@op("PRelu")
def prelu_1(x: Tensor, slope: Tensor) -> Tensor:
    """Let negative values through, scaled by a slope for each channel (opsets below 7)."""
    per_channel = slope.ndim == 1 and x.ndim > 2
    return prelu(x, slope.reshape(-1, *[1] * (x.ndim - 2)) if per_channel else slope)


@op("Elu")
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Bend negative values towards -alpha, exponentially."""
    return F.elu(x, alpha)


@op("Selu", since=6)
def selu(x: Tensor, *, alpha: float = 1.6732631921768188, gamma: float = 1.0507010221481323) -> Tensor:
    """Bend negative values exponentially, then scale everything so that activations normalise themselves."""
    return gamma * F.elu(x, alpha)


@op("Selu")
def selu_1(x: Tensor, *, alpha: float = 1.6732, gamma: float = 1.0507) -> Tensor:
    """Selu with the rounded constants of opsets below 6."""
    return selu(x, alpha=alpha, gamma=gamma)


@op("Celu", since=12)
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Bend negative values towards -alpha, with a slope that has no jump."""
    return F.celu(x, alpha)


@op("ThresholdedRelu", since=10)
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Keep what exceeds a threshold, zero the rest."""
    return torch.where(x > alpha, x, 0)


@op("Sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    """Squash into (0, 1) by the logistic function."""
    return torch.sigmoid(x)


@op("HardSigmoid")
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """Clamp a straight line into [0, 1]."""
    return (alpha * x + beta).clamp(0, 1)


@op("HardSwish", since=14)
def hard_swish(x: Tensor) -> Tensor:
    """Weigh each value by its hard sigmoid of slope 1/6."""
    return F.hardswish(x)


@op("Swish", since=24)
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Weigh each value by its sigmoid (SiLU where alpha is 1)."""
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


@op("SwiGLU", since=28)
def swiglu(gate: Tensor, value: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Let a second value through a gate by the first one's swish."""
    return swish(gate, alpha=alpha) * value


@op("Softplus")
def softplus(x: Tensor) -> Tensor:
    """Smooth the Relu: the logarithm of 1 + exp(x)."""
    # threshold: from there on log1p(exp(x)) is x to the last bit of a double
    return F.softplus(x, threshold=40)


@op("Softsign")
def softsign(x: Tensor) -> Tensor:
    """Squash into (-1, 1) by x / (1 + |x|)."""
    return F.softsign(x)


@op("Tanh")
def tanh(x: Tensor) -> Tensor:
    """Squash into (-1, 1) by the hyperbolic tangent."""
    return torch.tanh(x)


@op("Gelu", since=20)
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """Weigh each value by the normal distribution's probability of lying below it."""
    return F.gelu(x, approximate=approximate)


@op("Mish", since=18)
def mish(x: Tensor) -> Tensor:
    """Weigh each value by the tanh of its softplus."""
    return F.mish(x)


@op("Erf", since=9)
def erf(x: Tensor) -> Tensor:
    """Compute the error function."""
    return torch.erf(x)


@op("Shrink", since=9)
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """Zero what lies within ±lambd and pull the rest towards zero by the bias."""
    outside = torch.where(x < -lambd, x + bias, torch.where(x > lambd, x - bias, 0))
    return outside.to(x.dtype)


@op("Softmax", since=13)
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Turn scores along one axis into probabilities."""
    return torch.softmax(x, axis)


@op("Softmax")
def softmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    """Turn scores over the axis and all behind it together into probabilities (opsets below 13)."""
    return torch.softmax(x.flatten(axis), -1).view_as(x)


@op("LogSoftmax", since=13)
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Turn scores along one axis into logarithms of probabilities."""
    return torch.log_softmax(x, axis)


@op("LogSoftmax")
def log_softmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    """Turn scores over the axis and all behind it together into logarithms of probabilities (opsets below 13)."""
    return torch.log_softmax(x.flatten(axis), -1).view_as(x)


@op("Hardmax", since=13, gradient=False)
def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Put 1 where an axis has its first maximum, 0 elsewhere."""
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1)


@op("Hardmax", gradient=False)
def hardmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    """Put 1 at the first maximum over the axis and all behind it together (opsets below 13)."""
    return hardmax(x.flatten(axis)).view_as(x)


@op("Clip", since=11)
def clip(x: Tensor, minimum: Tensor | None = None, maximum: Tensor | None = None) -> Tensor:
    """Limit values to a range, either end of which may be open."""
    if minimum is not None:
        x = ordered(_at_least, x, minimum)
    return x if maximum is None else ordered(_at_most, x, maximum)


# Not torch.maximum: it splits the gradient of a tie in halves, while nothing flows through the rim of a ReLU6 in torch.
def _at_least(x: Tensor, minimum: Tensor) -> Tensor:
    return torch.where(x <= minimum, minimum, x)


def _at_most(x: Tensor, maximum: Tensor) -> Tensor:
    return torch.where(x >= maximum, maximum, x)


class Clamp(nn.Module):
    """Limits values to a constant range."""

    def __init__(self, minimum: float | None, maximum: float | None) -> None:
        super().__init__()
        self.minimum = minimum
        self.maximum = maximum

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.minimum, self.maximum)


@layer(clip)
def clamp_layer(minimum: Tensor | None = None, maximum: Tensor | None = None) -> nn.Module | None:
    """Use torch's own layer where the range is constant."""
    if any(bound is not None and bound.dtype in WITHOUT_KERNELS for bound in (minimum, maximum)):
        return None
    low, high = (None if bound is None else bound.item() for bound in (minimum, maximum))
    if (low, high) in {(0, 6), (0, None)} and (minimum is not None and minimum.is_floating_point()):
        return nn.ReLU6() if high == 6 else nn.ReLU()
    return None if low is None and high is None else Clamp(low, high)


@op("Clip", since=6)
def clip_6(x: Tensor, *, min: float = -FLOAT32_MAX, max: float = FLOAT32_MAX) -> Tensor:
    """Limit values to a range given by attributes (opsets 6 to 10)."""
    return x.clamp(min, max)


@op("Clip")
def clip_1(x: Tensor, *, min: float | None = None, max: float | None = None) -> Tensor:
    """Limit values to a range given by attributes, either end of which may be open (opsets below 6)."""
    return x if min is None and max is None else x.clamp(min, max)
