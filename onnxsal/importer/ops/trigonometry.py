"""Trigonometric and hyperbolic functions."""

from __future__ import annotations

import torch
from torch import Tensor

from onnxsal.importer.operator import op


@op("Sin", since=7)
def sin(x: Tensor) -> Tensor:
    """Take the sine."""
    return torch.sin(x)


@op("Cos", since=7)
def cos(x: Tensor) -> Tensor:
    """Take the cosine."""
    return torch.cos(x)


@op("Tan", since=7)
def tan(x: Tensor) -> Tensor:
    """Take the tangent."""
    return torch.tan(x)


@op("Asin", since=7)
def asin(x: Tensor) -> Tensor:
    """Return the angle with this sine."""
    return torch.asin(x)


@op("Acos", since=7)
def acos(x: Tensor) -> Tensor:
    """Return the angle with this cosine."""
    return torch.acos(x)


@op("Atan", since=7)
def atan(x: Tensor) -> Tensor:
    """Return the angle with this tangent."""
    return torch.atan(x)


@op("Sinh", since=9)
def sinh(x: Tensor) -> Tensor:
    """Take the hyperbolic sine."""
    return torch.sinh(x)


@op("Cosh", since=9)
def cosh(x: Tensor) -> Tensor:
    """Take the hyperbolic cosine."""
    return torch.cosh(x)


@op("Asinh", since=9)
def asinh(x: Tensor) -> Tensor:
    """Invert the hyperbolic sine."""
    return torch.asinh(x)


@op("Acosh", since=9)
def acosh(x: Tensor) -> Tensor:
    """Invert the hyperbolic cosine."""
    return torch.acosh(x)


@op("Atanh", since=9)
def atanh(x: Tensor) -> Tensor:
    """Invert the hyperbolic tangent."""
    return torch.atanh(x)
