"""The numbers before a final softmax: probabilities rise when the other classes fall, logits speak for themselves."""

from __future__ import annotations

from onnxsal.errors import UsageError
from onnxsal.importer.graph import Graph, Node

SQUASHING = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
PASSING = frozenset({"Cast", "Identity"})


def before_softmax(graph: Graph, output: str) -> str:
    """Return the ONNX value that the final Softmax, LogSoftmax or Sigmoid of an output was made from.

    Raises:
        UsageError: the output ends in another operator.
    """
    made_by = {name: node for node in graph.nodes for name in node.outputs if name}
    node: Node | None = made_by.get(output)
    while node is not None and node.op_type in PASSING:
        node = made_by.get(node.inputs[0])
    if node is None or node.op_type not in SQUASHING:
        ends = f"ends in {node.op_type}" if node else "is not computed"
        raise UsageError(
            f"output {output!r} {ends}, not in a softmax",
            where="--pre-softmax",
            hint="leave it out: the numbers are what they are; or name an inner value with --neuron",
        )
    return node.inputs[0]
