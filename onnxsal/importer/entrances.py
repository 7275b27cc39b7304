"""Where inputs that have no gradient become numbers that have one: ids at the embedding they index, bytes at a Cast.

Ids are followed through the graph as long as a node only moves them about or reckons with each by itself, up to the
first floating-point value made of them: rows picked from a constant table, a one-hot code, or the ids as numbers.
Each element of that value belongs to one element of the input; `addresses_of` tells to which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, fx

from onnxsal.importer.dtypes import numpy_dtype
from onnxsal.importer.graph import Graph, Node
from onnxsal.importer.section import section
from onnxsal.types import Feeds

Kind: TypeAlias = Literal["embedding", "one-hot", "number"]

MOVING = frozenset({"Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze", "Expand"})
"""Operators that move elements of their first input and change none."""

RECKONING = frozenset({"Abs", "Add", "Cast", "Clip", "Max", "Min", "Mod", "Mul", "Sub"})
"""Operators that make of each whole number another one by itself."""

COMPARING = frozenset({"Equal"})
LOOKING_UP = {"Gather": 1, "GatherBlockQuantized": 1, "EmbedLayerNormalization": 0}
"""Operators that pick rows of a table, and which of their inputs holds the ids."""

SMALL_TABLE = 4
"""A table of no more rows says which kind of token one is, not which token."""


@dataclass(frozen=True)
class Entrance:
    """One floating-point value that an input becomes: its name, how it is made, and of how wide a table."""

    value: str
    kind: Kind
    rows: int | None = None


@dataclass(frozen=True)
class _Trace:
    """What a value is of the input: the ids, rows of a quantised table, or comparisons with classes."""

    kind: Literal["ids", "rows", "compared"]
    floating: bool = False
    table: int | None = None


def entrances_of(graph: Graph, name: str) -> tuple[Entrance, ...]:
    """Return the values that an input of the graph becomes, those of the most telling kind alone.

    There are none where a floating-point input has a gradient of its own, or where ids are lost sight of.
    """
    port = next(port for port in graph.inputs if port.name == name)
    traces = {name: _Trace("ids", floating=port.is_float)}
    varying = {name} | {p.name for p in graph.inputs}
    found: list[Entrance] = []
    for node in graph.nodes:
        read = [i for i in node.inputs if i] + [n for g in node.subgraphs.values() for n in g.captures()]
        if varying.intersection(read):
            varying.update(node.outputs)
        if not any(i in traces for i in read) or node.op_type in {"Shape", "Size"}:
            continue
        step = _step(graph, node, traces, varying)
        if isinstance(step, Entrance):
            found.append(step)
        elif step is not None:
            traces |= {output: step for output in node.outputs if output}
        elif any(i in traces and traces[i].floating for i in read):
            return ()  # a floating-point input is computed with: it has a gradient of its own
    needed = _needed(graph)
    for kind in ("embedding", "one-hot", "number"):
        chosen = tuple(entrance for entrance in found if entrance.kind == kind and entrance.value in needed)
        if chosen:
            return chosen
    return ()


def _needed(graph: Graph) -> set[str]:
    """Return the values that the outputs are computed from."""
    needed = {port.name for port in graph.outputs}
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs, *(inner.captures() for inner in node.subgraphs.values()))
    return needed


def _step(graph: Graph, node: Node, traces: Mapping[str, _Trace], varying: set[str]) -> _Trace | Entrance | None:
    """Return what a node makes of the traced value among its inputs; None where it is not followed further."""
    places = [i for i, name in enumerate(node.inputs) if name in traces]
    if len(places) != 1:
        return None
    place, trace = places[0], traces[node.inputs[places[0]]]
    output = next((o for o in node.outputs if o), "")
    others = [name for i, name in enumerate(node.inputs) if name and i != place]
    constant = not any(name in varying for name in others)
    if node.op_type in LOOKING_UP and place == LOOKING_UP[node.op_type] and node.inputs[_table(node)] not in varying:
        return _looked_up(graph, node, trace, output)
    if place == 0 and (node.op_type in MOVING or (node.op_type == "Gather" and constant)):
        return trace
    if trace.kind == "rows":
        return Entrance(output, "embedding", trace.table) if node.op_type == "DequantizeLinear" and not place else None
    if trace.kind == "ids" and not trace.floating:
        if node.op_type == "OneHot" and place == 0 and constant:
            return Entrance(output, "one-hot")
        if node.op_type in COMPARING and constant:
            return _Trace("compared")
    return _reckoned(node, trace, output, constant)


def _table(node: Node) -> int:
    return 2 if node.op_type == "EmbedLayerNormalization" else 0


def _looked_up(graph: Graph, node: Node, trace: _Trace, output: str) -> _Trace | Entrance | None:
    if trace.kind != "ids" or trace.floating:
        return None
    table = graph.constants.get(node.inputs[_table(node)])
    rows = None if table is None else table.shape[node.attributes.get("axis", 0)]
    if table is not None and node.op_type == "Gather" and table.dtype.kind in "iu":
        return _Trace("rows", table=rows)
    return Entrance(output, "embedding", rows)


def _reckoned(node: Node, trace: _Trace, output: str, constant: bool) -> _Trace | Entrance | None:
    if node.op_type not in RECKONING or not constant:
        return None
    if node.op_type != "Cast":
        return None if trace.floating or trace.kind != "ids" else trace
    to = node.attributes.get("to", "")
    is_float = ("FLOAT" in to or to == "DOUBLE") if isinstance(to, str) else "float" in numpy_dtype(to).name
    if not is_float:
        return _Trace(trace.kind)
    if trace.floating:
        return trace
    return Entrance(output, "one-hot" if trace.kind == "compared" else "number")


# --- addresses --------------------------------------------------------------------------------------------------------


def addresses_of(module: fx.GraphModule, feeds: Feeds, name: str, values: Sequence[str]) -> Feeds:
    """Return for each element of some values the place in the input, counted flat, that it was made of.

    Args:
        module: The imported graph.
        feeds: The inputs of the call.
        name: The input.
        values: Its entrances.
    """
    part = section(module, wanted=values)
    places = torch.arange(feeds[name].numel(), device=feeds[name].device).reshape(feeds[name].shape)
    run = _Addresses(part, name, places, values)
    names = [next(iter(n.meta["onnx_outputs"])) for n in module.graph.nodes if n.op == "placeholder"]
    with torch.no_grad():
        run.run(*(feeds.get(port) for port in names))
    return {value: run.found[value] for value in values}


class _Addresses(fx.Interpreter):
    """Runs a graph, and beside each value made of an input's elements keeps which element each was made of."""

    def __init__(self, module: fx.GraphModule, name: str, places: Tensor, values: Sequence[str]) -> None:
        super().__init__(module)
        self.values = frozenset(values)
        self.name = name
        self.places = places
        self.addresses: dict[fx.Node, Any] = {}
        self.found: Feeds = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and move the addresses as it moves the elements."""
        result = super().run_node(n)
        if n.op == "placeholder":
            if self.name in n.meta.get("onnx_outputs", ()):
                self.addresses[n] = self.places
        else:
            address = self._moved(n, result)
            names = [name for name in n.meta.get("onnx_outputs", ()) if name]
            arrived = self.values.intersection(names) if len(names) == 1 else None
            if arrived:
                self.found |= dict.fromkeys(arrived, address)
            elif address is not None:
                self.addresses[n] = address
        return result

    def _moved(self, n: fx.Node, result: Any) -> Any:
        traced = [arg for arg in n.args if isinstance(arg, fx.Node) and arg in self.addresses]
        if len(traced) != 1:
            return None
        address, source = self.addresses[traced[0]], n.meta.get("onnx")
        if source is None:
            return self._called(n, address)
        names = traced[0].meta.get("onnx_outputs", ())
        place = next((i for i, name in enumerate(source.inputs) if name in names), -1)
        if place == 0 and (source.op_type in MOVING or source.op_type == "Gather"):
            return self._called(n, address)
        first = result[0] if isinstance(result, tuple) else result
        if source.op_type in LOOKING_UP or source.op_type == "OneHot":
            along = _along(address, first.shape, _axis(source, first.ndim - address.ndim + 1))
            return (along,) if isinstance(result, tuple) else along  # only the first of several is of the ids
        elementwise = source.op_type in {*RECKONING, *COMPARING, "DequantizeLinear"}
        return address.broadcast_to(first.shape) if elementwise else None

    def _called(self, n: fx.Node, address: Any) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        place = next(i for i, arg in enumerate(n.args) if isinstance(arg, fx.Node) and arg in self.addresses)
        target = self.fetch_attr(str(n.target)) if n.op == "call_module" else n.target
        return target(*args[:place], address, *args[place + 1 :], **kwargs)  # type: ignore[operator]


def _axis(node: Node, rank: int) -> int:
    """Return where a looked-up value has the axes of the ids."""
    if node.op_type == "OneHot":
        return -1
    return int(node.attributes.get("axis", node.attributes.get("gather_axis", 0))) % rank


def _along(address: Tensor, shape: Sequence[int], axis: int) -> Tensor:
    """Return addresses for every number of the rows that were picked along an axis of a table."""
    after = len(shape) - address.ndim - max(axis, 0) if axis >= 0 else len(shape) - address.ndim
    return address.reshape(*(1,) * max(axis, 0), *address.shape, *(1,) * after).expand(*shape)


def folded(value: Tensor, addresses: Tensor, like: Tensor) -> Tensor:
    """Return numbers of an entrance summed for each element of the input they belong to."""
    total = value.new_zeros(like.numel())
    return total.index_add(0, addresses.flatten(), value.flatten()).reshape(like.shape)
