"""Partition SHAP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count as counter
from typing import TYPE_CHECKING

from onnxsal.entries import AUTO, Baselines, Features, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._game import Game
from onnxsal.methods._hierarchy import Group, centres, halved
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

ZERO = Baselines("zero")
AT_ONCE = 16
"""How many groups of an example are cut at a time."""


def explain(
    score: Score, feeds: Feeds, *, baselines: Baselines = ZERO, features: Features = AUTO, samples: int = 500
) -> Feeds:
    """Shapley values within halves of halves of the input, cut finer where more is to be told: Owen values.

    Features lie in a tree of halves, cut where they are farthest apart; a group shares its value among its two halves,
    with the other half there and without it. The groups whose value is largest are cut first; where the runs are used
    up, the features of a group share its value evenly, as do the elements of a feature. The attributions sum to the
    score's difference. Owen 1977, Values of Games with a Priori Unions; Lundberg's SHAP (arXiv 1705.07874) cuts so.

    Args:
        baselines: What absent features look like: a number, the name of a baseline, or a file; of several, the mean.
        features: The finest parts: the name of a mask, or a file of labels.
        samples: How many runs of the model for one example; the features' number squared is always enough.
    """
    import torch

    if samples < 2:
        raise UsageError(f"samples={samples} is too few", where="partition_shap", hint="500 is usual")
    game = Game(score, feeds, baselines, features)
    most = max(game.counts)
    none, every = game(torch.arange(2)[:, None, None].expand(-1, 1, most) == 1).tolist()
    counts = game.counts * (len(none) // len(game.counts))
    trees = [halved(centres(features, example, count)) for example, count in enumerate(counts)]
    cuttings = [_Cutting.begun(tree, most, samples - 2, *ends) for tree, *ends in zip(trees, none, every, strict=True)]
    while any(wanted := [cutting.wanted() for cutting in cuttings]):
        for cutting, scores in zip(cuttings, _asked(game, wanted), strict=True):
            cutting.go_on(scores)
    return game.shared(torch.tensor([cutting.finished() for cutting in cuttings], dtype=torch.float64))


def _asked(game: Game, wanted: Sequence[Sequence[Tensor]]) -> list[list[float]]:
    """Return the scores of each example's coalitions; where one has fewer, it is asked for the whole input."""
    import torch

    longest = max(map(len, wanted))
    whole = torch.ones(max(game.counts), dtype=torch.bool)
    rows = [torch.stack([*some, *[whole] * (longest - len(some))]) for some in wanted]
    return game(torch.stack(rows, 1)).T.tolist()


@dataclass(frozen=True)
class _Share:
    """A group that shares ``with_it - without`` among its halves, beside the features of a context; it counts in part.

    Args:
        group: The group.
        context: What else is there.
        without: The score of the context alone.
        with_it: The score of the context and the group.
        part: How much this context counts among all.
    """

    group: Group
    context: Tensor
    without: float
    with_it: float
    part: float

    @property
    def value(self) -> float:
        """What the group adds, as far as this context counts."""
        return (self.with_it - self.without) * self.part

    def beside(self, half: Group) -> Tensor:
        """Return the context and one of the halves."""
        there = self.context.clone()
        there[list(half.features)] = True
        return there

    def cut(self, first: float, second: float) -> Iterable[_Share]:
        """Return the halves' shares, each with the other and without, from the scores with either half alone."""
        left, right = self.group.halves
        part = self.part / 2
        yield _Share(left, self.context, self.without, first, part)
        yield _Share(left, self.beside(right), second, self.with_it, part)
        yield _Share(right, self.context, self.without, second, part)
        yield _Share(right, self.beside(left), first, self.with_it, part)


@dataclass
class _Cutting:
    """The groups of one example: those to be cut, the largest first, and what is settled."""

    values: list[float]
    left: int
    order: counter[int] = field(default_factory=counter)
    waiting: list[tuple[float, int, _Share]] = field(default_factory=list)
    cut: list[_Share] = field(default_factory=list)

    @staticmethod
    def begun(tree: Group, width: int, runs: int, none: float, every: float) -> _Cutting:
        """Return the whole input, to be cut with so many runs."""
        import torch

        cutting = _Cutting([0.0] * width, runs)
        cutting.add(_Share(tree, torch.zeros(width, dtype=torch.bool), none, every, 1.0))
        return cutting

    def add(self, share: _Share) -> None:
        """Settle a single feature's share; put another in its place among those to be cut."""
        if share.group.halves:
            heappush(self.waiting, (-abs(share.value), next(self.order), share))
        else:
            self.settle(share)

    def settle(self, share: _Share) -> None:
        """Share a group's value evenly among its features."""
        for feature in share.group.features:
            self.values[feature] += share.value / len(share.group.features)

    def wanted(self) -> list[Tensor]:
        """Return the coalitions whose scores are needed next: two for each group that is cut."""
        number = min(AT_ONCE, len(self.waiting), self.left // 2)
        self.left -= 2 * number
        self.cut = [heappop(self.waiting)[2] for _ in range(number)]
        return [share.beside(half) for share in self.cut for half in share.group.halves]

    def go_on(self, scores: Sequence[float]) -> None:
        """Share out what the cut groups were worth, by the scores that were asked for."""
        for place, share in enumerate(self.cut):
            for part in share.cut(scores[2 * place], scores[2 * place + 1]):
                self.add(part)

    def finished(self) -> list[float]:
        """Return the features' values; what was not cut is shared evenly."""
        for _, _, share in self.waiting:
            self.settle(share)
        return self.values


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("partition_shap", explain, complete=True, gradient=False)
