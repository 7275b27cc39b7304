"""Put the ONNX graph together: original nodes where a value is theirs, lowered aten calls for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor, fx

from onnxsal.compiler.alias import root
from onnxsal.compiler.beside import Beside
from onnxsal.compiler.dimensions import Dimensions
from onnxsal.compiler.emit import ELEMENTS, Builder, Value
from onnxsal.compiler.keep import element_types, inputs_of, kept_nodes, node_proto, port_proto
from onnxsal.compiler.lower import lowerings, name_of
from onnxsal.compiler.trace import Trace, origin
from onnxsal.errors import CompileFault
from onnxsal.importer.graph import Graph
from onnxsal.importer.values import to_host
from onnxsal.types import Port


@dataclass(frozen=True)
class Meta:
    """What the trace knows of a value."""

    dtype: torch.dtype
    shape: tuple[Any, ...]


@dataclass(frozen=True)
class Kept:
    """A node of the original, in one of the runs."""

    run: int
    node: str


Item: TypeAlias = "fx.Node | Kept"
"""Something to write: a traced call, or an original node."""


def assemble(
    graph: Graph, trace: Trace, opset: int, method: str, suffix: str, beside: Beside | None = None
) -> onnx.GraphProto:
    """Return the graph that gives the model's outputs and what was traced, each as ``<input name><suffix>``.

    Weights that the file could not hold are left to ``beside``, if there is one.

    Raises:
        CompileFault: a traced operator cannot be written as ONNX.
    """
    return _Assembly(graph, trace, opset, method, beside or Beside(False)).graph(suffix)


class _Assembly:
    def __init__(self, graph: Graph, trace: Trace, opset: int, method: str, beside: Beside) -> None:
        self.source = graph
        self.trace = trace
        self.method = method
        self.beside = beside
        self.types = element_types(graph)
        self.builder = Builder(opset, taken=names_of(graph), constants=dict(graph.constants))
        self.weights = _Weights(graph)
        self.nodes = {node.name: node for node in graph.nodes}
        self.makers = [kept_nodes(graph, opset, run.values, self.types) for run in trace.runs]
        self.originals = self._originals()
        self.values: dict[Item, Any] = {}
        self.dimensions = Dimensions.of(trace.inputs)

    def graph(self, suffix: str) -> onnx.GraphProto:
        """Write everything that the outputs need."""
        labels = {name: self.builder.fresh(f"{name}{suffix}") for name in self.trace.results}
        for port, node in self.trace.inputs.items():
            self.values[node] = Value(port.name, node.meta["val"].dtype, tuple(node.meta["val"].shape))
        items = [item for port in self.source.outputs if (item := self._original(0, port.name)) is not None]
        for item in _in_order([*items, *map(root, self.trace.results.values())], self._needs):
            self._write(item)
        for port in self.source.outputs:
            self._name_output(self._read(0, port.name), port.name)
        outputs = [port_proto(self._believed(port)) for port in self.source.outputs]
        for port in (p for p in self.source.inputs if p.name in self.trace.results):
            self._name_output(self.values[root(self.trace.results[port.name])], labels[port.name])
            outputs.append(port_proto(port, labels[port.name]))
        return self._pruned(outputs)

    def _believed(self, port: Port) -> Port:
        """Return an output as it is declared, its dimensions left open where they are not as many as were traced."""
        node = self.trace.runs[0].values.get(port.name)
        if node is None or port.shape is None:
            return port
        rank = len(node.meta["val"].shape)
        return port if rank == len(port.shape) else Port(port.name, port.dtype, (None,) * rank)

    # which item makes what

    def _originals(self) -> dict[fx.Node, tuple[int, str]]:
        """Return the traced values that original nodes compute."""
        fed = {node for run in self.trace.runs for node in run.feeds.values()}
        first: dict[fx.Node, tuple[int, str]] = {}  # later names of a value are copies of it
        for number, run in enumerate(self.trace.runs):
            for name, node in (*run.values.items(), *run.again):
                if node not in fed:
                    first.setdefault(node, (number, name))
        return {n: (run, name) for n, (run, name) in first.items() if name in self.makers[run] and name in self.types}

    def _original(self, run: int, name: str) -> Item | None:
        """Return what makes an ONNX value in one of the runs; None for a constant."""
        record = self.trace.runs[run]
        if name in self.source.constants:
            return None
        if name in record.feeds:
            return self._item(record.feeds[name])
        if name in self.makers[run]:
            return Kept(run, self.makers[run][name].name)
        if name in record.values:
            return self._item(record.values[name])
        raise CompileFault(f"the value {name!r} was not traced", where=self.method)

    def _item(self, node: fx.Node) -> Item:
        return root(node)

    def _needs(self, item: Item) -> list[Item]:
        if isinstance(item, Kept):
            found = [self._original(item.run, name) for name in inputs_of(self.nodes[item.node])]
            return [i for i in found if i is not None]
        if item in self.originals:
            run, name = self.originals[item]
            return [Kept(run, self.makers[run][name].name)]
        return [root(node) for node in item.all_input_nodes]

    # writing

    def _write(self, item: Item) -> None:
        if item in self.values:
            return
        if isinstance(item, Kept):
            self._write_kept(item)
        elif item in self.originals:
            run, name = self.originals[item]
            self.values[item] = self._typed(Value(self._label(run, name), _torch_type(self.types[name])), item)
        elif item.op == "get_attr":
            self.values[item] = self.weights.value(self.builder, _attribute(self.trace.module, str(item.target)))
        else:
            self._lower(item)

    def _write_kept(self, item: Kept) -> None:
        node = self.nodes[item.node]
        rename = {name: self._read(item.run, name).name for name in inputs_of(node)}
        rename |= {name: self._label(item.run, name) for name in node.outputs if name}
        self.builder.taken.update(rename[name] for name in node.outputs if name)
        self.builder.add(node_proto(node, rename, self._suffix(item.run)))
        self.values[item] = None

    def _read(self, run: int, name: str) -> Value:
        """Return an ONNX value of a run, in the type the file gives it."""
        record = self.trace.runs[run]
        if name in self.source.constants:
            return Value(name)
        if name in record.feeds:
            return self._stored(self.values[root(record.feeds[name])], name)
        if name in self.makers[run]:
            return Value(self._label(run, name))
        return self._stored(self.values[root(record.values[name])], name)

    def _stored(self, value: Value, name: str) -> Value:
        element = self.types.get(name)
        if element is None or value.dtype is None or ELEMENTS.get(value.dtype) == element:
            return value
        return self.builder.op("Cast", value, to=element)

    def _typed(self, value: Value, node: fx.Node) -> Value:
        """Return an ONNX value as the trace takes it: quantised numbers are carried as floats there."""
        meta = node.meta["val"]
        cast = self.builder.cast(value, meta.dtype)
        return Value(cast.name, meta.dtype, tuple(meta.shape))

    def _label(self, run: int, name: str) -> str:
        return name + self._suffix(run)

    def _suffix(self, run: int) -> str:
        return "" if run == 0 else f"__{run}"

    def _lower(self, node: fx.Node) -> None:
        lowering = lowerings().get(name_of(node.target))
        if lowering is None:
            raise self._fault(node, f"operator {name_of(node.target)} has no lowering to ONNX")
        args = fx.map_arg(node.args, self._argument)
        keywords = fx.map_arg(node.kwargs, self._argument)
        self.builder.result = _meta(node.meta.get("val"))
        before = len(self.builder.nodes)
        try:
            found = lowering(self.builder, *args, **keywords)
        except CompileFault as error:
            raise self._fault(node, error.what) from error
        except Exception as error:
            raise self._fault(
                node, f"{name_of(node.target)} cannot be lowered: {type(error).__name__}: {error}"
            ) from error
        self.values[node] = _labelled(found, self.builder.result)
        made = {name for new in self.builder.nodes[before:] for name in new.output}
        for value in _maps(self.values[node], self.builder.result):
            if value.name in made:
                self.builder.declare(value, value.dtype, value.shape or ())

    def _argument(self, node: fx.Node) -> Any:
        return self.values[root(node)]

    def _fault(self, node: fx.Node, what: str) -> CompileFault:
        source = origin(node)
        return CompileFault(
            what,
            where=f"{self.method}, {source}" if source is not None else self.method,
            hint="a lowering is one function in onnxsal/compiler/lower; the torch engine explains the model as it is",
        )

    # ends

    def _name_output(self, value: Value, name: str) -> None:
        if value.name != name:
            self.builder.add(helper.make_node("Identity", [value.name], [name], f"{name}_output"))

    def _pruned(self, outputs: Sequence[onnx.ValueInfoProto]) -> onnx.GraphProto:
        """Return the graph without nodes and constants that nobody reads."""
        wanted = {output.name for output in outputs}
        kept = []
        for node in reversed(self.builder.nodes):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(_inputs(node))
        inputs = [port_proto(self.dimensions.port(port, node)) for port, node in self.trace.inputs.items()]
        ends = {output.name for output in outputs}
        made = {name for node in kept for name in node.output} - ends
        known = [self.dimensions.declared(value) for n, value in self.builder.declared.items() if n in made]
        name = self.source.name or "explained"
        constants = self.beside.tensors(self.builder.used(wanted))
        return helper.make_graph(kept[::-1], name, inputs, list(outputs), constants, value_info=known)


class _Weights:
    """Finds the constants of the file in the tensors of the trace, which share their memory."""

    def __init__(self, graph: Graph) -> None:
        self.names = {
            (array.ctypes.data, array.size, array.dtype.name): name
            for name, array in graph.constants.items()
            if array.size and array.dtype.kind != "O"
        }
        self.arrays = graph.constants

    def value(self, builder: Builder, tensor: Tensor) -> Value:
        """Return the constant a tensor is, or a view of it."""
        array = to_host(tensor)
        dtype, shape = tensor.dtype, tuple(tensor.shape)
        name = self.names.get((array.ctypes.data, array.size, array.dtype.name))
        if name is not None:
            found = self.arrays[name]
            if array.shape == found.shape and array.strides == found.strides:
                return Value(name, dtype, shape)
            perm = _permutation(found, array)
            if perm is not None:
                return Value(builder.Transpose(Value(name), perm=perm).name, dtype, shape)
        return Value(builder.constant(array, "weight").name, dtype, shape)


def _permutation(of: np.ndarray, view: np.ndarray) -> list[int] | None:
    """Return the order of axes that makes one array the other, or None."""
    if of.ndim != view.ndim or len(set(of.strides)) != of.ndim:
        return None
    if sorted(of.strides) != sorted(view.strides):
        return None
    perm = [of.strides.index(stride) for stride in view.strides]
    return perm if tuple(of.shape[axis] for axis in perm) == view.shape else None


def _in_order(ends: Iterable[Item], needs: Any) -> list[Item]:
    """Return the ends and what they need, each after what it needs."""
    order: dict[Item, None] = {}
    for end in ends:
        stack: list[tuple[Item, bool]] = [(end, False)]
        while stack:
            item, ready = stack.pop()
            if item in order:
                continue
            if ready:
                order[item] = None
            else:
                stack.append((item, True))
                stack += [(i, False) for i in reversed(needs(item)) if i not in order]
    return list(order)


def names_of(graph: Graph) -> set[str]:
    """Return the names of all values and nodes."""
    names = set(graph.constants) | {port.name for port in (*graph.inputs, *graph.outputs)}
    for node in graph.walk():
        names.update((node.name, *node.inputs, *node.outputs))
    return names


def _meta(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(map(_meta, value))
    return Meta(value.dtype, tuple(value.shape)) if isinstance(value, Tensor) else None


def _maps(found: Any, meta: Any) -> Iterator[Value]:
    """Yield those of a call's results that are real tensors of several axes.

    Sizes have no type in the trace, and what has no axis there may have one here.
    """
    if isinstance(found, (tuple, list)) and isinstance(meta, tuple):
        for one, its in zip(found, meta, strict=False):
            yield from _maps(one, its)
    elif isinstance(found, Value) and isinstance(meta, Meta) and meta.dtype.is_floating_point and len(meta.shape) > 1:
        yield found


def _labelled(value: Any, meta: Any) -> Any:
    """Return what a lowering made, with what the trace knows of it."""
    if isinstance(value, (tuple, list)):
        metas = meta if isinstance(meta, tuple) else [None] * len(value)
        return tuple(_labelled(v, m) for v, m in zip(value, metas, strict=False))
    if not isinstance(value, Value):
        return value
    return Value(value.name, meta.dtype, meta.shape) if meta is not None else Value(value.name, torch.int64, (1,))


def _attribute(module: fx.GraphModule, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _torch_type(element: int) -> torch.dtype | None:
    return next((dtype for dtype, known in ELEMENTS.items() if known == element), None)


def _inputs(node: onnx.NodeProto) -> Iterable[str]:
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _inputs(inner)
            yield from (output.name for output in graph.output)
