"""Bring a model into one shape: functions inlined, constants named, initialisers out of the inputs, names unique."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TypeProto, ValueInfoProto

from onnxsal.errors import ModelError
from onnxsal.importer.graph import Graph, Node
from onnxsal.importer.read import LONGEST_NAME, WHOLE, Apart, read_array, read_sparse
from onnxsal.types import Dim, Port

MAX_DEPTH = 64
"""How deep sub-graphs and functions may nest before a file is taken for hostile."""

MAX_NODES = 250_000
"""How many nodes a graph may have, sub-graphs and the bodies of functions included, each as often as it is called."""

MAX_BODY_BYTES = 2**31
"""How many bytes the constants of functions may take, each as often as its function is called."""

MAX_NAME = 2**16
"""How long a name may be."""

STANDARD_DOMAINS = {"ai.onnx": ""}


def normalise(model: onnx.ModelProto, folder: Path | None = None, apart: Apart = WHOLE) -> Graph:
    """Return the model's main graph as plain data.

    Args:
        model: The model.
        folder: Where its external data lie.
        apart: Its large tensors where it was read without them (`read_apart`).

    Raises:
        ModelError: arrays that cannot be read, functions that call themselves, values used before they exist.
    """
    opsets = {_domain(entry.domain): entry.version for entry in model.opset_import}
    functions = {(_domain(f.domain), f.name, f.overload): f for f in model.functions}
    graph = _Normaliser(functions, folder, apart).graph(model.graph, opsets, depth=0)
    _check_order(graph, ())
    return graph


def _domain(name: str) -> str:
    return STANDARD_DOMAINS.get(name, name)


class _Normaliser:
    """Walks the protobuf once; holds what every level of sub-graph needs."""

    def __init__(
        self, functions: Mapping[tuple[str, str, str], FunctionProto], folder: Path | None, apart: Apart
    ) -> None:
        self.functions = functions
        self.read = partial(read_array, folder=folder, apart=apart)
        self.read_sparse = partial(read_sparse, folder=folder, apart=apart)
        self.names: dict[str, int] = {}
        self.calls = 0
        self.count = 0
        self.body_bytes = 0

    def graph(
        self, proto: GraphProto, opsets: Mapping[str, int], depth: int, renames: Mapping[str, str] | None = None
    ) -> Graph:
        if depth > MAX_DEPTH:
            raise ModelError(f"sub-graphs or functions nest deeper than {MAX_DEPTH}", where=f"graph {proto.name!r}")
        self.check_count(len(proto.node))
        renames = renames or {}
        constants = {t.name: self.read(t) for t in proto.initializer}
        constants |= {s.values.name: self.read_sparse(s) for s in proto.sparse_initializer}
        self.weigh(sum(array.nbytes for array in constants.values()), depth)
        nodes = self.nodes(proto.node, opsets, depth, dict(renames), constants, {})
        return Graph(
            name=proto.name,
            inputs=tuple(port_of(v) for v in proto.input if v.name not in constants),
            outputs=tuple(_renamed(port_of(v), renames) for v in proto.output),
            nodes=tuple(nodes),
            constants=constants,
            value_ports={v.name: port_of(v) for v in proto.value_info},
        )

    def nodes(
        self,
        protos: Iterable[NodeProto],
        opsets: Mapping[str, int],
        depth: int,
        renames: dict[str, str],
        constants: dict[str, np.ndarray],
        bound: Mapping[str, AttributeProto],
    ) -> list[Node]:
        """Return the nodes as data; Constant nodes go to ``constants``, function calls become their bodies.

        ``bound`` are the attributes of the function call whose body this is, for attributes given by reference.
        """
        nodes: list[Node] = []
        for proto in protos:
            self.take(proto)
            domain = _domain(proto.domain)
            function = self.functions.get((domain, proto.op_type, proto.overload))
            attributes = [a for a in (_bind(a, bound) for a in proto.attribute) if a is not None]
            inputs = tuple(renames.get(name, name) for name in proto.input)
            if function is not None:
                nodes += self.inline(proto, function, inputs, attributes, depth, renames, constants)
                continue
            outputs = tuple(renames.get(name, name) for name in proto.output)
            if proto.op_type == "Constant" and not domain:
                constants[outputs[0]] = self.weighed(self.constant(attributes, outputs[0]), depth)
                continue
            nodes.append(
                Node(
                    name=self.unique(proto.name or f"{proto.op_type}_{next(filter(None, outputs), '')}"),
                    op_type=proto.op_type,
                    domain=domain,
                    opset=_opset(opsets, domain, proto),
                    inputs=inputs,
                    outputs=outputs,
                    attributes={a.name: self.attribute(a, opsets, depth, renames) for a in attributes},
                )
            )
        return nodes

    def inline(
        self,
        call: NodeProto,
        function: FunctionProto,
        inputs: tuple[str, ...],
        attributes: list[AttributeProto],
        depth: int,
        renames: dict[str, str],
        constants: dict[str, np.ndarray],
    ) -> list[Node]:
        """Return a function's body with the call's names; inner names get the call's name in front."""
        if depth > MAX_DEPTH:
            raise ModelError(f"calls itself, or functions nest deeper than {MAX_DEPTH}", where=function.name)
        self.calls += 1
        prefix = f"{call.name or function.name}_{self.calls}/"
        # an input the call leaves out is the empty name, which a node inside understands as absent
        inner = {name: inputs[i] if i < len(inputs) else "" for i, name in enumerate(function.input)}
        inner |= {
            n: renames.get(o, o) for n, o in zip(function.output, call.output, strict=False) if o and n not in inner
        }
        passed_on = [(n, o) for n, o in zip(function.output, call.output, strict=False) if o and n in function.input]
        for node in function.node:
            for name in node.output:
                inner.setdefault(name, prefix + name if name else "")
        bound = {a.name: a for a in function.attribute_proto} | {a.name: a for a in attributes}
        opsets = {_domain(entry.domain): entry.version for entry in function.opset_import}
        body = self.nodes(function.node, opsets, depth + 1, inner, constants, bound)
        for name, output in passed_on:  # a function may hand an input straight back
            opset = opsets.get("", 13)
            body.append(
                Node(self.unique(prefix + name), "Identity", "", opset, (inner[name],), (renames.get(output, output),))
            )
        return body

    def attribute(
        self, proto: AttributeProto, opsets: Mapping[str, int], depth: int, renames: Mapping[str, str]
    ) -> Any:
        self.weigh(proto.ByteSize(), depth)
        match proto.type:
            case AttributeProto.GRAPH:
                return self.graph(proto.g, opsets, depth + 1, renames)
            case AttributeProto.GRAPHS:
                return [self.graph(g, opsets, depth + 1, renames) for g in proto.graphs]
            case AttributeProto.TENSOR:
                return self.weighed(self.read(proto.t), depth)
            case AttributeProto.TENSORS:
                return [self.weighed(self.read(t), depth) for t in proto.tensors]
            case AttributeProto.SPARSE_TENSOR:
                return self.weighed(self.read_sparse(proto.sparse_tensor), depth)
            case AttributeProto.TYPE_PROTO:
                return type_name(proto.tp)
            case AttributeProto.STRING:
                return proto.s.decode("utf-8", "surrogateescape")
            case AttributeProto.STRINGS:
                return [s.decode("utf-8", "surrogateescape") for s in proto.strings]
        value = onnx.helper.get_attribute_value(proto)
        return list(value) if isinstance(value, Iterable) else value

    def constant(self, attributes: list[AttributeProto], name: str) -> np.ndarray:
        """Return the value of a Constant node (seven ways to write it)."""
        if len(attributes) != 1:
            raise ModelError(f"Constant needs one value, has {len(attributes)}", where=f"value {name!r}")
        (attribute,) = attributes
        match attribute.name:
            case "value":
                return self.read(attribute.t)
            case "sparse_value":
                return self.read_sparse(attribute.sparse_tensor)
            case "value_float":
                return np.array(attribute.f, np.float32)
            case "value_floats":
                return np.array(attribute.floats, np.float32)
            case "value_int":
                return np.array(attribute.i, np.int64)
            case "value_ints":
                return np.array(attribute.ints, np.int64)
            case "value_string":
                return np.array(attribute.s.decode("utf-8", "surrogateescape"), object)
            case "value_strings":
                return np.array([s.decode("utf-8", "surrogateescape") for s in attribute.strings], object)
        raise ModelError(f"unknown Constant attribute {attribute.name!r}", where=f"value {name!r}")

    def unique(self, name: str) -> str:
        """Return the name, with a number behind it where another node has it already."""
        candidate = name
        while candidate in self.names:
            self.names[name] = self.names.get(name, 0) + 1
            candidate = f"{name}_{self.names[name]}"
        self.names[candidate] = 0
        return candidate

    def take(self, proto: NodeProto) -> None:
        """Count a node, or a call of a function."""
        self.count += 1
        self.check_count(0)
        longest = max(map(len, (proto.name, proto.op_type, proto.domain, *proto.input, *proto.output)))
        if longest > MAX_NAME:
            raise ModelError(
                f"a name of {longest:,} characters, {MAX_NAME:,} at most",
                where=f"node {proto.name[:LONGEST_NAME]!r}",
                hint="the file is damaged; export it again",
            )

    def check_count(self, more: int) -> None:
        """Refuse too many nodes, some of them still to come."""
        if self.count + more > MAX_NODES:
            raise ModelError(
                f"more than {MAX_NODES:,} nodes, functions written out",
                where="graph",
                hint="no network has so many: a loop was unrolled, or the file is made to exhaust memory",
            )

    def weighed(self, array: np.ndarray, depth: int) -> np.ndarray:
        """Return the array, its bytes counted."""
        self.weigh(array.nbytes, depth)
        return array

    def weigh(self, size: int, depth: int) -> None:
        """Count the bytes that a function's body brings with each call."""
        self.body_bytes += size if depth else 0
        if self.body_bytes > MAX_BODY_BYTES:
            raise ModelError(
                f"the constants of functions and sub-graphs take more than {MAX_BODY_BYTES:,} bytes",
                where="graph",
                hint="make them initialisers, which are held once",
            )


def _renamed(port: Port, renames: Mapping[str, str]) -> Port:
    return Port(renames.get(port.name, port.name), port.dtype, port.shape)


def _bind(attribute: AttributeProto, bound: Mapping[str, AttributeProto]) -> AttributeProto | None:
    """Return the attribute with a reference to the function's own attribute resolved; None where that is absent."""
    if not attribute.ref_attr_name:
        return attribute
    if attribute.ref_attr_name not in bound:
        return None
    resolved = AttributeProto()
    resolved.CopyFrom(bound[attribute.ref_attr_name])
    resolved.name = attribute.name
    return resolved


def _opset(opsets: Mapping[str, int], domain: str, proto: NodeProto) -> int:
    if domain in opsets:
        return opsets[domain]
    if domain:  # many exporters forget to import the domains they use; ONNX Runtime reads version 1
        return 1
    raise ModelError("the model imports no opset of the standard domain", where=f"node {proto.name!r}")


def port_of(value: ValueInfoProto) -> Port:
    """Return name, element type and shape of a declared value."""
    kind = value.type.WhichOneof("value")
    shape: tuple[Dim, ...] | None = None
    if kind in {"tensor_type", "sparse_tensor_type"} and getattr(value.type, kind).HasField("shape"):
        dims = getattr(value.type, kind).shape.dim
        shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims)
    return Port(value.name, type_name(value.type), shape)


def type_name(proto: TypeProto) -> str:
    """Return a type as text: ``float32``, ``sequence(int64)``, ``optional(sequence(float32))``."""
    match proto.WhichOneof("value"):
        case "tensor_type":
            return _dtype_name(proto.tensor_type.elem_type)
        case "sparse_tensor_type":
            return f"sparse({_dtype_name(proto.sparse_tensor_type.elem_type)})"
        case "sequence_type":
            return f"sequence({type_name(proto.sequence_type.elem_type)})"
        case "optional_type":
            return f"optional({type_name(proto.optional_type.elem_type)})"
        case "map_type":
            return f"map({_dtype_name(proto.map_type.key_type)}, {type_name(proto.map_type.value_type)})"
    return "unknown"


def _dtype_name(elem_type: int) -> str:
    if elem_type == onnx.TensorProto.STRING:
        return "string"
    if elem_type == onnx.TensorProto.UNDEFINED:
        return "unknown"
    try:
        return onnx.helper.tensor_dtype_to_np_dtype(elem_type).name
    except KeyError:
        return "unknown"


def _check_order(graph: Graph, outer: tuple[set[str], ...]) -> None:
    """Refuse a graph that reads a value before a node has made it (which a cycle does too)."""
    known = {port.name for port in graph.inputs} | set(graph.constants)
    scopes = (known, *outer)
    for node in graph.nodes:
        missing = [name for name in node.inputs if name and not _is_known(name, scopes)]
        if missing:
            raise ModelError(
                f"reads {missing[0]!r}, which nothing before it makes",
                where=str(node),
                hint="the graph has a cycle, or its nodes are out of order; export it again",
            )
        for subgraph in node.subgraphs.values():
            _check_order(subgraph, scopes)
        known.update(name for name in node.outputs if name)
    for port in graph.outputs:
        if not _is_known(port.name, scopes):
            raise ModelError(f"output {port.name!r} is made by no node", where=f"graph {graph.name!r}")


def _is_known(name: str, scopes: tuple[set[str], ...]) -> bool:
    return any(name in scope for scope in scopes)
