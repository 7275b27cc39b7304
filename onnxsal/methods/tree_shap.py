"""TreeSHAP."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxsal.entries import Baselines, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds, Score, Trees

if TYPE_CHECKING:
    from torch import Tensor

ZERO = Baselines("zero")
COLUMN_BY_COLUMN = frozenset({"Cast", "Div", "Add", "Sub", "Mul", "Clip", "Identity", "Imputer", "Scaler"})
"""Operators that leave every column in its place."""


def explain(score: Score, feeds: Feeds, *, baselines: Baselines = ZERO) -> Feeds:
    """Exact Shapley values of a model of decision trees, read from its branches, however many columns there are.

    Absent columns are those of a baseline (interventional TreeSHAP). Lundberg et al. 2020, From Local Explanations to
    Global Understanding with Explainable AI for Trees (arXiv 1905.04610).

    Args:
        baselines: What absent columns look like: a number, the name of a baseline, or a file; of several, the mean.
    """
    trees = _only(score)
    if trees.transform != "NONE":
        raise UsageError(
            f"{trees.node} answers with the {trees.transform} of what its leaves add up to, which cannot be shared out",
            where="tree_shap",
            hint="use tree_shap_margin, which explains the sum before that, or shapley",
        )
    return _shared_out(score, feeds, baselines, trees)


def explain_margin(score: Score, feeds: Feeds, *, baselines: Baselines = ZERO) -> Feeds:
    """Exact Shapley values of what the leaves of decision trees add up to, before it is made a probability.

    For models whose trees end in a LOGISTIC, SOFTMAX or PROBIT, in its own scale (log-odds); the attributions sum to
    the difference of the sums, not of the scores. Lundberg et al. 2020 (arXiv 1905.04610), as tree_shap.

    Args:
        baselines: What absent columns look like: a number, the name of a baseline, or a file; of several, the mean.
    """
    return _shared_out(score, feeds, baselines, _only(score))


def _only(score: Score) -> Trees:
    """Return the trees of the model's only node of trees, if its leaves are added up."""
    found = score.trees
    if len(found) != 1 or found[0].transform is None:
        nodes = ", ".join(str(trees.node) for trees in found) or "none"
        raise UsageError(
            f"the model is no single node of trees whose leaves are added up: {nodes}",
            where="tree_shap",
            hint="use shapley, kernel_shap or another method that only calls the score",
        )
    return found[0]


def _shared_out(score: Score, feeds: Feeds, baselines: Feeds, trees: Trees) -> Feeds:
    """Return the mean over the baselines of each column's Shapley value for what the score makes of the trees."""
    import torch

    output = next(name for name in reversed(trees.node.outputs) if name)
    weights = score.layer(output).gradients(feeds)[output].double()
    columns = _columns(score, feeds, trees)
    added = trees.added.to(weights) @ weights.T
    ways = _Ways.of(trees)
    ((name, value),) = feeds.items()
    total = torch.zeros(value.shape, dtype=torch.float64, device=value.device)
    for row in baselines[name]:
        others = _columns(score, {name: row}, trees)
        total = total + ways.values(trees.forest.turns(columns), trees.forest.turns(others), added, value.shape[1])
    return {name: (total / len(baselines[name])).to(value.dtype)}


def _columns(score: Score, feeds: Feeds, trees: Trees) -> Tensor:
    """Return the table that the trees are given, whose columns have to be the input's."""
    name = trees.node.inputs[0]
    before = score.nodes[: list(score.nodes).index(trees.node)]
    mixing = next((node for node in before if node.op_type not in COLUMN_BY_COLUMN), None)
    table = feeds[name] if name in feeds else score.layer(name).activations(feeds)[name]
    if len(feeds) > 1 or mixing or any(table.shape != value.shape for value in feeds.values()) or table.ndim != 2:
        raise UsageError(
            f"the trees' columns are not the input's{f', {mixing} comes between' if mixing else ''}",
            where="tree_shap",
            hint="use shapley, kernel_shap or another method that only calls the score",
        )
    return table


@dataclass(frozen=True)
class _Ways:
    """The ways to all leaves, taken apart into conditions.

    Args:
        places: The place of each condition's branch.
        sides: Which side of it leads to the leaf.
        parts: Which part each condition belongs to: all the conditions on one column on the way to one leaf.
        leaves: The leaf of each part, as a place.
        columns: The column of each part.
    """

    places: Tensor
    sides: Tensor
    parts: Tensor
    leaves: Tensor
    columns: Tensor

    @staticmethod
    def of(trees: Trees) -> _Ways:
        """Climb from all leaves to the roots at once."""
        import torch

        forest = trees.forest
        own = torch.arange(len(forest.true), device=forest.true.device)
        branches = own[forest.true != own]
        parents, from_true = torch.full_like(own, -1), torch.zeros_like(own, dtype=torch.bool)
        for children, side in ((forest.false, False), (forest.true, True)):
            parents[children[branches]], from_true[children[branches]] = branches, side
        here = leaves = own[forest.true == own]
        steps = []
        while (climbing := parents[here] >= 0).any():
            here, leaves = here[climbing], leaves[climbing]
            steps.append(torch.stack([leaves, parents[here], from_true[here].long()]))
            here = parents[here]
        ends, places, sides = torch.cat(steps, 1) if steps else own.new_zeros(3, 0)
        width = int(forest.features.max()) + 1
        keys, parts = (ends * width + forest.features[places]).unique(return_inverse=True)
        return _Ways(places, sides.bool(), parts, keys // width, keys % width)

    def values(self, turns: Tensor, others: Tensor, added: Tensor, width: int) -> Tensor:
        """Return the columns' Shapley values, shape [rows, columns].

        Args:
            turns: Which side the examples turn to at every place, [rows, places].
            others: The same of their baselines.
            added: What each place adds to each example's score, [places, rows].
            width: How many columns there are.
        """
        import torch

        rows = zip(turns, others, added.T, strict=True)
        return torch.stack([self._of_one(own, other, gain, width) for own, other, gain in rows])

    def _of_one(self, turns: Tensor, others: Tensor, added: Tensor, width: int) -> Tensor:
        """Share out each leaf among the columns that lead to it only as in the example, or only as in the baseline.

        A leaf is reached by the coalitions that have all columns of the first kind and none of the second; a column
        that leads away from it in both makes it out of reach.
        """
        ours, theirs = self._met(turns), self._met(others)
        only_ours, only_theirs = (ours & ~theirs).double(), (theirs & ~ours).double()
        there, absent = self._by_leaf(only_ours, len(added)), self._by_leaf(only_theirs, len(added))
        reached = self._by_leaf((~ours & ~theirs).double(), len(added)) == 0
        factor = ((there + 1).lgamma() + (absent + 1).lgamma() - (there + absent + 1).lgamma()).exp() * reached * added
        for_it = factor / there.clamp_min(1)
        against = factor / absent.clamp_min(1)
        shares = only_ours * for_it[self.leaves] - only_theirs * against[self.leaves]
        return shares.new_zeros(width).index_add(0, self.columns, shares)

    def _met(self, turns: Tensor) -> Tensor:
        """Return for each part whether all its conditions are met."""
        missed = (turns[self.places] != self.sides).double()
        return missed.new_zeros(len(self.leaves)).index_add(0, self.parts, missed) == 0

    def _by_leaf(self, marks: Tensor, places: int) -> Tensor:
        return marks.new_zeros(places).index_add(0, self.leaves, marks)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("tree_shap", explain, complete=True, gradient=False, layers=True)
    yield Method("tree_shap_margin", explain_margin, gradient=False, layers=True)
