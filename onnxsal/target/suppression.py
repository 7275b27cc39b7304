"""Where a detector throws boxes away: what stood before a NonMaxSuppression still has gradients and every score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnxsal.importer.graph import Graph


@dataclass(frozen=True)
class Suppression:
    """The values that one NonMaxSuppression node chooses from.

    Args:
        boxes: The ONNX value with the boxes, shape [examples, boxes, 4].
        scores: The ONNX value with their scores, shape [examples, classes, boxes].
        centred: Whether boxes are given by centre and size, not by two corners (y first).
    """

    boxes: str
    scores: str
    centred: bool


def suppressions(graph: Graph) -> Iterator[Suppression]:
    """Yield what the NonMaxSuppression nodes of a graph choose from; those in sub-graphs are not seen."""
    for node in graph.nodes:
        if node.op_type == "NonMaxSuppression" and not node.domain:
            yield Suppression(node.inputs[0], node.inputs[1], bool(node.attributes.get("center_point_box", 0)))
