"""One node of a model as a model of its own, with what it was fed: enough to report a fault without the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxsal.errors import UsageError, nearest
from onnxsal.importer.bridge import to_proto
from onnxsal.importer.graph import Node
from onnxsal.importer.read import read_proto
from onnxsal.model import Model


def excerpt(model: Model, arrays: Mapping[str, np.ndarray], name: str) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Return a node of the main graph as a model, and what ONNX Runtime feeds it when the whole is fed the arrays.

    Weights that the node reads are initialisers of the excerpt; what its sub-graphs capture are inputs.

    Raises:
        UsageError: no such node, or one that is handed other values than arrays.
    """
    nodes = {node.name: node for node in model.graph.nodes}
    if name not in nodes:
        raise UsageError(f"no node {name!r} in the main graph", where=model.name, hint=nearest(name, nodes))
    node = nodes[name]
    captured = [value for graph in node.subgraphs.values() for value in graph.captures()]
    read = [value for value in dict.fromkeys((*node.inputs, *captured)) if value]
    constants = {value: model.graph.constants[value] for value in read if value in model.graph.constants}
    values = _values(model, arrays, [v for v in (*read, *node.outputs) if v and v not in constants])
    strange = [value for value in values if not isinstance(values[value], np.ndarray)]
    if strange:
        raise UsageError(f"{strange[0]!r} is no array", where=str(node), hint="report it with the whole model")
    feeds = {value: values[value] for value in read if value in values}
    graph = helper.make_graph(
        [_written(model, node)],
        "excerpt",
        [_port(value, array) for value, array in feeds.items()],
        [_port(value, values[value]) for value in node.outputs if value],
        [numpy_helper.from_array(np.ascontiguousarray(array), value) for value, array in constants.items()],
    )
    opsets = {**model.opset, node.domain: node.opset}
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=read_proto(model.source).ir_version), feeds


def _values(model: Model, arrays: Mapping[str, np.ndarray], wanted: list[str]) -> dict[str, Any]:
    """Return inner values as ONNX Runtime computes them."""
    known = {name: np.asarray(array) for name, array in arrays.items() if name in wanted}
    names = [name for name in dict.fromkeys(wanted) if name not in known]
    session = model.session(optimised=False, inner=names)
    return known | dict(zip(names, session.run(names, dict(arrays)), strict=True))


def _written(model: Model, node: Node) -> onnx.NodeProto:
    """Return the node as the file has it; one that comes from a function is written anew."""
    for proto in read_proto(model.source).graph.node:
        if tuple(proto.output) == node.outputs and proto.op_type == node.op_type:
            return proto
    return to_proto(node)


def _port(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
