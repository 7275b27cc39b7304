"""A model as plain data: what is left of the file once it has been read and normalised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxsal.types import Port


@dataclass(frozen=True, slots=True)
class Node:
    """One operator call. ``opset`` is the version of its domain that gives the call its meaning."""

    name: str
    op_type: str
    domain: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Numbers, strings and lists of them; tensors as numpy arrays; sub-graphs as `Graph`."""

    @property
    def operator(self) -> str:
        """The operator's name, ``domain.Name`` for other domains than the standard one."""
        return f"{self.domain}.{self.op_type}" if self.domain else self.op_type

    @property
    def subgraphs(self) -> dict[str, Graph]:
        """The attributes that are graphs."""
        return {name: value for name, value in self.attributes.items() if isinstance(value, Graph)}

    def __str__(self) -> str:
        return f"node {self.name!r} ({self.operator}, opset {self.opset})"


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in an order in which they can run, with typed ports and constant arrays by name."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    value_ports: Mapping[str, Port] = field(default_factory=dict)
    """What the file itself declares about inner values; may be empty or wrong."""

    def captures(self) -> tuple[str, ...]:
        """Return the names of outer values that this graph reads, in order of first use."""
        known = {port.name for port in self.inputs} | set(self.constants)
        captured: dict[str, None] = {}
        for node in self.nodes:
            inner = [name for graph in node.subgraphs.values() for name in graph.captures()]
            captured |= {name: None for name in (*node.inputs, *inner) if name and name not in known}
            known.update(node.outputs)
        captured |= {port.name: None for port in self.outputs if port.name not in known}
        return tuple(captured)

    def walk(self) -> Iterator[Node]:
        """Yield every node, those of sub-graphs included."""
        for node in self.nodes:
            yield node
            for graph in node.subgraphs.values():
                yield from graph.walk()
