"""Which nodes of the original stand in the compiled file as they are.

Most do: the forward half of the file is the deployed model, node by node. One of a private domain, or of an older opset
that means something else in the file's, is computed by what it was traced to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, shape_inference

from onnxsal.compiler.emit import element_of, tensor_proto
from onnxsal.importer.graph import Graph, Node
from onnxsal.importer.lookup import default_lookup
from onnxsal.importer.operator import Operator
from onnxsal.types import Port

DOMAINS = ("", "ai.onnx.ml")
"""The domains that every ONNX runtime knows."""

DRAWS = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
"""Operators that answer differently each time: they cannot be computed a second time."""


def kept_nodes(graph: Graph, opset: int, traced: Iterable[str], types: Mapping[str, int]) -> dict[str, Node]:
    """Return the nodes that can stand as they are, by the name of each of their outputs.

    An `If` that constants decide does not: the branch that was traced is all there is of it.

    Args:
        graph: The main graph.
        opset: The file's opset.
        traced: The values whose computation was traced: they are there, whoever makes them.
        types: The element types of values, as far as known.
    """
    kept: dict[str, Node] = {}
    known = set(graph.constants) | {port.name for port in graph.inputs}
    replaceable = {name for name in traced if name in types}
    settled = set(graph.constants)
    for node in graph.nodes:
        inputs = inputs_of(node)
        if settled.issuperset(inputs):
            settled.update(node.outputs)
        if node.op_type == "If" and node.inputs[0] in settled and replaceable.issuperset(filter(None, node.outputs)):
            continue
        if means_the_same(node, opset) and all(n in known or n in kept or n in replaceable for n in inputs):
            kept |= {name: node for name in node.outputs if name}
    return kept


def inputs_of(node: Node) -> list[str]:
    """Return the outer values a node reads, those its sub-graphs read included."""
    captured = [name for graph in node.subgraphs.values() for name in graph.captures()]
    return [name for name in dict.fromkeys((*node.inputs, *captured)) if name]


def means_the_same(node: Node, opset: int) -> bool:
    """Say whether a node, written for its own opset, means the same in the file's."""
    if node.domain not in DOMAINS or node.op_type in DRAWS:
        return False
    if not all(means_the_same(inner, opset) for graph in node.subgraphs.values() for inner in graph.nodes):
        return False
    if node.domain or node.opset == opset:
        return True
    lookup = default_lookup()
    meant = Node(node.name, node.op_type, node.domain, opset, node.inputs, node.outputs, node.attributes)
    here, there = lookup.find(node), lookup.find(meant)
    if not isinstance(here, Operator) or here is not there:
        return False
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return False
    return set(node.attributes) <= set(schema.attributes) and len(node.inputs) <= schema.max_input


def node_proto(node: Node, rename: Mapping[str, str] = {}, suffix: str = "") -> NodeProto:
    """Return a node as ONNX stores it, some values under other names."""
    schema = onnx.defs.get_schema(node.op_type, node.opset, node.domain) if _has_schema(node) else None
    proto = NodeProto(
        op_type=node.op_type,
        domain=node.domain,
        name=node.name + suffix,
        input=[rename.get(name, name) for name in node.inputs],
        output=[rename.get(name, name) for name in node.outputs],
    )
    for name, value in node.attributes.items():
        if value is None:
            continue
        kind = schema.attributes[name].type if schema and name in schema.attributes else None
        proto.attribute.append(_attribute(name, value, kind, rename, suffix))
    return proto


def _has_schema(node: Node) -> bool:
    return bool(onnx.defs.has(node.op_type, node.opset, node.domain))


def _attribute(name: str, value: Any, kind: Any, rename: Mapping[str, str], suffix: str) -> onnx.AttributeProto:
    if isinstance(value, Graph):
        return helper.make_attribute(name, graph_proto(value, rename, suffix))
    if isinstance(value, np.ndarray):
        return helper.make_attribute(name, tensor_proto(value, name))
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], np.ndarray):
        return helper.make_attribute(name, [tensor_proto(v, f"{name}_{i}") for i, v in enumerate(value)])
    return helper.make_attribute(name, value, attr_type=None if kind is None else int(kind.value))


def graph_proto(graph: Graph, rename: Mapping[str, str] = {}, suffix: str = "") -> GraphProto:
    """Return a sub-graph as ONNX stores it; only outer values are renamed."""
    inner = {port.name for port in graph.inputs} | set(graph.constants) | {o for n in graph.nodes for o in n.outputs}
    outer = {name: new for name, new in rename.items() if name not in inner}
    return helper.make_graph(
        [node_proto(node, outer, suffix) for node in graph.nodes],
        graph.name or "body",
        [port_proto(port) for port in graph.inputs],
        [port_proto(port, outer.get(port.name)) for port in graph.outputs],
        [tensor_proto(array, name) for name, array in graph.constants.items()],
    )


def port_proto(port: Port, name: str | None = None) -> onnx.ValueInfoProto:
    """Return an input or output as ONNX declares it."""
    name = name or port.name
    if "(" in port.dtype or port.dtype == "unknown":
        return onnx.ValueInfoProto(name=name)
    return helper.make_tensor_value_info(name, element_of(port.dtype), port.shape)


def element_types(graph: Graph) -> dict[str, int]:
    """Return the element types of a graph's values, as far as ONNX can tell them without the weights' numbers."""
    constants = [
        helper.make_tensor_value_info(name, _element(array), list(array.shape))
        for name, array in graph.constants.items()
    ]
    body = helper.make_graph(
        [node_proto(node) for node in graph.nodes],
        "types",
        [*map(port_proto, graph.inputs), *constants],
        [onnx.ValueInfoProto(name=port.name) for port in graph.outputs],
    )
    opsets = {node.domain: node.opset for node in graph.walk()} | {"": _opset(graph)}
    model = helper.make_model(body, opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()])
    found = {value.name: value for value in _inferred(model)}
    types = {name: value.type.tensor_type.elem_type for name, value in found.items()}
    return {name: element for name, element in types.items() if element} | {
        c.name: c.type.tensor_type.elem_type for c in constants
    }


def _inferred(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    try:
        model = shape_inference.infer_shapes(model)
    except Exception:  # a file whose declarations contradict each other still runs
        return list(model.graph.input)
    return [*model.graph.input, *model.graph.value_info, *model.graph.output]


def _opset(graph: Graph) -> int:
    return max((node.opset for node in graph.walk() if not node.domain), default=17)


def _element(array: np.ndarray) -> int:
    return TensorProto.STRING if array.dtype.kind in "OUS" else helper.np_dtype_to_tensor_dtype(array.dtype)
