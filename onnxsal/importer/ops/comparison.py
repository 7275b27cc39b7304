"""Comparison and logic, element by element."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxsal.importer.operator import on_host, op
from onnxsal.importer.symbolic import elementwise
from onnxsal.importer.unsigned import in_order, widen


@op("Equal", since=7, gradient=False)
def equal(a: Tensor, b: Tensor) -> Tensor:
    """Say where two values are equal."""
    return torch.eq(widen(a), widen(b))


@op("Less", since=7, gradient=False)
def less(a: Tensor, b: Tensor) -> Tensor:
    """Say where the first value is smaller."""
    return torch.lt(in_order(a), in_order(b))


@op("LessOrEqual", since=12, gradient=False)
def less_or_equal(a: Tensor, b: Tensor) -> Tensor:
    """Say where the first value is not larger."""
    return torch.le(in_order(a), in_order(b))


@op("Greater", since=7, gradient=False)
def greater(a: Tensor, b: Tensor) -> Tensor:
    """Say where the first value is larger."""
    return torch.gt(in_order(a), in_order(b))


@op("GreaterOrEqual", since=12, gradient=False)
def greater_or_equal(a: Tensor, b: Tensor) -> Tensor:
    """Say where the first value is not smaller."""
    return torch.ge(in_order(a), in_order(b))


@op("And", since=7, gradient=False)
def logical_and(a: Tensor, b: Tensor) -> Tensor:
    """Say where both hold."""
    return torch.logical_and(a, b)


@op("Or", since=7, gradient=False)
def logical_or(a: Tensor, b: Tensor) -> Tensor:
    """Say where either holds."""
    return torch.logical_or(a, b)


@op("Xor", since=7, gradient=False)
def logical_xor(a: Tensor, b: Tensor) -> Tensor:
    """Say where exactly one holds."""
    return torch.logical_xor(a, b)


@op("Not", gradient=False)
def logical_not(x: Tensor) -> Tensor:
    """Say where it does not hold."""
    return torch.logical_not(x)


def _question(whole: Callable[..., Any], scalar: Callable[..., Any] | None = None) -> Callable[..., np.ndarray]:
    """Return a host body that answers yes or no; torch guards what it was asked about a symbolic dimension."""
    body = elementwise(whole, scalar)
    return lambda *arrays: np.asarray(body(*arrays), dtype=bool)


on_host(equal)(_question(np.equal, operator.eq))
on_host(less)(_question(np.less, operator.lt))
on_host(less_or_equal)(_question(np.less_equal, operator.le))
on_host(greater)(_question(np.greater, operator.gt))
on_host(greater_or_equal)(_question(np.greater_equal, operator.ge))
on_host(logical_and)(_question(np.logical_and))
on_host(logical_or)(_question(np.logical_or))
on_host(logical_xor)(_question(np.logical_xor))
on_host(logical_not)(_question(np.logical_not))
