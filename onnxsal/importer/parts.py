"""What operators of several steps are made of, such that backward rules can take each step by itself.

A recurrent layer or a fused attention is many operators in one. Its function says so: ``part("Softmax", run, scores)``
computes ``run(scores)``, and stands for a Softmax of its own where a graph is run with rules, which are asked for one.
Between parts there is only what moves numbers. ``onnxsal.Gated`` is a product whose first factor is a gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import reduce
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

Function = Callable[..., Tensor]


class Taker(Protocol):
    """Who runs the parts of an operator."""

    def wants(self, operator: str) -> bool:
        """Say whether parts that stand for an operator are to be run one by one."""

    def take(self, operator: str, function: Function, inputs: tuple[Tensor, ...], about: Mapping[str, Any]) -> Tensor:
        """Run a part."""


_taker: ContextVar[Taker | None] = ContextVar("taker", default=None)


@contextmanager
def taken_by(taker: Taker) -> Iterator[None]:
    """Have parts run by somebody."""
    before = _taker.set(taker)
    try:
        yield
    finally:
        _taker.reset(before)


def wanted(operator: str) -> bool:
    """Say whether a function that would not go through its parts of a kind has to."""
    taker = _taker.get()
    return taker is not None and taker.wants(operator)


def part(operator: str, function: Function, *inputs: Tensor, **attributes: Any) -> Tensor:
    """Compute a function of tensors that stands for an operator."""
    taker = _taker.get()
    return function(*inputs) if taker is None else taker.take(operator, function, inputs, attributes)


def gate(function: Function, x: Tensor) -> Tensor:
    """Squash what other values are multiplied by."""
    return part("Sigmoid", function, x)


def signal(function: Function, x: Tensor) -> Tensor:
    """Bend what goes on."""
    return part("Tanh", function, x)


def gated(by: Tensor, x: Tensor) -> Tensor:
    """Let a part of the values through."""
    return part("onnxsal.Gated", torch.mul, by, x)


def total(*summands: Tensor) -> Tensor:
    """Add, from the left."""
    return part("Sum", lambda *tensors: reduce(torch.add, tensors), *summands)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply by a matrix that has a row for each output."""
    return part("Gemm", F.linear, x, weight) if bias is None else part("Gemm", F.linear, x, weight, bias)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices."""
    return part("MatMul", torch.matmul, a, b)


def softmax(x: Tensor) -> Tensor:
    """Turn scores along the last axis into probabilities."""
    return part("Softmax", lambda scores: torch.softmax(scores, -1), x)
