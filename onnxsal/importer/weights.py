"""What a graph has learnt: the constants its layers compute with, and the same graph with some of them shuffled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from onnxsal.importer.graph import Graph, Node
from onnxsal.importer.lookup import default_lookup
from onnxsal.importer.operator import Operator

QUANTISED = ("int8", "uint8")


def layers_before(graph: Graph, output: str) -> list[tuple[str, ...]]:
    """Return the names of the weights of each layer that a value is computed with, from the value back to the inputs.

    A layer is a node that takes constants of several numbers; shapes, axes and scales of a resize are none.
    """
    needed = {output}
    layers = []
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.outputs):
            continue
        needed.update(node.inputs, *(inner.captures() for inner in node.subgraphs.values()))
        if weights := _weights(graph, node):
            layers.append(weights)
    return layers


def shuffled(graph: Graph, names: Iterable[str], seed: int) -> Graph:
    """Return the graph with the numbers within some constants in another order, which the seed and the name decide."""
    return replace(graph, constants={**graph.constants, **{n: _shuffled(graph.constants[n], n, seed) for n in names}})


def _weights(graph: Graph, node: Node) -> tuple[str, ...]:
    found = default_lookup().require(node)
    on_host = found.wants_host if isinstance(found, Operator) else (lambda _: False)
    return tuple(
        name
        for i, name in enumerate(node.inputs)
        if name in graph.constants and not on_host(i) and _is_learnt(graph.constants[name])
    )


def _is_learnt(array: np.ndarray) -> bool:
    is_float = array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat", "float"))
    return array.size > 1 and (is_float or array.dtype.name in QUANTISED)


def _shuffled(array: np.ndarray, name: str, seed: int) -> np.ndarray:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return generator.permutation(array.reshape(-1)).reshape(array.shape)
