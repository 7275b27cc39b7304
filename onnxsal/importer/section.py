"""A part of an imported graph: from some ONNX values to others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from torch import Tensor, fx

from onnxsal.errors import UsageError, nearest
from onnxsal.importer.graph import Graph, Node


def values_of(module: fx.GraphModule) -> dict[str, fx.Node]:
    """Return the fx node that holds each ONNX value of the main graph."""
    values: dict[str, fx.Node] = {}
    for node in module.graph.nodes:
        names = [name for name in node.meta.get("onnx_outputs", ()) if name]
        if len(names) == 1:
            values[names[0]] = node
    return values


def value_named(module: fx.GraphModule, name: str) -> str:
    """Return the ONNX value that a value's or a node's name stands for; a node stands for its first output.

    Raises:
        UsageError: no value and no node has the name.
    """
    nodes = [n.meta["onnx"] for n in module.graph.nodes if "onnx" in n.meta]
    return _named(name, values_of(module), nodes)


def value_in(graph: Graph, name: str, where: str = "layer") -> str:
    """Return the same for a graph that was not built; errors too, which say where the name was said."""
    values = [port.name for port in graph.inputs] + [o for node in graph.nodes for o in node.outputs if o]
    return _named(name, values, graph.nodes, where)


def _named(name: str, values: Collection[str], nodes: Iterable[Node], where: str = "layer") -> str:
    if name in values:
        return name
    first = {node.name: next((o for o in node.outputs if o), "") for node in nodes}
    if first.get(name):
        return first[name]
    raise UsageError(f"no value or node {name!r} in the graph", where=where, hint=nearest(name, [*values, *first]))


def section(
    module: fx.GraphModule, given: Sequence[str] = (), wanted: Sequence[str] = (), watched: Sequence[str] = ()
) -> fx.GraphModule:
    """Return a module that computes some values of the graph, and no more than they need.

    It takes the graph's own inputs in order, then the ``given`` inner values, and returns the ``wanted`` ones and then
    the ``watched`` ones, at which autograd can be asked for gradients even where no input of the graph carries one.
    Parameters are shared with the module.

    Raises:
        UsageError: a name that the graph does not know.
    """
    values = values_of(module)
    for name in (*given, *wanted, *watched):
        if name not in values:
            raise UsageError(f"no value {name!r} in the graph", hint=nearest(name, values))
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            copies[node] = graph.node_copy(node)
    for position, name in enumerate(given):
        copies[values[name]] = _with_name(graph.placeholder(f"given_{position}"), name)
    ends = [values[name] for name in (*wanted, *watched)]
    watchers = {values[name]: name for name in watched}
    for node in _needed(module.graph, ends, set(copies)):
        copy = graph.node_copy(node, copies.__getitem__)
        copies[node] = _with_name(graph.call_function(watch, (copy,)), watchers[node]) if node in watchers else copy
    graph.output(tuple(copies[end] for end in ends))
    return fx.GraphModule(module, graph, class_name=f"{type(module).__name__}_section")


def nodes_between(module: fx.GraphModule, sources: Sequence[str], ends: Sequence[str]) -> list[Node]:
    """Return the ONNX nodes that lie on a way from the sources to the ends, in order."""
    values = values_of(module)
    reached = {values[name] for name in sources}
    for node in module.graph.nodes:
        if any(i in reached for i in node.all_input_nodes):
            reached.add(node)
    needed = _needed(module.graph, [values[end] for end in ends], {values[name] for name in sources})
    return [node.meta["onnx"] for node in needed if node in reached and "onnx" in node.meta]


def _with_name(node: fx.Node, name: str) -> fx.Node:
    node.meta["onnx_outputs"] = (name,)
    return node


def _needed(graph: fx.Graph, ends: Sequence[fx.Node], known: set[fx.Node]) -> list[fx.Node]:
    """Return the nodes the ends are computed from, in the graph's order, as far back as what is known already."""
    needed: set[fx.Node] = set()
    waiting = list(ends)
    while waiting:
        node = waiting.pop()
        if node not in needed and node not in known:
            needed.add(node)
            waiting += node.all_input_nodes
    return [node for node in graph.nodes if node in needed]


def watch(value: Tensor) -> Tensor:
    """Return the value such that autograd can be asked for the gradient by it."""
    is_real = isinstance(value, Tensor) and value.is_floating_point()
    return value.detach().requires_grad_() if is_real and not value.requires_grad else value
