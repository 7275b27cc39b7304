"""Build an ``fx.GraphModule`` from a normalised graph.

One ONNX node becomes one call: of the operator's function where every argument is known to be a tensor, of the
`Operator` itself, which sorts its arguments, where one may live on the host, or of a native layer where the weights are
constant. Constants are held once, however many nodes read them, and share memory with the array they came from.
"""

from __future__ import annotations

import functools
import keyword
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto
from torch import Tensor, fx, nn

from onnxsal.errors import ImportFault, OnnxsalError
from onnxsal.importer.bridge import Converter
from onnxsal.importer.dtypes import TORCH_LACKS, numpy_dtype
from onnxsal.importer.fold import fold
from onnxsal.importer.graph import Graph, Node
from onnxsal.importer.lookup import Lookup, default_lookup
from onnxsal.importer.operator import Operator
from onnxsal.importer.quantised import accepts, moves_on, rounds, store, unrounded
from onnxsal.importer.values import as_tensor, is_text, to_parameter

MEANINGLESS = frozenset({"consumed_inputs"})
"""Attributes that never changed a value: below opset 6 one said which inputs' memory may be reused."""

HOST_CONSTANT_SIZE = 256
"""Constants up to this many elements may live on the host, where only the arithmetic of shapes meets them."""


def build(graph: Graph, lookup: Lookup | None = None, *, rounding: bool = True) -> fx.GraphModule:
    """Return a module that takes the graph's inputs in order and returns the tuple of its outputs in order.

    Every fx node carries the ONNX value names it stands for in ``meta["onnx_outputs"]``, its node in ``meta["onnx"]``.

    Args:
        graph: The graph.
        lookup: Who serves its operators; the default one where None.
        rounding: False reads a quantised graph as if it were not: nothing is rounded to few bits.

    Raises:
        ImportFault: an operator is missing, or cannot be built as the node asks.
    """
    lookup = lookup or default_lookup()
    lookup.check(graph)
    module = _Builder(graph, lookup, {}, rounding).build()
    return module.eval().requires_grad_(False)


class _Builder:
    """Builds one graph; sub-graphs get builders of their own that share the parameters."""

    def __init__(
        self, graph: Graph, lookup: Lookup, parameters: dict[int, nn.Parameter | Tensor], rounding: bool
    ) -> None:
        self.source = fold(graph, lookup)
        self.lookup = lookup
        self.parameters = parameters
        self.rounding = rounding
        self.fx = fx.Graph()
        self.root = nn.Module()
        self.values: dict[str, fx.Node] = {}
        self.tensors: set[str] = set()  # the values that are tensors whatever the input
        self.attributes: dict[str, fx.Node] = {}  # constants already fetched, by attribute name
        self.carried: dict[str, str] = {}  # quantised values that travel as floats, with the type the file stores
        self.declared = {port.name: port for port in self.source.inputs} | dict(self.source.value_ports)
        self.stored: dict[str, fx.Node] = {}  # the same in that type, for those who cannot take floats

    def build(self, captured: Sequence[str] | None = None) -> fx.GraphModule:
        """Build the graph; a sub-graph takes the outer values it captured before its own inputs."""
        for name in captured or ():
            self.values[name] = self._placeholder(name)
        for port in self.source.inputs:
            self.values[port.name] = self._placeholder(port.name)
            if captured is None and _is_tensor(port.dtype):  # a sub-graph may be handed host values
                self.tensors.add(port.name)
        for node in self.source.nodes:
            try:
                self._add(node)
            except OnnxsalError:
                raise
            except Exception as error:
                raise ImportFault(f"cannot be built: {error}", where=str(node)) from error
        hand_out = self._output if captured is None else self._as_it_is  # shapes stay on the host across sub-graphs
        self.fx.output(tuple(hand_out(port.name) for port in self.source.outputs))
        return fx.GraphModule(self.root, self.fx, class_name=_identifier(self.source.name or "graph"))

    def subgraph(self, graph: Graph) -> tuple[str, tuple[str, ...]]:
        """Build a sub-graph into the root; return its attribute name and the outer names it reads."""
        constants = self.source.constants
        known = {n: constants[n] for n in graph.captures() if n in constants and n not in self.values}
        graph = replace(graph, constants={**graph.constants, **known})
        captured = graph.captures()
        builder = _Builder(graph, self.lookup, self.parameters, self.rounding)
        builder.tensors |= self.tensors.intersection(captured)
        module = builder.build(captured)
        module.meta["onnx_ports"] = graph.outputs  # what a loop that never runs has to give
        return self._attach(graph.name or "body", module), captured

    def _placeholder(self, name: str) -> fx.Node:
        node = self.fx.placeholder(_identifier(name))
        node.meta["onnx_outputs"] = (name,)
        return node

    def _add(self, node: Node) -> None:
        meant = self._as_cast(node)
        found = self.lookup.require(meant)
        if isinstance(found, Operator):
            native = self._layer(meant, found)
            call = native or self._call(meant, found)
            several, is_tensor = found.several and not self._gives_one(native, found), self._gives_tensors(meant, found)
        else:
            call = self._convert(node, found)
            several, is_tensor = len([o for o in node.outputs if o]) > 1, True
        call.meta.update(onnx=node, onnx_outputs=node.outputs)
        for i, name in enumerate(node.outputs):
            if not name:
                continue
            self.values[name] = self._item(call, i, name) if several else call
            if is_tensor:
                self.tensors.add(name)

    def _as_cast(self, node: Node) -> Node:
        """Return a CastLike as the Cast it means where only the file knows its target's type (int4, text)."""
        if node.domain or node.op_type != "CastLike":
            return node
        to = TORCH_LACKS.get(self._type_of(node.inputs[1]) or "")
        if to is None:
            return node
        return replace(node, op_type="Cast", inputs=node.inputs[:1], attributes={**node.attributes, "to": to})

    def _gives_one(self, native: fx.Node | None, operator: Operator) -> bool:
        """Say whether a native layer stands for the node and gives its first output only."""
        return native is not None and not operator.layer_gives_all

    def _item(self, call: fx.Node, index: int, name: str) -> fx.Node:
        item = self.fx.call_function(_item, (call, index))
        item.meta["onnx_outputs"] = (name,)
        return item

    def _gives_tensors(self, node: Node, operator: Operator) -> bool:
        if node.attributes.get("to") in {TensorProto.STRING, "STRING"}:  # a Cast that makes text
            return False
        data = [name for i, name in enumerate(node.inputs) if name and not operator.wants_host(i)]
        return operator.returns_tensors and any(name in self.tensors for name in data)

    def _call(self, node: Node, operator: Operator) -> fx.Node:
        _check_count(node, operator)
        tensors = self._gives_tensors(node, operator)
        moves = accepts(node) or self._sums(node)
        arguments = tuple(
            self._argument(
                name,
                on_host=operator.wants_host(i),
                beside_tensors=tensors,
                carried=moves or operator.carries(i),
            )
            for i, name in enumerate(node.inputs)
        )
        keywords = {name: self._attribute(value, name) for name, value in self._known_attributes(node, operator)}
        if operator.counts_outputs:
            keywords["n_outputs"] = len(node.outputs)
        if operator.asks_for_constants:
            keywords["constants"] = tuple(i for i, name in enumerate(node.inputs) if self._is_constant(name))
        if operator.stores is not None:
            keywords["stored"] = self._stored_type(node, operator)
        self._carry_on(node, keywords.get("stored"))
        settled = tensors and all(self._is_settled(name, operator.wants_host(i)) for i, name in enumerate(node.inputs))
        target = operator.function if settled else operator
        if not self.rounding:
            target = unrounded(node, target)
        return self.fx.create_node("call_function", target, arguments, keywords, _identifier(node.name))

    def _stored_type(self, node: Node, operator: Operator) -> str | None:
        """Return the type the file stores a quantised result in; None where only the run can tell."""
        if node.attributes.get("output_dtype"):
            return numpy_dtype(node.attributes["output_dtype"]).name
        zero_point = node.inputs[operator.zero_point :][:1] if operator.zero_point is not None else ()
        return self._type_of(zero_point[0]) if zero_point and zero_point[0] else operator.stores or None

    def _type_of(self, name: str) -> str | None:
        if name in self.source.constants:
            return self.source.constants[name].dtype.name
        return self.declared[name].dtype if name in self.declared else self.carried.get(name)

    def _sums(self, node: Node) -> bool:
        """Say whether a node adds to carried 32-bit sums, which have room: a quantised layer's bias."""
        handed = {self.carried[name] for name in node.inputs if name in self.carried}
        return node.op_type in {"Add", "Sub"} and not node.domain and handed == {"int32"}

    def _carry_on(self, node: Node, stored: str | None) -> None:
        """Remember which of a node's outputs are carried: those it quantises, and those it moves on."""
        handed = {self.carried[name] for name in node.inputs if name in self.carried}
        moved = handed if moves_on(node) or self._sums(node) else set()
        for name in node.outputs if node.op_type == "Split" else node.outputs[:1]:
            if stored or len(moved) == 1:
                self.carried[name] = stored or next(iter(moved))

    def _is_settled(self, name: str, on_host: bool) -> bool:
        """Say whether an argument is certain to be of the kind its parameter wants."""
        return not name or name in self.source.constants or (not on_host and name in self.tensors)

    def _known_attributes(self, node: Node, operator: Operator) -> list[tuple[str, Any]]:
        meant = {name: value for name, value in node.attributes.items() if name not in MEANINGLESS}
        unknown = [name for name in meant if name not in operator.attributes]
        if unknown:
            raise ImportFault(
                f"attribute {unknown[0]!r} is not known for opset {node.opset}",
                where=str(node),
                hint=f"known attributes: {', '.join(operator.attributes) or 'none'}",
            )
        return list(meant.items())

    def _argument(self, name: str, *, on_host: bool, beside_tensors: bool, carried: bool = False) -> fx.Node | None:
        if not name:
            return None
        if name in self.values:
            return self.values[name] if carried or name not in self.carried else self._as_stored(name)
        array = self.source.constants[name]
        if on_host or is_text(array) or (not beside_tensors and _may_live_on_host(array)):
            return self._fetch(name, array, "host")
        return self._fetch(name, self._parameter(array), "weight")

    def _as_stored(self, name: str) -> fx.Node:
        if name not in self.stored:
            self.stored[name] = self.fx.call_function(store, (self.values[name], self.carried[name]))
        return self.stored[name]

    def _fetch(self, name: str, value: Any, kind: str) -> fx.Node:
        attribute = f"{kind}_{_identifier(name)}"
        key = f"{kind}:{name}"
        if key not in self.attributes:
            self.attributes[key] = self.fx.get_attr(self._attach(attribute, value))
            self.attributes[key].meta["onnx_outputs"] = (name,)
        return self.attributes[key]

    def _parameter(self, array: np.ndarray) -> nn.Parameter | Tensor:
        """Return the one tensor for a constant: a frozen parameter where floating, a buffer otherwise."""
        if id(array) not in self.parameters:
            tensor = to_parameter(array)
            is_float = tensor.is_floating_point()
            self.parameters[id(array)] = nn.Parameter(tensor, requires_grad=False) if is_float else tensor
        return self.parameters[id(array)]

    def _attach(self, name: str, value: Any) -> str:
        base, count = _identifier(name), 1
        name = base
        while hasattr(self.root, name):
            name, count = f"{base}_{count}", count + 1
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
            self.root.register_buffer(name, value)
        else:
            setattr(self.root, name, value)
        return name

    def _attribute(self, value: Any, name: str) -> Any:
        if isinstance(value, Graph):
            attribute, captured = self.subgraph(value)
            body = self.fx.get_attr(attribute)
            outer = tuple(self._argument(n, on_host=False, beside_tensors=False) for n in captured)
            return self.fx.call_function(functools.partial, (body, *outer))
        if isinstance(value, np.ndarray):
            return self.fx.get_attr(self._attach(f"attribute_{name}", value))
        return value

    def _layer(self, node: Node, operator: Operator) -> fx.Node | None:
        names = node.inputs[1:]
        if operator.layer is None or not (names or operator.max_inputs == 1) or node.inputs[0] not in self.tensors:
            return None
        if len(node.outputs) > 1 and not operator.layer_gives_all:
            return None
        if not all(not name or self._is_constant(name) for name in names):
            return None
        if not self.rounding and rounds(node):  # its function is told to leave the rounding out
            return None
        weights = [self._parameter(self.source.constants[name]) if name else None for name in names]
        module = operator.layer(*weights, **dict(self._known_attributes(node, operator)))
        if module is None:
            return None
        data = self._argument(node.inputs[0], on_host=False, beside_tensors=True)
        call = self.fx.call_module(self._attach(node.name, module), (data,))
        call.meta["onnx_weights"] = names
        return call

    def _is_constant(self, name: str) -> bool:
        return name in self.source.constants and name not in self.values

    def _convert(self, node: Node, converter: Converter) -> fx.Node:
        module, inputs = converter.convert(node, self.source)
        arguments = tuple(self._tensor(name) for name in inputs)
        return self.fx.call_module(self._attach(node.name, module), arguments)

    def _tensor(self, name: str) -> fx.Node | None:
        value = self._argument(name, on_host=False, beside_tensors=True)
        if value is None or name in self.tensors or name in self.source.constants:
            return value
        return self.fx.call_function(as_tensor, (value,))

    def _as_it_is(self, name: str) -> fx.Node | None:
        return self._argument(name, on_host=False, beside_tensors=False)

    def _output(self, name: str) -> fx.Node | None:
        value = self._argument(name, on_host=False, beside_tensors=True)
        settled = name in self.tensors or name in self.source.constants
        return value if settled or value is None else self.fx.call_function(as_tensor, (value,))


def _item(values: Sequence[Any], index: int) -> Any:
    """Return one of a node's several outputs; one that was not made is None."""
    return values[index] if index < len(values) else None


def _identifier(name: str) -> str:
    cleaned = re.sub(r"\W", "_", name) or "value"
    return f"_{cleaned}" if cleaned[0].isdigit() or cleaned == "self" or keyword.iskeyword(cleaned) else cleaned


def _is_tensor(dtype: str) -> bool:
    return "(" not in dtype and dtype != "string"


def _may_live_on_host(array: np.ndarray) -> bool:
    """Say whether a constant is small enough, and of the kind, that shapes are computed with."""
    return array.size <= HOST_CONSTANT_SIZE and (array.ndim <= 1 or array.dtype.kind in "iub")


def _check_count(node: Node, operator: Operator) -> None:
    given = len(node.inputs)
    if operator.max_inputs is not None and given > operator.max_inputs:
        raise ImportFault(f"has {given} inputs, takes {operator.max_inputs} at most", where=str(node))
    if given < operator.min_inputs:
        raise ImportFault(f"has {given} inputs, needs {operator.min_inputs}", where=str(node))
