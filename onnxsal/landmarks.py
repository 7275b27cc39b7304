"""Places in a graph that somebody may want to explain or look at: embeddings, convolution blocks, attention.

An exporter's names say little, so they are found by what the nodes do. Each is named by an ONNX value, which is what
``--layer`` takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from onnxsal.importer.graph import Graph, Node

Kind: TypeAlias = Literal["embedding", "convolution", "attention"]

CONVOLUTIONS = {"Conv", "ConvTranspose", "FusedConv", "QLinearConv", "NhwcConv", "ConvInteger", "DeformConv"}
FINISHING = {
    *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu"),
    *("Celu", "Clip", "HardSwish", "Mish", "Gelu", "FastGelu", "QuickGelu", "Swish", "Cast", "DequantizeLinear"),
}
"""What belongs to a convolution when it alone reads it."""

GATES = {"Sigmoid", "HardSigmoid", "Tanh", "Softplus"}
"""Activations that are multiplied with what they were made of: x * sigmoid(x)."""

FUSED_ATTENTION = {"Attention", "MultiHeadAttention", "GroupQueryAttention", "DecoderMaskedMultiHeadAttention"}
FUSED_ATTENTION |= {
    "PackedAttention",
    "PackedMultiHeadAttention",
    "QAttention",
    "SparseAttention",
    "LongformerAttention",
}
ASIDE = {"Cast", "Dropout", "Identity", "Where", "Mul", "QuantizeLinear", "DequantizeLinear"}
"""What may stand between the softmax of an attention and the product with its values."""


@dataclass(frozen=True)
class Landmark:
    """One place: the ONNX value to name, and the node it begins with.

    ``value`` holds an embedding's vectors, what a convolution block gives, or an attention's weights where the graph
    shows them and its answer where one operator does it all.
    """

    kind: Kind
    value: str
    node: str
    operators: tuple[str, ...]


def landmarks(graph: Graph) -> tuple[Landmark, ...]:
    """Return the embeddings, convolution blocks and attentions of the main graph, in the graph's order."""
    finder = _Finder(graph)
    return tuple(found for node in graph.nodes if (found := finder.at(node)) is not None)


class _Finder:
    def __init__(self, graph: Graph) -> None:
        self.constants = graph.constants
        self.outputs = {port.name for port in graph.outputs}
        self.readers: dict[str, list[Node]] = {}
        self.varying = {port.name for port in graph.inputs}
        for node in graph.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
            if self.varying.intersection(node.inputs):
                self.varying.update(node.outputs)

    def at(self, node: Node) -> Landmark | None:
        if node.op_type in CONVOLUTIONS:
            chain = [node, *self._finishing(node)]
            return Landmark("convolution", chain[-1].outputs[0], node.name, tuple(n.op_type for n in chain))
        if self._looks_up(node):
            return Landmark("embedding", node.outputs[0], node.name, (node.op_type,))
        if node.op_type in FUSED_ATTENTION:
            return Landmark("attention", node.outputs[0], node.name, (node.op_type,))
        if node.op_type == "Softmax" and (product := self._weighs(node)) is not None:
            return Landmark("attention", node.outputs[0], node.name, ("Softmax", product.op_type))
        return None

    def _looks_up(self, node: Node) -> bool:
        """Say whether a node picks rows of a table of weights by numbers that vary with the input."""
        if node.op_type == "EmbedLayerNormalization":
            return True
        if node.op_type not in {"Gather", "GatherBlockQuantized"} or node.attributes.get("axis", 0) != 0:
            return False
        table = self.constants.get(node.inputs[0])
        if table is None or table.ndim != 2 or min(table.shape) < 2 or node.inputs[1] not in self.varying:
            return False
        return table.dtype.kind in "fV" or table.dtype.itemsize == 1

    def _finishing(self, node: Node) -> Iterator[Node]:
        """Yield the normalisation and activation that follow a convolution and alone read what comes before them."""
        value = node.outputs[0]
        while value not in self.outputs:
            readers = self.readers.get(value, [])
            gate = next((reader for reader in readers if reader.op_type in GATES), None)
            if len(readers) == 1 and readers[0].op_type in FINISHING | GATES and readers[0].inputs[0] == value:
                following = readers[0]
            elif len(readers) == 2 and gate is not None and self._gated(value, gate) in readers:
                following = readers[1] if readers[0] is gate else readers[0]
            else:
                return
            yield following
            value = following.outputs[0]

    def _gated(self, value: str, gate: Node) -> Node | None:
        """Return the product of a value and a gate made of it."""
        products = self.readers.get(gate.outputs[0], [])
        return (
            products[0] if len(products) == 1 and products[0].op_type == "Mul" and value in products[0].inputs else None
        )

    def _weighs(self, softmax: Node) -> Node | None:
        """Return the product by which a softmax weighs values that vary too."""
        value = softmax.outputs[0]
        for _ in range(4):
            readers = self.readers.get(value, [])
            product = next((r for r in readers if r.op_type in {"MatMul", "FusedMatMul", "Einsum"}), None)
            if product is not None:
                return product if all(name in self.varying for name in product.inputs) else None
            following = next((r for r in readers if r.op_type in ASIDE), None)
            if following is None:
                return None
            value = following.outputs[0]
        return None
