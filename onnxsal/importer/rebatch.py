"""A batch of one, opened: the file rewritten so that its inputs may hold any number of examples.

Exporters write the batch of their example input into a graph: as the inputs' declared shapes, as the leading 1 of what
values are reshaped to, as the states a recurrent layer starts from. What is rewritten here is a guess, and nothing
rests on it: whoever uses it has to compare it with runs of single examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

RECURRENT = {"RNN": (5,), "GRU": (5,), "LSTM": (5, 6), "DynamicQuantizeLSTM": (5, 6)}
"""Where recurrent operators take the states they start from."""

CONDITIONAL = {"If": 1, "Loop": 2}
"""Operators that choose what is computed, and by how many of their first inputs."""

SHAPE_READERS = {"Shape", "Size"}
PREFIX = "onnxsal_rebatch"
"""What the names of added values begin with."""


@dataclass(frozen=True)
class Rebatched:
    """A model whose batch is open, if the guess is right, and its inputs that have one row for each example."""

    proto: onnx.ModelProto
    inputs: tuple[str, ...]


def rebatch(proto: onnx.ModelProto) -> Iterator[Rebatched]:
    """Yield ways to open a model's batch, the least changed first; none where one example decides about all.

    The model itself is left as it is; its arrays are copied once for each way.
    """
    inputs = tuple(_batched(proto.graph))
    derived = _derived(proto.graph, inputs)
    if not inputs or _chooses_by(proto.graph, derived):
        return
    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    _open_ports(opened.graph, inputs)
    yield Rebatched(opened, inputs)
    rewriter = _Rewriter(opened.graph, inputs[0], derived)
    if rewriter.rewrite():
        yield Rebatched(opened, inputs)


def _batched(graph: GraphProto) -> Iterator[str]:
    """Yield the inputs whose first axis is one or open."""
    constants = {tensor.name for tensor in graph.initializer}
    for port in graph.input:
        dims = port.type.tensor_type.shape.dim
        if port.name not in constants and len(dims) and dims[0].dim_value in {0, 1}:
            yield port.name


def _derived(graph: GraphProto, inputs: Sequence[str]) -> set[str]:
    """Return the values that are computed from the numbers of the inputs; shapes are not."""
    derived = set(inputs)
    for node in graph.node:
        if node.op_type not in SHAPE_READERS and derived.intersection(_read(node)):
            derived.update(name for name in node.output if name)
    return derived


def _read(node: NodeProto) -> Iterator[str]:
    """Yield what a node reads, what its sub-graphs capture included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (attribute.g,) if attribute.type == AttributeProto.GRAPH else attribute.graphs:
            for inner in graph.node:
                yield from _read(inner)
            yield from (port.name for port in graph.output)


def _chooses_by(graph: GraphProto, derived: set[str]) -> bool:
    """Say whether a branch or a loop depends on the examples' numbers: one example would choose for all."""
    return any(
        derived.intersection(node.input[: CONDITIONAL[node.op_type]])
        for node in graph.node
        if node.op_type in CONDITIONAL and not node.domain
    )


def _open_ports(graph: GraphProto, inputs: Sequence[str]) -> None:
    """Declare the batch open, and forget what was said of inner values."""
    del graph.value_info[:]
    for port in graph.input:
        if port.name in inputs:
            port.type.tensor_type.shape.dim[0].dim_param = f"{PREFIX}_size"
    for port in graph.output:
        if port.type.HasField("tensor_type") and port.type.tensor_type.shape.dim:
            port.type.tensor_type.shape.dim[0].ClearField("value")


@dataclass
class _Rewriter:
    """Puts the number of examples where a graph says one."""

    graph: GraphProto
    counted: str
    """The input whose first axis is counted."""
    derived: set[str]
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, NodeProto] = field(default_factory=dict)
    """The nodes that put a shape together."""
    nodes: list[NodeProto] = field(default_factory=list)
    count: int = 0

    def rewrite(self) -> bool:
        """Rewrite the graph; say whether anything had to be."""
        self.constants = {t.name: _small(t) for t in self.graph.initializer}
        for node in self.graph.node:
            self._note(node)
            self._open(node)
            self.nodes.append(node)
        if not self.count:
            return False
        del self.graph.node[:]
        self.graph.node.extend([*self._counting(), *self.nodes])
        return True

    def _note(self, node: NodeProto) -> None:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            self.constants[node.output[0]] = _small(node.attribute[0].t)
        if node.op_type == "Concat" and not self.derived.intersection(node.input):
            self.shapes[node.output[0]] = node

    def _open(self, node: NodeProto) -> None:
        if node.domain not in {"", "ai.onnx", "com.microsoft"}:
            return
        if node.op_type == "Reshape" and len(node.input) == 2 and node.input[0] in self.derived:
            node.input[1] = self._shape(node.input[1])
        elif node.op_type in RECURRENT and node.input[0] in self.derived:
            axis = next((a.i for a in node.attribute if a.name == "layout"), 0)
            for place in RECURRENT[node.op_type]:
                if place < len(node.input) and node.input[place] and node.input[place] not in self.derived:
                    ones = ([], [1, 1]) if axis else ([1], [1])
                    node.input[place] = self._expanded(node.input[place], *ones)
        elif node.op_type == "Concat" and self.derived.intersection(node.input):
            self._open_concat(node)

    def _open_concat(self, node: NodeProto) -> None:
        """Repeat constants that stand beside examples (a class token beside patches)."""
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        for place, name in enumerate(node.input):
            array = self.constants.get(name)
            if array is not None and array.ndim > 1 and array.shape[0] == 1 and axis % array.ndim:
                node.input[place] = self._expanded(name, [], [1] * (array.ndim - 1))

    def _shape(self, name: str) -> str:
        """Return a shape with the number of examples in the place of a leading one."""
        if name in self.constants:
            return self._constant_shape(name, [int(v) for v in self.constants[name].ravel()])
        made = self.shapes.get(name)
        if made is None or not made.input or made.input[0] not in self.constants:
            return name
        first = [int(v) for v in self.constants[made.input[0]].ravel()]
        if first[:1] != [1]:
            return name
        return self._add("Concat", [self._head(first), *made.input[1:]], axis=0)

    def _constant_shape(self, name: str, shape: list[int]) -> str:
        if shape[:1] == [1]:
            return self._head(shape)
        if shape and shape[0] > 1 and min(shape) > 0:  # the examples one below the other
            return self._ints([-1, *shape[1:]])
        return name

    def _head(self, shape: list[int]) -> str:
        """Return a shape that begins with the number of examples."""
        return self._joined([], shape[1:])

    def _expanded(self, name: str, before: list[int], after: list[int]) -> str:
        """Return a value repeated for each example."""
        return self._add("Expand", [name, self._joined(before, after)])

    def _joined(self, before: list[int], after: list[int]) -> str:
        self.count += 1
        parts = [
            *([self._ints(before)] if before else []),
            f"{PREFIX}_count",
            *([self._ints(after)] if after else []),
        ]
        return self._add("Concat", parts, axis=0)

    def _ints(self, values: list[int]) -> str:
        self.count += 1
        name = f"{PREFIX}_ints_{self.count}"
        self.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def _add(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        self.count += 1
        name = f"{PREFIX}_{op_type.lower()}_{self.count}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def _counting(self) -> list[NodeProto]:
        """Return the nodes that count the examples."""
        self.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), f"{PREFIX}_first"))
        shape, count = f"{PREFIX}_shape", f"{PREFIX}_count"
        return [
            helper.make_node("Shape", [self.counted], [shape], name=shape),
            helper.make_node("Gather", [shape, f"{PREFIX}_first"], [count], name=count, axis=0),
        ]


def _small(tensor: TensorProto) -> np.ndarray:
    """Return a constant's shape and, where it may itself be a shape, its numbers."""
    is_shape = tensor.data_type == TensorProto.INT64 and len(tensor.dims) <= 1 and sum(tensor.dims) <= 16
    if is_shape and tensor.data_location != TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    return np.broadcast_to(np.int8(0), tuple(tensor.dims))
