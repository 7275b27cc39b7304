"""Weights as the layers take them: what a file stores in few bits is turned back to floats once, before anything runs.

Only nodes that give one number for each number they take are folded, so that no file can ask for much more memory than
it is long; and only those whose answer is the same whenever it is computed, so that nothing else changes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from onnxsal.importer.dtypes import numpy_dtype
from onnxsal.importer.graph import Graph, Node
from onnxsal.importer.lookup import Lookup
from onnxsal.importer.operator import Operator
from onnxsal.importer.values import to_host, to_parameter

FOLDED = frozenset({("", "DequantizeLinear"), ("com.microsoft", "DequantizeLinear"), ("", "Cast")})
"""Operators, with their domains, that turn stored weights to floats."""


def fold(graph: Graph, lookup: Lookup) -> Graph:
    """Return the graph with the weights that its first nodes turn to floats as constants; names stay.

    A constant that nothing but folded nodes read is left out. Sub-graphs are folded when they are built.
    """
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        array = _folded(node, constants, lookup)
        if array is None:
            nodes.append(node)
        else:
            constants[node.outputs[0]] = array
    if len(nodes) == len(graph.nodes):
        return graph
    return replace(graph, nodes=tuple(nodes), constants=_used(constants, graph, nodes))


def _folded(node: Node, constants: dict[str, np.ndarray], lookup: Lookup) -> np.ndarray | None:
    """Return what a node makes of weights, or None where it is none of these nodes."""
    if (node.domain, node.op_type) not in FOLDED or not all(name in constants for name in node.inputs if name):
        return None
    operator = lookup.find(node)
    arrays = [constants[name] if name else None for name in node.inputs]
    if not isinstance(operator, Operator) or not set(node.attributes) <= set(operator.attributes):
        return None
    if not (_is_cast_of_reals(node, *arrays) if node.op_type == "Cast" else _is_one_for_one(node, *arrays)):
        return None
    with torch.no_grad():
        return to_host(operator.function(*(None if a is None else to_parameter(a) for a in arrays), **node.attributes))


def _is_cast_of_reals(node: Node, *arrays: np.ndarray | None) -> bool:
    """Say whether a Cast makes floats of floats; whole numbers may be shapes and indices, which stay on the host."""
    to = node.attributes.get("to")
    (array,) = arrays if len(arrays) == 1 else (None,)
    return array is not None and _is_real(array.dtype) and isinstance(to, int) and _is_real(numpy_dtype(to))


def _is_one_for_one(node: Node, *arrays: np.ndarray | None) -> bool:
    """Say whether a DequantizeLinear has one scale in all, or one for each slice or block of the numbers."""
    x, scale, zero_point, *_ = (*arrays, None, None, None)
    if x is None or scale is None or (zero_point is not None and zero_point.shape != scale.shape):
        return False
    if scale.size == 1 and scale.ndim <= 1:
        return True
    axis, block = node.attributes.get("axis", 1), node.attributes.get("block_size", 0)
    if not -x.ndim <= axis < x.ndim:
        return False
    if not block:
        return scale.shape == (x.shape[axis],)
    blocks = -(-x.shape[axis] // block) if block > 0 else 0
    return scale.shape == tuple(blocks if i == axis % x.ndim else size for i, size in enumerate(x.shape))


def _is_real(dtype: np.dtype) -> bool:
    return dtype.name in {"float16", "bfloat16", "float32", "float64"}


def _used(constants: dict[str, np.ndarray], graph: Graph, nodes: list[Node]) -> dict[str, np.ndarray]:
    """Return the constants that a node, a sub-graph or an output still reads, or that none ever did."""
    still = {name for node in nodes for name in node.inputs} | {port.name for port in graph.outputs}
    still |= {name for node in nodes for inner in node.subgraphs.values() for name in inner.captures()}
    folded = {name for node in graph.nodes for name in node.inputs} - still
    return {name: array for name, array in constants.items() if name not in folded}
