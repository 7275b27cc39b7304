"""The score as a game: what it is when only some features of the input are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from onnxsal.methods._perturbed import attributed, real, replaced, sets_at_once
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

Design: TypeAlias = "Callable[[int], Iterable[tuple[Tensor, Tensor]]]"
"""From a number of features to coalitions and what each one's score says of every feature, a few at a time.

Both have shape [coalitions, features]: whether, or how much, each feature is there, and the weights of the score.
"""


@dataclass(frozen=True)
class Game:
    """The score of coalitions of features; those that are not there look as in the baselines, in the mean over these.

    Args:
        score: The explained number.
        feeds: The explained inputs.
        baselines: What absent features look like, shape [baselines, *feed's shape].
        features: The feature of each element, from 0 in every example; one long where it stays along an axis.
            Examples may have different numbers of features.
    """

    score: Score
    feeds: Feeds
    baselines: Feeds
    features: Feeds

    @cached_property
    def counts(self) -> list[int]:
        """How many features each example has; a single entry where all are cut alike."""

        def count() -> list[int]:
            import torch

            highest = torch.stack([labels.flatten(1).amax(1) for labels in self.features.values()]).amax(0)
            return [int(number) + 1 for number in highest.tolist()]

        return self.score.once(count)

    def __call__(self, kept: Tensor) -> Tensor:
        """Return the score, [coalitions, examples], of coalitions of shape [coalitions, examples or 1, features]."""
        import torch

        pieces = self.score.once(lambda: kept.split(sets_at_once(self.feeds)))
        return torch.cat([self._scores(some) for some in pieces])

    def _scores(self, kept: Tensor) -> Tensor:
        import torch

        masks = self.score.once(lambda: {name: _spread(kept, labels) for name, labels in self.features.items()})
        scores = []
        for others in zip(*self.baselines.values(), strict=True):
            rows = {
                name: replaced(value, other, masks[name])
                for (name, value), other in zip(self.feeds.items(), others, strict=True)
            }
            scores.append(self.score(rows).unflatten(0, (len(kept), -1)))
        return torch.stack(scores).mean(0)

    def aligned(self, design: Callable[[int], Tensor]) -> Tensor:
        """Return a design of coalitions for all examples, shape [coalitions, examples or 1, features].

        It is made once for each number of features, so that examples do not change each other. Features that an example
        has not are there; coalitions that a shorter design has not are whole.
        """
        return self.score.once(lambda: self._side_by_side([design(count) for count in self._kinds], True))

    def weighed(self, design: Design) -> Tensor:
        """Return what all coalitions' scores say of every feature, shape [examples, features]."""
        import torch

        total = torch.zeros((), dtype=torch.float64)
        for kept, weights in self._blocks(design):
            scores = self(kept).cpu().double().T
            total = total + (scores.unsqueeze(1) @ weights).squeeze(1)
        return total

    def _blocks(self, design: Design) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield coalitions, and their weights, [examples or 1, coalitions, features], a few at a time."""
        lines = self.score.once(lambda: [iter(design(count)) for count in self._kinds])
        while block := self.score.once(lambda: self._next(lines)):
            yield block

    def _next(self, lines: Sequence[Iterator[tuple[Tensor, Tensor]]]) -> tuple[Tensor, Tensor] | None:
        """Return the next coalitions of every line, side by side; nothing at their end."""
        import torch

        blocks = [next(line, None) for line in lines]
        if all(block is None for block in blocks):
            return None
        nothing = torch.ones(0, 1, dtype=torch.bool), torch.zeros(0, 1, dtype=torch.float64)
        kept, weights = zip(*(block or nothing for block in blocks), strict=True)
        return self._side_by_side(kept, True), self._side_by_side(weights, False).movedim(1, 0)

    @property
    def _kinds(self) -> list[int]:
        return sorted(set(self.counts))

    def _side_by_side(self, tables: Sequence[Tensor], filler: bool) -> Tensor:
        """Return a table for each kind of example, [rows, features], as one, [rows, examples or 1, features]."""
        import torch

        if len(tables) == 1:
            return tables[0][:, None]
        rows, columns = max(map(len, tables)), max(table.shape[1] for table in tables)
        sides = ((0, columns - table.shape[1], 0, rows - len(table)) for table in tables)
        filled = [torch.nn.functional.pad(t, side, value=filler) for t, side in zip(tables, sides, strict=True)]
        return torch.stack([filled[self._kinds.index(count)] for count in self.counts], 1)

    def shown(self, values: Tensor) -> Feeds:
        """Return numbers of shape [examples, features] at every element of the feature."""
        return {name: attributed(self._placed(values.to(real(v)), name), v) for name, v in self.feeds.items()}

    def _placed(self, values: Tensor, name: str) -> Tensor:
        labels = self.features[name]
        places = self.score.once(lambda: labels.flatten() if len(labels) == 1 else labels.flatten(1))
        found = values.index_select(1, places) if len(labels) == 1 else values.gather(1, places)
        return found.unflatten(1, labels.shape[1:])

    def shared(self, values: Tensor) -> Feeds:
        """Return numbers of shape [examples, features] shared out evenly among the elements of each feature."""
        return self.shown(values.cpu() / self.score.once(self.sizes))

    def sizes(self) -> Tensor:
        """Return how many elements each feature has, at least one, shape [examples or 1, features]."""
        import torch

        sizes = torch.zeros(len(self.counts), max(self.counts), dtype=torch.float64)
        for name, value in self.feeds.items():
            labels = self.features[name].flatten(1).cpu()
            copies = prod(value.shape[1:]) / labels.shape[1]
            sizes = sizes.scatter_add(1, labels, torch.full(labels.shape, copies, dtype=torch.float64))
        return sizes.clamp_min(1)


def each_without(count: int, blocks: int = 256) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the design that compares the whole with what is left when each feature, in turn, is not there."""
    import torch

    yield torch.ones(1, count, dtype=torch.bool), torch.ones(1, count, dtype=torch.float64)
    for start in range(0, count, blocks):
        absent = torch.arange(start, min(start + blocks, count))[:, None] == torch.arange(count)
        yield ~absent, -absent.double()


def _spread(kept: Tensor, labels: Tensor) -> Tensor:
    """Return coalitions of shape [sets, examples or 1, features] as masks of elements, [sets, examples or 1, ...]."""
    flat = labels.flatten(1)
    kept = kept.to(labels.device)
    if kept.shape[1] == 1 and len(flat) == 1:
        found = kept[:, 0].index_select(1, flat[0]).unsqueeze(1)
    else:
        rows = max(kept.shape[1], len(flat))
        found = kept.expand(-1, rows, -1).gather(2, flat.expand(len(kept), rows, -1))
    return found.unflatten(2, labels.shape[1:])
