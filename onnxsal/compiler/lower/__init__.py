"""Write aten operators as ONNX: one module is one family, one function lowers one operator.

    @lower("aten.relu.default")
    def relu(g: Builder, x: Value) -> Value:
        return g.Relu(x)

A lowering is handed the graph that grows and the operator's arguments: tensors as `Value`, open sizes as values of
shape [1], the rest as it stands in the trace. What is known of the result stands in ``g.result`` (a `Meta`, or a tuple
of them).
A new module of this folder is found by listing it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def lower(*operators: str) -> Callable[[Function], Function]:
    """Declare that the function lowers the operators of these names (``aten.add.Tensor``)."""

    def declare(function: Function) -> Function:
        function.__dict__.setdefault("lowers", {}).update(dict.fromkeys(operators, function))
        return function

    return declare


def lower_each(pattern: str, operators: Mapping[str, str]) -> Callable[[Function], Function]:
    """Declare that the function lowers many operators; it is told which ONNX operator each is as ``onnx``."""

    def declare(function: Function) -> Function:
        each = {pattern.format(name): partial(function, onnx=op_type) for name, op_type in operators.items()}
        function.__dict__.setdefault("lowers", {}).update(each)
        return function

    return declare


@cache
def lowerings() -> dict[str, Callable[..., Any]]:
    """Return every lowering by the name of its operator."""
    found: dict[str, Callable[..., Any]] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{__name__}.{info.name}")
        for function in vars(module).values():
            if getattr(function, "__module__", None) == module.__name__:
                found |= getattr(function, "lowers", {})
    return found


def name_of(target: Any) -> str:
    """Return the name under which a call of the trace is lowered."""
    if hasattr(target, "overloadpacket"):
        return str(target)
    return f"size.{getattr(target, '__name__', str(target))}"
