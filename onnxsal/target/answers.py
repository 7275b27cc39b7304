"""What a target may speak of: the model's outputs, and the inner values that some targets need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxsal.errors import UsageError
from onnxsal.importer.graph import Graph
from onnxsal.importer.values import as_tensor
from onnxsal.target.logits import before_softmax
from onnxsal.target.resolver import resolve
from onnxsal.target.suppression import Suppression, suppressions
from onnxsal.target.value import outputs_of
from onnxsal.types import Feeds, Target, TargetSpec

Run = Callable[[Sequence[str]], Feeds]
"""Returns values of the graph by name."""


@dataclass(frozen=True)
class Answers:
    """What a model answered to the call that is explained.

    Args:
        values: The outputs by name, and inner values.
        suppressed: What the graph's NonMaxSuppression nodes choose from, where the target is a box.
        logits: For each output that is explained before its softmax, the inner value that stands for it; None where
            outputs are explained as they are.
        graph: The model's graph.
    """

    values: Feeds
    suppressed: tuple[Suppression, ...]
    logits: Mapping[str, str] | None
    graph: Graph

    def resolve(
        self, spec: TargetSpec, examples: int, *, stacked: bool, labels: Sequence[str] | None = None
    ) -> list[list[Target]]:
        """Return the targets by rank, as `onnxsal.target.resolve` does, errors too."""
        ranked = resolve(spec, self.values, examples, stacked=stacked, labels=labels, suppressed=self.suppressed)
        if self.logits is None:
            return ranked
        for name in outputs_of(target for rank in ranked for target in rank):
            if name not in self.logits:
                before_softmax(self.graph, name)  # says what the output ends in
        return [[_renamed(target, self.logits) for target in rank] for rank in ranked]


def ask(run: Run, graph: Graph, spec: TargetSpec, *, pre_softmax: bool = False) -> Answers:
    """Run the model once for all that the target may speak of.

    Raises:
        UsageError: no output ends in a softmax, where the numbers before it are asked for.
    """
    outputs = [port.name for port in graph.outputs]
    logits = _logits(graph, outputs) if pre_softmax else None
    suppressed = tuple(suppressions(graph)) if _speaks_of_boxes(spec) else ()
    shown = {name: (logits or {}).get(name, name) for name in outputs}
    shown |= {name: name for one in suppressed for name in (one.boxes, one.scores)}
    known = {name: as_tensor(graph.constants[name]) for name in shown.values() if name in graph.constants}
    values = known | run([name for name in dict.fromkeys(shown.values()) if name not in known])
    return Answers({name: values[inner] for name, inner in shown.items()}, suppressed, logits, graph)


def _logits(graph: Graph, outputs: Sequence[str]) -> dict[str, str]:
    found, fault = {}, None
    for name in outputs:
        try:
            found[name] = before_softmax(graph, name)
        except UsageError as error:
            fault = fault or error
    if fault and not found:
        raise fault
    return found


def _speaks_of_boxes(spec: Any) -> bool:
    specs = spec if isinstance(spec, list) else [spec]
    return any(isinstance(one, str) and "box:" in one for one in specs)


def _renamed(target: Target, names: Mapping[str, str]) -> Target:
    minus = _renamed(target.minus, names) if target.minus else None
    return replace(target, output=names[target.output], minus=minus)
