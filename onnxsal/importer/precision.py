"""Models in half precision, raised to float32: constants, ports and casts alike.

Half precision has a range of 65,504 (float16) or 8 bits of mantissa (bfloat16): a gradient can leave the one and drown
in the other, though the answer itself does not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from onnx import TensorProto

from onnxsal.importer.graph import Graph, Node
from onnxsal.types import Port

HALVES = ("bfloat16", "float16")
ELEMENTS = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
TYPE_ATTRIBUTES = frozenset({"dtype", "output_dtype", "output_datatype", "precision", "softmax_precision", "to"})
"""Attributes that name an element type by its number."""


def has_halves(graph: Graph) -> bool:
    """Say whether anything in the graph is declared or stored in half precision."""
    declared = [port.dtype for port in (*graph.inputs, *graph.outputs)]
    stored = [array.dtype.name for array in graph.constants.values()]
    if any(half in name for name in (*declared, *stored) for half in HALVES):
        return True
    return any(_names_half(node) or any(map(has_halves, node.subgraphs.values())) for node in graph.walk())


def _names_half(node: Node) -> bool:
    return any(_is_half(value) or _is_element(name, value) for name, value in node.attributes.items())


def raised(graph: Graph) -> Graph:
    """Return the graph with float32 in the place of float16 and bfloat16."""
    return replace(
        graph,
        inputs=tuple(map(_raised_port, graph.inputs)),
        outputs=tuple(map(_raised_port, graph.outputs)),
        nodes=tuple(
            replace(node, attributes={n: _raised_attribute(n, v) for n, v in node.attributes.items()})
            for node in graph.nodes
        ),
        constants={name: _raised_array(array) for name, array in graph.constants.items()},
        value_ports={name: _raised_port(port) for name, port in graph.value_ports.items()},
    )


def _raised_port(port: Port) -> Port:
    return replace(port, dtype=_raised_name(port.dtype))


def _raised_name(dtype: str) -> str:
    return dtype.replace("bfloat16", "float32").replace("float16", "float32")


def raised_tensor(value: Any) -> Any:
    """Return a tensor in half precision as float32; other values as they are."""
    is_half = isinstance(value, torch.Tensor) and value.dtype in {torch.float16, torch.bfloat16}
    return value.float() if is_half else value


def _raised_attribute(name: str, value: Any) -> Any:
    if isinstance(value, Graph):
        return raised(value)
    if name == "type" and isinstance(value, str):  # of an Optional
        return _raised_name(value)
    if _is_element(name, value):
        return "FLOAT" if isinstance(value, str) else int(TensorProto.FLOAT)
    return _raised_array(value) if isinstance(value, np.ndarray) else value


def _is_element(name: str, value: Any) -> bool:
    """Say whether an attribute names half precision; opsets below 6 write the type's name."""
    if isinstance(value, str):
        return name == "to" and value.upper() in {"FLOAT16", "BFLOAT16"}
    return name in TYPE_ATTRIBUTES and value in ELEMENTS


def _is_half(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.name in HALVES


def _raised_array(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if _is_half(array) else array
