"""onnx2torch as the last resort: its converters, and those registered with its ``add_converter``, serve single nodes.

A converter serves every later opset whose schema says the same (onnx2torch asks for the exact version). Our own
operators come first and cover all that onnx2torch converts, so that its converters which the conformance cases show to
be wrong are never reached; what is left for the bridge is what somebody else registered.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import onnx
from onnx import defs
from torch import nn

from onnxsal.errors import ImportFault
from onnxsal.importer.graph import Graph, Node
from onnxsal.plugins import Provider


@dataclass(frozen=True)
class Converter:
    """One onnx2torch converter, bound to the version it is registered for."""

    convert_node: Any
    version: int
    provider: Provider

    differentiable = True

    def convert(self, node: Node, graph: Graph) -> tuple[nn.Module, tuple[str, ...]]:
        """Return a module for the node, and the names of the values it takes.

        Raises:
            ImportFault: the converter refuses the node.
        """
        library = _onnx2torch()
        assert library is not None  # a Converter is only made where the library is there
        proto = to_proto(node)
        constants = [onnx.numpy_helper.from_array(graph.constants[n], n) for n in node.inputs if n in graph.constants]
        inputs = [onnx.helper.make_empty_tensor_value_info(n) for n in node.inputs if n and n not in graph.constants]
        outputs = [onnx.helper.make_empty_tensor_value_info(n) for n in node.outputs if n]
        around = library.onnx_graph.OnnxGraph(onnx.helper.make_graph([proto], "node", inputs, outputs, constants))
        try:
            module, mapping = self.convert_node(next(iter(around.nodes.values())), around)
        except Exception as error:  # a stranger's converter may raise anything
            raise ImportFault(f"onnx2torch's converter refuses it: {error}", where=str(node)) from error
        return module, tuple(mapping.inputs)


def to_proto(node: Node) -> onnx.NodeProto:
    """Return the node as protobuf again."""
    attributes = [
        onnx.helper.make_attribute(name, onnx.numpy_helper.from_array(value) if hasattr(value, "dtype") else value)
        for name, value in node.attributes.items()
        if not isinstance(value, Graph)
    ]
    proto = onnx.helper.make_node(node.op_type, node.inputs, node.outputs, name=node.name, domain=node.domain)
    proto.attribute.extend(attributes)
    return proto


def find(node: Node) -> Converter | None:
    """Return the converter that serves a node, or None."""
    library = _onnx2torch()
    if library is None or node.subgraphs:
        return None
    registered = library.node_converters.registry._CONVERTER_REGISTRY
    versions = [
        d.version
        for d in registered
        if (d.domain, d.operation_type) == (node.domain, node.op_type)
        and d.version <= node.opset
        and _same_schema(node, d.version)
    ]
    if not versions:
        return None
    version = max(versions)
    description = library.node_converters.registry.OperationDescription(node.domain, node.op_type, version)
    converter = registered[description]
    return Converter(converter, version, _provider_of(converter))


def _provider_of(converter: Any) -> Provider:
    from importlib.metadata import PackageNotFoundError, version

    module = converter.__module__
    try:
        return Provider(module.split(".")[0], version(module.split(".")[0]), module)
    except PackageNotFoundError:
        return Provider(module, "0", module)


def _same_schema(node: Node, version: int) -> bool:
    """Say whether the operator means the same at ``version`` as at the node's opset, as far as its schema tells."""
    try:
        now = defs.get_schema(node.op_type, node.opset, node.domain)
        then = defs.get_schema(node.op_type, version, node.domain)
    except defs.SchemaError:
        return True  # a private domain has no schema; who registered the converter knows
    return now.since_version == then.since_version or _meaning(now) == _meaning(then)


def _meaning(schema: defs.OpSchema) -> tuple[Any, ...]:
    attributes = {
        name: (a.type, a.required, a.default_value.SerializeToString()) for name, a in schema.attributes.items()
    }
    return [p.name for p in schema.inputs], [p.name for p in schema.outputs], attributes


@cache
def _onnx2torch() -> ModuleType | None:
    """Return onnx2torch, or None where it cannot be imported (it needs a torchvision that fits torch)."""
    try:
        import onnx2torch
        import onnx2torch.node_converters.registry
    except Exception as error:  # a torchvision built for another torch raises RuntimeError, a missing one ImportError
        warnings.warn(
            f"onnx2torch cannot be imported ({type(error).__name__}: {error}); operators only it knows are missing",
            stacklevel=2,
        )
        return None
    library: ModuleType = onnx2torch
    return library
