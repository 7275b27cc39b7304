"""Which function serves a node: plugins' operators, ours, then onnx2torch through the bridge.

The opset rule: of the functions an operator has, the one with the greatest ``since`` not above the node's opset.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from onnxsal.errors import ImportFault, PluginError, nearest
from onnxsal.importer.graph import Graph, Node
from onnxsal.importer.operator import Operator, operators_of
from onnxsal.plugins import OURS, Provider, registry

if TYPE_CHECKING:
    from onnxsal.importer.bridge import Converter


class Lookup:
    """Operators by domain and name, in order of resort."""

    def __init__(self, families: Iterable[tuple[ModuleType, Provider]]) -> None:
        self._operators: dict[tuple[str, str], dict[int, Operator]] = {}
        self._providers: dict[tuple[str, str], Provider] = {}
        for module, provider in sorted(families, key=lambda family: family[1].distribution != OURS):
            for operator in _declared(module):
                self._add(operator, provider)

    def _add(self, operator: Operator, provider: Provider) -> None:
        key = operator.domain, operator.name
        holder = self._providers.setdefault(key, provider)
        if holder != provider and holder.distribution != OURS:
            raise PluginError(
                f"{holder} and {provider} both bring operator {operator.name}",
                hint="choose one: ONNXSAL_PLUGINS=name,… names the plugins to load",
            )
        if holder != provider:  # a plugin replaces ours whole, all opsets of it
            self._operators[key] = {}
            self._providers[key] = provider
        self._operators.setdefault(key, {})[operator.since] = operator

    def find(self, node: Node) -> Operator | Converter | None:
        """Return what serves a node, or None."""
        served = self._operators.get((node.domain, node.op_type), {})
        since = max((s for s in served if s <= node.opset), default=None)
        if since is not None:
            return served[since]
        from onnxsal.importer import bridge

        return bridge.find(node)

    def provider(self, node: Node) -> Provider | None:
        """Return who brings what serves a node."""
        found = self.find(node)
        if found is None:
            return None
        return self._providers[node.domain, node.op_type] if isinstance(found, Operator) else found.provider

    def require(self, node: Node) -> Operator | Converter:
        """Return what serves a node.

        Raises:
            ImportFault: nothing does; the message says who could add it.
        """
        found = self.find(node)
        if found is None:
            raise ImportFault(f"no operator for {self.explain(node)}", where=str(node), hint=_advice([node]))
        return found

    def check(self, graph: Graph) -> None:
        """Refuse a graph with operators nobody serves, naming each once."""
        missing: dict[tuple[str, str, int], Node] = {}
        for node in graph.walk():
            if self.find(node) is None:
                missing.setdefault((node.domain, node.op_type, node.opset), node)
        if missing:
            places = "\n".join(f"  {node}: {self.explain(node)}" for node in missing.values())
            raise ImportFault(f"{len(missing)} unsupported operator(s)\n{places}", hint=_advice(missing.values()))

    def explain(self, node: Node) -> str:
        """Say why nothing serves a node."""
        versions = sorted(self._operators.get((node.domain, node.op_type), ()))
        if versions:
            return f"{node.op_type} is known from opset {versions[0]} on, the model uses {node.opset}"
        if node.domain == "com.microsoft" and _runs_elsewhere_only(node.op_type):
            return f"{node.operator} is for other processors: ONNX Runtime itself has no kernel of it for the CPU"
        known = [name for domain, name in self._operators if domain == node.domain]
        domain = f"domain {node.domain!r}" if node.domain else "the standard domain"
        return f"{node.op_type} of {domain} is unknown; {nearest(node.op_type, known)}"

    def __iter__(self) -> Iterator[tuple[Operator, Provider]]:
        """Yield every operator with who brings it."""
        for key, served in self._operators.items():
            for operator in served.values():
                yield operator, self._providers[key]


HOW_TO_ADD = "a plugin can add it in one function: docs/plugins.md shows how"
TIED_TO_A_PROCESSOR = {
    "com.microsoft.nchwc": "the file was saved after ONNX Runtime had laid it out for one processor: take the file it "
    "was made from, or save with the optimisation level 'extended'",
}
"""Domains whose operators mean nothing outside the program that wrote them, and what to do about such files."""


def _runs_elsewhere_only(name: str) -> bool:
    """Say whether ONNX Runtime knows an operator of its own domain, and has no CPU kernel of it."""
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    known = {s.name for s in runtime.get_all_operator_schema() if s.domain == "com.microsoft"}
    kernels = runtime.get_all_opkernel_def()
    runs = {k.op_name for k in kernels if k.domain == "com.microsoft" and k.provider == "CPUExecutionProvider"}
    return name in known - runs


def _advice(nodes: Iterable[Node]) -> str:
    return next((TIED_TO_A_PROCESSOR[n.domain] for n in nodes if n.domain in TIED_TO_A_PROCESSOR), HOW_TO_ADD)


def _declared(module: ModuleType) -> Iterator[Operator]:
    for function in vars(module).values():
        if getattr(function, "__module__", None) == module.__name__:
            yield from operators_of(function)


@cache
def default_lookup() -> Lookup:
    """Return the operators of all plugins that are installed and not switched off."""
    return Lookup(_families())


def _families() -> Iterator[tuple[ModuleType, Provider]]:
    """Yield the modules of operators; one of a plugin that cannot be imported is reported and left out."""
    for entry, provider in registry().items("operators"):
        try:
            module = importlib.import_module(entry.module)
        except Exception as error:
            if provider.distribution == OURS:
                raise
            registry().skip(provider, f"operators {entry.module} cannot be imported: {error}", error)
            warnings.warn(str(registry().problems[-1]), stacklevel=2)
        else:
            yield module, provider
