"""An operator is a function whose signature is the ONNX schema.

    @op("LeakyRelu")
    def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
        '''Let negative values through, scaled.'''
        return F.leaky_relu(x, alpha)

Positional parameters are the node's inputs (an absent optional one is ``None``; ``*inputs`` where the schema is
variadic), keyword-only ones its attributes with the schema's names and defaults. A parameter annotated `Host` is handed
a numpy array: the shape of a Reshape, the axes of a reduction. The return annotation says what comes out: ``Tensor``;
``tuple[...]`` where the schema has several outputs; ``Host`` for shapes; ``list`` for a sequence. `AsIs` leaves an
argument as it comes. A keyword-only parameter ``n_outputs`` is handed the number of outputs the node declares; one
called ``constants`` the places of the inputs that are constants, for kernels that prepare those otherwise;
one called ``stored`` the element type in which the file stores the first output, which is then carried as floats (None
where only the run can tell). The default of ``stored`` is the type where no input ``y_zero_point`` says another; an
empty default says that without that input the output is not quantised.

`on_host` gives an operator a second body for host values, `layer` a native module for constant weights; `real` says
which operator on real numbers a quantised one stands for.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
from torch import Tensor, nn

from onnxsal.importer.values import Value, device_of, is_text, on_device, to_host

Host = Annotated[np.ndarray, "host"]
"""Marks a parameter, or a result, that lives on the host as a numpy array."""

AsIs = Annotated[Any, "as it is"]
"""Marks a parameter that is handed over as it comes: a tensor, a host array, a sequence or nothing."""

Carried = Annotated[Tensor, "carried"]
"""Marks a parameter that may be handed quantised numbers carried as floats (see `onnxsal.importer.quantised`)."""

Function = TypeVar("Function", bound=Callable[..., Any])
LayerFactory = Callable[..., "nn.Module | None"]


class Operator:
    """One function that serves one ONNX operator from one opset on.

    Calling it brings every argument to where the function wants it: `Host` parameters to numpy, the others to tensors
    on one device; and prefers the host body where no argument is a tensor.
    """

    def __init__(self, function: Callable[..., Any], name: str, since: int, domain: str, differentiable: bool) -> None:
        self.function = function
        self.name = name
        self.since = since
        self.domain = domain
        self.differentiable = differentiable
        self.host: Callable[..., Any] | None = None
        self.layer: LayerFactory | None = None
        self.layer_gives_all = False
        self.real: Callable[..., Any] | None = None
        # what torch.fx asks of a call target, so that generated code and printed graphs name the function
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self._read_signature()

    def _read_signature(self) -> None:
        hints = typing.get_type_hints(self.function, include_extras=True)
        parameters = inspect.signature(self.function).parameters.values()
        positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.host_parameters = frozenset(i for i, p in enumerate(positional) if _is_host(hints.get(p.name)))
        self.kept_parameters = frozenset(i for i, p in enumerate(positional) if hints.get(p.name) == AsIs)
        rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self.keeps_from = len(positional) if rest and hints.get(rest) == AsIs else None
        self.attributes = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        self.counts_outputs = self.attributes.pop("n_outputs", None) is not None
        self.asks_for_constants = self.attributes.pop("constants", None) is not None
        self.stores: str | None = self.attributes.pop("stored", None)
        self.takes_carried = frozenset(i for i, p in enumerate(positional) if hints.get(p.name) == Carried)
        self.carries_from = len(positional) if rest and hints.get(rest) == Carried else None
        names = [p.name for p in positional]
        self.zero_point = names.index("y_zero_point") if "y_zero_point" in names else None
        self.max_inputs = None if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(positional)
        self.min_inputs = sum(p.default is p.empty for p in positional)
        returned = hints.get("return")
        self.several = typing.get_origin(returned) is tuple
        self.returns_tensors = returned is Tensor or (self.several and set(typing.get_args(returned)) <= _TENSORS)

    def wants_host(self, position: int) -> bool:
        """Say whether the input at ``position`` is handed over as a numpy array."""
        return position in self.host_parameters

    def keeps(self, position: int) -> bool:
        """Say whether the input at ``position`` is handed over as it comes."""
        return position in self.kept_parameters or (self.keeps_from is not None and position >= self.keeps_from)

    def carries(self, position: int) -> bool:
        """Say whether the input at ``position`` may be quantised numbers carried as floats."""
        return position in self.takes_carried or (self.carries_from is not None and position >= self.carries_from)

    def __call__(self, *inputs: Value, **attributes: Any) -> Any:
        data = [v for i, v in enumerate(inputs) if i not in self.host_parameters]
        if self.host is not None and _belongs_on_host(data):
            result = self.host(*(v if v is None else to_host(v) for v in inputs), **attributes)
            if result is not NotImplemented:
                return np.asarray(result) if isinstance(result, np.generic) else result
        device = device_of(data)
        placed = [
            v if v is None or self.keeps(i) else to_host(v) if i in self.host_parameters else on_device(v, device)
            for i, v in enumerate(inputs)
        ]
        return self.function(*placed, **attributes)

    def __repr__(self) -> str:
        domain = f"{self.domain}." if self.domain else ""
        return f"<operator {domain}{self.name} since {self.since}>"


_TENSORS = {Tensor, type(None), ..., Tensor | None}


def _belongs_on_host(values: Sequence[Value]) -> bool:
    """Say whether the values are for a host body: none is a tensor or a sequence, or one is text."""
    on_host = not any(isinstance(v, (Tensor, list)) for v in values)
    return on_host or any(isinstance(v, np.ndarray) and is_text(v) for v in values)


def _is_host(hint: Any) -> bool:
    """Say whether a type hint is `Host`, also where None is allowed beside it."""
    options = typing.get_args(hint) if typing.get_origin(hint) is not Annotated else ()
    return hint == Host or any(_is_host(option) for option in options)


def op(name: str, *, since: int = 1, domain: str = "", gradient: bool = True) -> Callable[[Function], Function]:
    """Declare that the function serves ONNX operator ``name`` from opset ``since`` up to the next one declared.

    Args:
        name: The operator's ONNX name.
        since: The first opset whose meaning the function has.
        domain: The operator's domain; empty for the standard one.
        gradient: False where the operator has no useful derivative (rounding, comparison, argmax).
    """

    def declare(function: Function) -> Function:
        operators = function.__dict__.setdefault("onnx_operators", [])
        operators.append(Operator(function, name, since, domain, gradient))
        return function

    return declare


def on_host(function: Callable[..., Any]) -> Callable[[Function], Function]:
    """Give an operator a body for arguments that all live on the host; it may return ``NotImplemented``."""

    def declare(body: Function) -> Function:
        for operator in operators_of(function):
            operator.host = body
        return body

    return declare


def layer(function: Callable[..., Any], *, gives_all: bool = False) -> Callable[[Function], Function]:
    """Give an operator a native module, made where all inputs but the first are constant.

    The factory is handed those constants as frozen parameters and the attributes by name, and returns a module of one
    input that shares their memory, or None where no native layer means the same.

    Args:
        function: The operator's function.
        gives_all: True where the module gives what the function gives, and not only its first output.
    """

    def declare(factory: Function) -> Function:
        for operator in operators_of(function):
            operator.layer = factory
            operator.layer_gives_all = gives_all
        return factory

    return declare


def real(*functions: Callable[..., Any]) -> Callable[[Function], Function]:
    """Say what quantised operators mean on real numbers: a function of the same arguments that returns a `Real`."""

    def declare(meaning: Function) -> Function:
        for function in functions:
            for operator in operators_of(function):
                operator.real = meaning
        return meaning

    return declare


def operators_of(function: Callable[..., Any]) -> list[Operator]:
    """Return the operators a function was declared to serve."""
    return getattr(function, "onnx_operators", [])
