"""What the methods that go back by rules share: which rule a node gets, and what is said of nodes without one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from onnxsal.errors import UsageError
from onnxsal.types import Score

if TYPE_CHECKING:
    from torch import Tensor

Missing = Literal["error", "gradient"]
Rule = Callable[..., Any]
FEW = 5
"""How many nodes a message names."""

_STEPS = """Attention GRU LSTM RNN com.microsoft.Attention com.microsoft.DynamicQuantizeLSTM
com.microsoft.EmbedLayerNormalization com.microsoft.GroupQueryAttention com.microsoft.MultiHeadAttention
com.microsoft.QAttention com.microsoft.SkipLayerNormalization com.microsoft.SkipSimplifiedLayerNormalization"""
OF_STEPS = tuple(_STEPS.split())
"""Operators of several steps, each of which has a rule of its own."""


@dataclass(frozen=True)
class Way:
    """The nodes between the explained inputs and the score, and the rules of a family for them.

    Args:
        score: The explained number.
        family: The family of the rules.
    """

    score: Score
    family: str

    @cached_property
    def nodes(self) -> list[Any]:
        """The nodes in order, those of sub-graphs behind the node that has them."""
        return list(_walk(self.score.nodes))

    @cached_property
    def rules(self) -> dict[str, Rule | None]:
        """The rules by operator; None where the plain gradient is exact."""
        return self.score.rules(self.family)

    @cached_property
    def varying(self) -> frozenset[str]:
        """The values that move with the explained inputs."""
        return frozenset(self.score.feeds) | {name for node in self.score.nodes for name in node.outputs if name}

    @cached_property
    def makers(self) -> dict[str, Any]:
        """The node that makes each value."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def uses(self) -> Counter[str]:
        """How many nodes read each value."""
        return Counter(name for node in self.nodes for name in node.inputs if name)

    def varies(self, node: Any) -> list[int]:
        """Return the places of a node's inputs that move; all of them within sub-graphs, where nothing is known."""
        inner = not any(name in self.varying for name in node.outputs)
        return [i for i, name in enumerate(node.inputs) if name and (inner or name in self.varying)]

    def alone(self, node: Any) -> bool:
        """Say whether one node, and nothing else, reads what a node makes."""
        return len([n for n in node.outputs if n]) == 1 and self.uses[node.outputs[0]] == 1

    def check(self, method: str, missing: Missing) -> None:
        """Refuse nodes that have no rule, or note them.

        Raises:
            UsageError: there are such nodes, and ``missing`` is "error".
        """
        wanting = [n for n in self.nodes if n.operator not in self.rules and not n.subgraphs]
        if wanting and missing == "error":
            raise UsageError(
                f"no sound rule for {len(wanting)} of {len(self.nodes)} nodes: {_named(wanting)}",
                where=method,
                hint="missing=gradient takes the plain gradient there; integrated_gradients needs no rules; a plugin "
                "can bring them: docs/plugins.md shows how",
            )
        if wanting:
            self.score.note(
                f"{len(wanting)} of {len(self.nodes)} nodes have no {self.family} rule and pass the plain gradient: "
                f"{_named(wanting)}"
            )
        else:
            self.score.note(f"{method} has a sound rule for each of the {len(self.nodes)} nodes on the way")


def by_operator(rules: Sequence[tuple[Rule | None, str]]) -> dict[str, Rule | None]:
    """Return a table by operator of rules, each beside the names of its operators."""
    return {name: rule for rule, names in rules for name in names.split()}


def first(value: Any) -> Any:
    """Return a node's first output, or what comes back to it."""
    return value[0] if isinstance(value, tuple) else value


def difference(x: Tensor, x0: Tensor) -> Tensor:
    """Return x - x0; nothing where both are the same infinity."""
    return (x - x0).where(x != x0, 0)


def summed_to(value: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the value summed over the axes along which a tensor of the shape was broadcast."""
    return value.sum_to_size(tuple(shape))


def _walk(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        yield node
        for graph in node.subgraphs.values():
            yield from graph.walk()


def _named(nodes: Sequence[Any]) -> str:
    rest = f" and {len(nodes) - FEW} more" if len(nodes) > FEW else ""
    return ", ".join(f"{n.operator} {n.name!r}" for n in nodes[:FEW]) + rest
