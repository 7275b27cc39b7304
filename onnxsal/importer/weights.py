"""What a graph has learnt: the constants its layers compute with, and the same graph with some of them shuffled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from onnxsal.importer.graph import Graph, Node
from onnxsal.importer.lookup import default_lookup
from onnxsal.importer.operator import Operator

QUANTISED = ("int8", "uint8")


def layers_before(graph: Graph, output: str) -> list[tuple[str, ...]]:
    """Return the names of the weights of each layer that a value is computed with, from the value back to the inputs.

    A layer is a node that takes constants of several numbers; shapes, axes and scales of a resize are none. A node with
    sub-graphs is one layer with all of theirs.
    """
    needed = {output}
    layers = []
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.outputs):
            continue
        needed.update(node.inputs, *(inner.captures() for inner in node.subgraphs.values()))
        if weights := tuple(dict.fromkeys(_weights(node, graph.constants))):
            layers.append(weights)
    return layers


def shuffled(graph: Graph, names: Iterable[str], seed: int) -> Graph:
    """Return the graph with the numbers within some constants in another order, which the seed and the name decide."""
    wanted = frozenset(names)
    constants = {n: _shuffled(array, n, seed) if n in wanted else array for n, array in graph.constants.items()}
    return replace(graph, constants=constants, nodes=tuple(_with_shuffled(node, wanted, seed) for node in graph.nodes))


def _with_shuffled(node: Node, names: frozenset[str], seed: int) -> Node:
    inner = {key: shuffled(graph, names, seed) for key, graph in node.subgraphs.items()}
    return replace(node, attributes={**node.attributes, **inner}) if inner else node


def _weights(node: Node, constants: Mapping[str, np.ndarray]) -> Iterator[str]:
    found = default_lookup().require(node)
    for i, name in enumerate(node.inputs):
        on_host = isinstance(found, Operator) and found.wants_host(i)
        if name in constants and not on_host and _is_learnt(constants[name]):
            yield name
    for graph in node.subgraphs.values():
        for inner in graph.nodes:
            yield from _weights(inner, {**constants, **graph.constants})


def _is_learnt(array: np.ndarray) -> bool:
    is_float = array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat", "float"))
    return array.size > 1 and (is_float or array.dtype.name in QUANTISED)


def _shuffled(array: np.ndarray, name: str, seed: int) -> np.ndarray:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return generator.permutation(array.reshape(-1)).reshape(array.shape)
