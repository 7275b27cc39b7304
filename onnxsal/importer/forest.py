"""Decision trees as flat arrays, walked for all examples and trees at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, fx, nn

from onnxsal.errors import ImportFault
from onnxsal.importer.graph import Node

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
COMPARISONS = {
    "BRANCH_LEQ": torch.le,
    "BRANCH_LT": torch.lt,
    "BRANCH_GTE": torch.ge,
    "BRANCH_GT": torch.gt,
    "BRANCH_EQ": torch.eq,
    "BRANCH_NEQ": torch.ne,
}


@dataclass
class Trees:
    """The trees of one node: one entry for each branch or leaf, children by their place in these arrays.

    ``true`` and ``false`` of a leaf lead to itself. A leaf's weights are given by (leaf, target, weight).
    """

    features: np.ndarray
    thresholds: np.ndarray
    modes: list[str]
    true: np.ndarray
    false: np.ndarray
    roots: np.ndarray
    leaves: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    missing_true: np.ndarray | None = None
    members: dict[int, Sequence[float]] = field(default_factory=dict)
    """The values a BRANCH_MEMBER branch looks for, by its place."""

    def depth(self) -> int:
        """Return how many branches lie on the longest way.

        Raises:
            ImportFault: the branches form a circle.
        """
        branches = np.array([mode != "LEAF" for mode in self.modes], dtype=bool)
        places, steps = self.roots, 0
        while True:
            places = places[branches[places]]
            if not places.size:
                return steps
            places = np.unique(np.concatenate([self.true[places], self.false[places]]))
            steps += 1
            if steps > len(self.true):
                raise ImportFault("the branches of a tree form a circle")


class Forest(nn.Module):
    """Which leaf of each tree an example ends in, and what the leaves say."""

    features: Tensor
    thresholds: Tensor
    true: Tensor
    false: Tensor
    roots: Tensor
    missing: Tensor
    kinds: Tensor
    sets: Tensor
    weights: Tensor
    speaks: Tensor
    rows: Tensor

    def __init__(self, trees: Trees, n_targets: int) -> None:
        super().__init__()
        self.depth = trees.depth()
        self.modes = sorted(set(trees.modes) - {"LEAF"}, key=MODES.index)
        missing = trees.missing_true if trees.missing_true is not None else np.zeros(len(trees.true))
        weights, speaks, rows = _leaf_table(trees, n_targets)
        self._hold(
            features=trees.features.astype(np.int64),
            thresholds=trees.thresholds.astype(np.float64),
            true=trees.true.astype(np.int64),
            false=trees.false.astype(np.int64),
            roots=trees.roots.astype(np.int64),
            missing=missing.astype(bool),
            kinds=np.array([self.modes.index(m) if m in self.modes else 0 for m in trees.modes], dtype=np.int64),
            sets=_member_table(trees),
            weights=weights,
            speaks=speaks,
            rows=rows,
        )

    def _hold(self, **arrays: np.ndarray) -> None:
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def leaves(self, x: Tensor) -> Tensor:
        """Return the leaf each example (row) ends in, for each tree (column)."""
        x = x if x.dtype == torch.float64 else x.float()
        thresholds = self.thresholds.to(x.dtype)
        places = self.roots.expand(x.shape[0], -1)
        for _ in range(self.depth):
            places = torch.where(self._taken(x, places, thresholds), self.true[places], self.false[places])
        return places

    def turns(self, x: Tensor) -> Tensor:
        """Return whether each example (row) would turn to the true side at each place (column)."""
        x = x if x.dtype == torch.float64 else x.float()
        places = torch.arange(len(self.features), device=x.device).expand(len(x), -1)
        return self._taken(x, places, self.thresholds.to(x.dtype))

    @property
    def table(self) -> Tensor:
        """What the leaf at each place says of each target: [places, targets]."""
        return self.weights[self.rows]

    def _taken(self, x: Tensor, places: Tensor, thresholds: Tensor) -> Tensor:
        values = x.gather(1, self.features[places])
        return self._holds(values, places, thresholds) | (values.isnan() & self.missing[places])

    def _holds(self, values: Tensor, places: Tensor, thresholds: Tensor) -> Tensor:
        """Say where a branch's condition holds."""
        answers = [self._compared(mode, values, places, thresholds) for mode in self.modes]
        if len(answers) == 1:
            return answers[0]
        return torch.stack(answers).gather(0, self.kinds[places].unsqueeze(0)).squeeze(0)

    def _compared(self, mode: str, values: Tensor, places: Tensor, thresholds: Tensor) -> Tensor:
        if mode == "BRANCH_MEMBER":
            return (values.unsqueeze(-1) == self.sets.to(values.dtype)[places]).any(-1)
        return COMPARISONS[mode](values, thresholds[places])

    def votes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the leaves say, and whether they say anything: [examples, trees, targets]."""
        rows = self.rows[self.leaves(x)]
        return self.weights[rows], self.speaks[rows]

    def __len__(self) -> int:
        return len(self.roots)


def _leaf_table(trees: Trees, n_targets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the leaves' weights for all targets, which of them are given, and each place's row in that table."""
    speaking, index = np.unique(trees.leaves, return_inverse=True)
    weights = np.zeros((len(speaking) + 1, n_targets))
    speaks = np.zeros((len(speaking) + 1, n_targets), dtype=bool)
    np.add.at(weights, (index.ravel(), trees.targets), trees.weights)
    speaks[index.ravel(), trees.targets] = True
    rows = np.full(len(trees.true), len(speaking), dtype=np.int64)  # the last row says nothing
    rows[speaking] = np.arange(len(speaking))
    return weights, speaks, rows


def _member_table(trees: Trees) -> np.ndarray:
    """Return each branch's set of values, filled up with no-number, which equals nothing."""
    width = max(map(len, trees.members.values()), default=0)
    table = np.full((len(trees.true) if trees.members else 0, width), np.nan)
    for place, values in trees.members.items():
        table[place, : len(values)] = values
    return table


@dataclass(frozen=True)
class Sum:
    """The trees of one node, and how its last output comes of their leaves.

    Args:
        node: The ONNX node.
        forest: The trees.
        added: What the leaf at each place adds to each number of the output, before its transform: [places, numbers].
        transform: What is done to the sums, "NONE" if nothing; None where they are no sums.
    """

    node: Node
    forest: Forest
    added: Tensor
    transform: str | None


def sums_of(module: fx.GraphModule, nodes: Sequence[Node]) -> list[Sum]:
    """Return the trees among some ONNX nodes of an imported graph."""
    found = []
    for call in module.graph.nodes:
        if call.op == "call_module" and call.meta.get("onnx") in nodes:
            part = module.get_submodule(str(call.target))
            if isinstance(getattr(part, "forest", None), Forest):
                found.append(Sum(call.meta["onnx"], part.forest, *part.summed()))  # type: ignore[arg-type,operator]
    return found


def aggregated(forest: Forest, x: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Return the trees' joint answer for each target, zero where none speaks, and where any does."""
    weights, speaks = forest.votes(x)
    some = speaks.any(1)
    match how:
        case "SUM":
            return weights.sum(1), some
        case "AVERAGE":
            return weights.sum(1) / len(forest), some
        case "MIN":
            return torch.where(some, torch.where(speaks, weights, torch.inf).amin(1), 0.0), some
        case "MAX":
            return torch.where(some, torch.where(speaks, weights, -torch.inf).amax(1), 0.0), some
    raise ImportFault(f"aggregate_function {how!r} is unknown", hint="known: SUM, AVERAGE, MIN, MAX")


def places_of(trees: Iterable[int], nodes: Iterable[int]) -> dict[tuple[int, int], int]:
    """Return each node's place by its tree's and its own number."""
    return {key: place for place, key in enumerate(zip(trees, nodes, strict=True))}
