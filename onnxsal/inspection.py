"""What a model is made of: its ports, its operators and who serves them, and how far a gradient goes through it.

Everything is read off the graph; nothing is run, so a model with unsupported operators can be looked at too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx

from onnxsal.errors import ModelError
from onnxsal.importer.bridge import Converter
from onnxsal.importer.dtypes import numpy_dtype
from onnxsal.importer.graph import Graph, Node
from onnxsal.importer.lookup import HOW_TO_ADD, Lookup, default_lookup
from onnxsal.importer.operator import Operator
from onnxsal.landmarks import Landmark, landmarks
from onnxsal.model import Model
from onnxsal.types import Port

Origins: TypeAlias = "Mapping[str, frozenset[str]]"
"""By value, the inputs it can be derived by."""

NO_WEIGHTS = {"int64", "bool", "object"}
"""Element types of constants that are shapes, indices and texts."""

SHAPE_READERS = {"Shape", "Size"}
"""Operators that read no values."""

_NO_SLOPE = {
    "truth": "answers yes or no, with nothing between",
    "whole": "gives whole numbers, with nothing between",
    "text": "gives text",
    "label": "gives labels, with nothing between",
    "float": "stays where it is when its input moves a little",
}
"""Why what an operator gives has no slope, by what that is."""


@dataclass(frozen=True)
class OperatorUse:
    """One operator of the model: how often it is used, and what serves it.

    ``since`` is the opset from which on the serving function holds; ``provider``, ``function`` and ``since`` are None
    where nothing serves it, and ``missing`` then says why.
    """

    name: str
    domain: str
    opset: int
    nodes: tuple[str, ...]
    provider: str | None
    function: str | None
    since: int | None
    gradient: bool
    missing: str | None = None

    @property
    def full_name(self) -> str:
        """The name, with the domain in front where it is not the standard one."""
        return f"{self.domain}.{self.name}" if self.domain else self.name


@dataclass(frozen=True)
class OutputGradient:
    """Whether a gradient reaches a floating-point input from an output, and if not, the node that cuts it."""

    output: str
    reaches: tuple[str, ...]
    cut: str | None = None
    why: str | None = None
    """Why no gradient passes that node."""


@dataclass(frozen=True)
class Cut:
    """Nodes of one operator at which the gradient ends, and why."""

    operator: str
    nodes: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Inspection:
    """The facts about a model."""

    name: str
    size: int
    sha256: str
    opset: Mapping[str, int]
    producer: str
    metadata: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    parameters: int
    parameter_bytes: int
    operators: tuple[OperatorUse, ...]
    gradients: tuple[OutputGradient, ...]
    carrying: tuple[str, ...]
    """The nodes through which a gradient passes from an output to a floating-point input."""
    cutting: tuple[str, ...]
    """The nodes at which it ends, in the graph's order."""
    cuts: tuple[Cut, ...] = ()
    """Those nodes by operator and reason, in the order in which each comes first."""
    layers: tuple[Landmark, ...] = ()
    """Embeddings, convolution blocks and attentions, in the graph's order: values that ``--layer`` takes."""
    runnable: bool | None = None
    """Whether ONNX Runtime loads a model that cannot be imported; None where it can be."""

    @property
    def missing(self) -> tuple[OperatorUse, ...]:
        """The operators nobody serves."""
        return tuple(use for use in self.operators if use.missing)

    @property
    def nodes(self) -> int:
        """How many nodes there are, those of sub-graphs included."""
        return sum(len(use.nodes) for use in self.operators)

    @property
    def meta(self) -> dict[str, Any]:
        """The facts as plain JSON values."""
        facts = asdict(self)
        more = {"nodes_in_all": self.nodes, "supported": not self.missing}
        return facts | more | {"hint": HOW_TO_ADD if self.missing else None}


def inspect(model: Model, lookup: Lookup | None = None) -> Inspection:
    """Return the facts about a model; unsupported operators are among them, not a fault."""
    lookup = lookup or default_lookup()
    weights = _weights(model.graph)
    flow = _Flow(lookup)
    gradients = tuple(flow.gradients(model.graph))
    return Inspection(
        name=model.name,
        size=model.size,
        sha256=model.sha256,
        opset=dict(model.opset),
        producer=model.producer,
        metadata=dict(model.metadata),
        inputs=model.inputs,
        outputs=model.outputs,
        parameters=sum(array.size for array in weights),
        parameter_bytes=sum(array.nbytes for array in weights),
        operators=tuple(_uses(model.graph, lookup)),
        gradients=gradients,
        carrying=tuple(flow.carrying),
        cutting=tuple(node.name for node in flow.cutting),
        cuts=tuple(flow.cuts()),
        layers=landmarks(model.graph),
        runnable=_runs(model) if any(lookup.find(node) is None for node in model.graph.walk()) else None,
    )


def _runs(model: Model) -> bool:
    """Say whether ONNX Runtime takes the model."""
    try:
        model.session()
    except ModelError:
        return False
    return True


def gradient_reach(model: Model) -> tuple[OutputGradient, ...]:
    """Return for each output which floating-point inputs a gradient reaches, and what cuts it where none."""
    return tuple(_Flow(default_lookup()).gradients(model.graph))


def _weights(graph: Graph) -> list[np.ndarray]:
    """Return the constants of the graph and its sub-graphs that are numbers to compute with, each once."""
    graphs = [graph, *(inner for node in graph.walk() for inner in node.subgraphs.values())]
    arrays = {id(array): array for g in graphs for array in g.constants.values()}
    return [array for array in arrays.values() if array.dtype.name not in NO_WEIGHTS]


def _uses(graph: Graph, lookup: Lookup) -> Iterator[OperatorUse]:
    """Yield the operators in use, the most frequent first."""
    nodes = {(node.domain, node.op_type, node.opset): node for node in graph.walk()}
    counts = Counter((node.domain, node.op_type, node.opset) for node in graph.walk())
    for key, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        names = tuple(n.name for n in graph.walk() if (n.domain, n.op_type, n.opset) == key)
        yield _use(nodes[key], names, lookup)


def _use(node: Node, names: tuple[str, ...], lookup: Lookup) -> OperatorUse:
    found, provider = lookup.find(node), lookup.provider(node)
    if found is None:
        why = lookup.explain(node)
        return OperatorUse(node.op_type, node.domain, node.opset, names, None, None, None, False, why)
    function = _function(found)
    since = found.version if isinstance(found, Converter) else found.since
    who = str(provider)
    return OperatorUse(node.op_type, node.domain, node.opset, names, who, function, since, found.differentiable)


def _function(found: Operator | Converter) -> str:
    """Return family and function: ``convolution.conv``."""
    module = found.provider.plugin if isinstance(found, Converter) else found.__module__
    name = found.convert_node.__name__ if isinstance(found, Converter) else found.__name__
    return f"{module.rpartition('.')[2]}.{name}"


@dataclass
class _Flow:
    """Follows the gradient from the floating-point inputs on, node by node."""

    lookup: Lookup
    served: dict[tuple[str, str, int], Operator | Converter | None] = field(default_factory=dict)
    carrying: list[str] = field(default_factory=list)
    cutting: list[Node] = field(default_factory=list)

    def gradients(self, graph: Graph) -> Iterator[OutputGradient]:
        """Yield what each output reaches, and note the nodes on the way."""
        inputs = [port.name for port in graph.inputs if port.is_float]
        origins = self._forward(graph, {name: frozenset([name]) for name in inputs})
        self._note(graph, origins)
        for port in graph.outputs:
            reached = origins.get(port.name, frozenset())
            cut = None if reached else self._first_cut(graph, origins, port.name)
            place, why = (None, None) if cut is None else (str(cut), self._why(cut))
            yield OutputGradient(port.name, tuple(name for name in inputs if name in reached), place, why)

    def cuts(self) -> Iterator[Cut]:
        """Yield the nodes that cut, by operator and reason."""
        found: dict[tuple[str, str], list[str]] = {}
        for node in self.cutting:
            found.setdefault((node.operator, self._why(node)), []).append(node.name)
        for (operator, why), nodes in found.items():
            yield Cut(operator, tuple(nodes), why)

    def _why(self, node: Node) -> str:
        """Say why no gradient passes a node: what comes out of it, and what it does."""
        found = self._serving(node)
        if found is None:
            return "is served by nobody, so that its slope is unknown"
        if node.subgraphs:
            return "holds graphs of which none hands a gradient on"
        does = (found.__doc__ or "").partition("\n")[0].partition(" (opset")[0].rstrip(".")
        return f"{_NO_SLOPE[_outcome(node)]}: {does[:1].lower()}{does[1:]}" if does else _NO_SLOPE[_outcome(node)]

    def _forward(self, graph: Graph, origins: Origins) -> dict[str, frozenset[str]]:
        """Return, for each value, the inputs it can be derived by."""
        found = dict(origins)
        for node in graph.nodes:
            sources = frozenset[str]().union(*(found.get(name, frozenset()) for name in self._data(node)))
            if sources and self._passes(node):
                found |= {name: self._through(node, found, sources) for name in node.outputs if name}
        return found

    def _through(self, node: Node, found: Origins, sources: frozenset[str]) -> frozenset[str]:
        """Return what comes out of a node; out of one with sub-graphs what comes out of any of them."""
        if not node.subgraphs:
            return sources
        ends = frozenset[str]()
        for graph in node.subgraphs.values():
            inner = self._forward(graph, {**found, **{port.name: sources for port in graph.inputs}})
            ends |= frozenset[str]().union(*(inner.get(port.name, frozenset()) for port in graph.outputs))
        return ends

    def _note(self, graph: Graph, origins: Origins) -> None:
        """Sort the nodes between inputs and outputs into those that carry the gradient and those that cut it."""
        needed = self._needed(graph, [port.name for port in graph.outputs])
        for node in graph.nodes:
            if needed.intersection(node.outputs) and self._derivable(node, origins):
                if self._cuts(node, origins):
                    self.cutting.append(node)
                else:
                    self.carrying.append(node.name)

    def _derivable(self, node: Node, origins: Origins) -> bool:
        return any(origins.get(name) for name in self._data(node))

    def _cuts(self, node: Node, origins: Origins) -> bool:
        return self._derivable(node, origins) and not any(origins.get(name) for name in node.outputs)

    def _needed(self, graph: Graph, outputs: Iterable[str]) -> set[str]:
        """Return the values from which the outputs are computed."""
        needed = set(outputs)
        for node in reversed(graph.nodes):
            if needed.intersection(node.outputs):
                needed.update(self._data(node))
        return needed

    def _first_cut(self, graph: Graph, origins: Origins, output: str) -> Node | None:
        """Return the first node on the way to an output that takes a value with a gradient and gives none on."""
        needed = self._needed(graph, [output])
        cuts = (n for n in graph.nodes if needed.intersection(n.outputs) and self._cuts(n, origins))
        return next(cuts, None)

    def _serving(self, node: Node) -> Operator | Converter | None:
        key = node.domain, node.op_type, node.opset
        if key not in self.served:
            self.served[key] = self.lookup.find(node)
        return self.served[key]

    def _data(self, node: Node) -> list[str]:
        """Return the values a node computes with; shapes and axes, which steer it, are left out."""
        if not node.domain and node.op_type in SHAPE_READERS:
            return []
        found = self._serving(node)
        steering = found.host_parameters if isinstance(found, Operator) else frozenset()
        inner = [name for graph in node.subgraphs.values() for name in graph.captures()]
        return [name for i, name in enumerate(node.inputs) if name and i not in steering] + inner

    def _passes(self, node: Node) -> bool:
        found = self._serving(node)
        if found is None or not found.differentiable:
            return False
        return node.op_type != "Cast" or _is_float(node.attributes.get("to"))


def _is_float(to: Any) -> bool:
    """Say whether a Cast's target is a floating-point type; it was a name before opset 6."""
    return "FLOAT" in to.upper() or to.upper() == "DOUBLE" if isinstance(to, str) else "float" in numpy_dtype(to).name


def _outcome(node: Node) -> str:
    """Return what kind of values a node gives, as its schema tells it: a key of `_NO_SLOPE`."""
    to = node.attributes.get("to")
    if node.op_type == "Cast" and to is not None:
        return _kind_of(to.lower() if isinstance(to, str) else numpy_dtype(to).name)
    try:
        schema = onnx.defs.get_schema(node.op_type, node.opset, node.domain)
    except onnx.defs.SchemaError:  # the schemas of other domains are not known here
        return "float"
    kinds = {_kind_of(kind) for output in schema.outputs for kind in output.types}
    if len(kinds) == 1:
        return kinds.pop()
    return "label" if kinds == {"whole", "text"} else "float"


def _kind_of(name: str) -> str:
    """Return the kind of a type by its name, ``tensor(int64)`` or ``int64``."""
    words = {"bool": "truth", "int": "whole", "string": "text", "str": "text", "object": "text"}
    return next((kind for word, kind in words.items() if word in name), "float")
