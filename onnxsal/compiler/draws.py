"""Where a compiled file has the random numbers of its method from: constants, further inputs, or draws in the graph.

A method asks its score for noise and for uniform numbers. A first run, on tensors without numbers, counts what it asks
for; the second takes it from inputs of that size. A graph that draws is that same graph, the inputs made by nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from onnxsal.compiler.emit import element_of
from onnxsal.errors import CompileFault
from onnxsal.types import Feeds, Port

Draws = Literal["constant", "input", "fresh"]
"""Random numbers settled when the file is made, taken at run time, or drawn by the graph at every run."""

KINDS = get_args(Draws)

Name = str | None
"""The explained input that noise is for; None for uniform numbers."""


class Source(Protocol):
    """Gives a method its random numbers."""

    def normal(self, name: str, like: Tensor) -> Tensor:
        """Return standard normal noise for rows of an explained input."""

    def uniform(self, rows: Any, count: int) -> Tensor:
        """Return numbers from 0 up to 1, shape [rows, count]."""


@dataclass(frozen=True)
class Drawing:
    """Random numbers of one kind that a method asks for.

    Args:
        name: Under which name the file takes or makes them.
        of: The explained input that standard normal noise is for; None for uniform numbers.
        count: How many of them each example has.
    """

    name: str
    of: Name
    count: int

    @property
    def distribution(self) -> str:
        """The distribution's name, for the facts."""
        return "uniform" if self.of is None else "normal"

    def port(self, ports: Mapping[str, Port], examples: Any, *, stacked: bool) -> Port:
        """Return the numbers as an input: [examples, draws, *the input's] noise, [examples, draws] uniform numbers."""
        lead = (examples, self.count) if stacked else (self.count,)
        if self.of is None:
            return Port(self.name, "float32", lead)
        like = ports[self.of]
        return Port(self.name, like.dtype, (*lead, *(like.shape or ())[stacked:]))

    def numbers(self, like: np.ndarray, seed: Sequence[int], *, stacked: bool) -> np.ndarray:
        """Return such numbers for examples of an explained input."""
        random = np.random.default_rng(seed)
        lead = (len(like), self.count) if stacked else (self.count,)
        if self.of is None:
            return random.random(lead, np.float32)
        return random.standard_normal((*lead, *like.shape[stacked:])).astype(like.dtype)


@dataclass
class Counted:
    """Counts the numbers a method asks for, and gives it none."""

    examples: Any
    wanted: dict[Name, int] = field(default_factory=dict)
    settles: bool = False
    """Whether the method also draws something that only constants can hold."""

    def normal(self, name: str, like: Tensor) -> Tensor:
        self._add(name, like.shape[0] // self.examples)
        return torch.zeros_like(like)

    def uniform(self, rows: Any, count: int) -> Tensor:
        self._add(None, count * (rows // self.examples))
        return torch.zeros([rows, count])

    def _add(self, name: Name, count: Any) -> None:
        self.wanted[name] = self.wanted.get(name, 0) + int(count)

    def drawings(self, taken: set[str]) -> tuple[Drawing, ...]:
        """Return what was asked for, under names that nothing has."""
        return tuple(Drawing(_fresh(_said(of), taken), of, count) for of, count in self.wanted.items())


class Fed:
    """Hands a method the numbers that came in, in the order it asks for them."""

    def __init__(self, drawings: Sequence[Drawing], tensors: Feeds, examples: Any) -> None:
        self.left = {d.of: tensors[d.name] for d in drawings}
        self.examples = examples

    def normal(self, name: str, like: Tensor) -> Tensor:
        copies = like.shape[0] // self.examples
        return _as_rows(self._taken(name, copies), copies)

    def uniform(self, rows: Any, count: int) -> Tensor:
        copies = int(rows // self.examples)
        return _as_rows(self._taken(None, count * copies).unflatten(1, (copies, count)), copies)

    def _taken(self, of: Name, count: Any) -> Tensor:
        numbers = self.left[of]
        self.left[of] = numbers[:, count:]
        return numbers[:, :count]


def _as_rows(numbers: Tensor, copies: Any) -> Tensor:
    """Return numbers of shape [examples, copies, *] as rows: one copy of the examples after the other."""
    return numbers[:, 0] if copies == 1 else numbers.transpose(0, 1).flatten(0, 1)


def require_input(name: str, names: Sequence[str]) -> None:
    """Refuse noise for a value that is no explained input."""
    if name not in names:
        raise CompileFault(
            f"the method draws noise for {name!r} inside the graph", where="--draws", hint="say --draws constant"
        )


def _said(of: Name) -> str:
    return "uniform_draws" if of is None else f"{of}_noise"


def _fresh(base: str, taken: set[str]) -> str:
    name = next(n for n in (base, *(f"{base}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)
    taken.add(name)
    return name


def drawing_graph(
    graph: onnx.GraphProto, drawings: Sequence[Drawing], explained: str, *, stacked: bool
) -> onnx.GraphProto:
    """Return a graph that draws at every run what another one takes as inputs.

    Args:
        graph: The graph that takes them.
        drawings: What it takes.
        explained: An explained input, whose rows uniform numbers are drawn for.
        stacked: Whether dim 0 counts the examples.
    """
    drawn = onnx.GraphProto()
    drawn.CopyFrom(graph)
    ports = {value.name: value for value in drawn.input}
    taken = set(ports) | {t.name for t in graph.initializer} | {o for node in graph.node for o in node.output}
    made = [
        node
        for drawing in drawings
        for node in _drawing_nodes(drawing, ports[drawing.name], drawing.of or explained, stacked, taken)
    ]
    inputs = [value for value in drawn.input if value.name not in {d.name for d in drawings}]
    nodes = [*made, *drawn.node]
    del drawn.input[:], drawn.node[:]
    drawn.input.extend(inputs)
    drawn.node.extend(nodes)
    return drawn


def _drawing_nodes(
    drawing: Drawing, port: onnx.ValueInfoProto, like: str, stacked: bool, taken: set[str]
) -> list[NodeProto]:
    """Return the nodes that draw what a port would take, for as many examples as there are."""
    element = port.type.tensor_type.elem_type
    drawn_as = element if element == TensorProto.DOUBLE else TensorProto.FLOAT
    nodes: list[NodeProto] = []

    def add(op_type: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        output = name or _fresh(f"{drawing.name}_{op_type}", taken)
        nodes.append(helper.make_node(op_type, inputs, [output], output, **attributes))
        return output

    def constant(*numbers: int) -> str:
        return add("Constant", value=numpy_helper.from_array(np.array(numbers, np.int64)))

    sizes = add("Shape", like)
    lead = [add("Slice", sizes, constant(0), constant(1))] if stacked else []
    rest = [] if drawing.of is None else [add("Slice", sizes, constant(int(stacked)), constant(2**31))]
    shape = add("Concat", *lead, constant(drawing.count), *rest, axis=0)
    zero = helper.make_tensor("zero", drawn_as, [1], [0])
    space = add("ConstantOfShape", shape, value=zero)
    draw = "RandomUniformLike" if drawing.of is None else "RandomNormalLike"
    if drawn_as == element:
        add(draw, space, name=drawing.name)
    else:
        add("Cast", add(draw, space), name=drawing.name, to=element)
    return nodes


def showing(proto: onnx.ModelProto, drawings: Sequence[Drawing], recipe_ports: Sequence[Port]) -> onnx.ModelProto:
    """Return a graph that draws, with what it draws as further outputs."""
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    ports = {port.name: port for port in recipe_ports}
    for drawing in drawings:
        port = ports[drawing.name]
        shown.graph.output.append(helper.make_tensor_value_info(port.name, element_of(port.dtype), port.shape))
    return shown
