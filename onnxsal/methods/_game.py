"""The score as a game: what it is when only some features of the input are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
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
        features: The feature of each element, from 0 in every example; examples may have different numbers of them.
    """

    score: Score
    feeds: Feeds
    baselines: Feeds
    features: Feeds

    @cached_property
    def counts(self) -> list[int]:
        """How many features each example has."""
        import torch

        highest = torch.stack([labels.flatten(1).amax(1) for labels in self.features.values()]).amax(0)
        return [int(number) + 1 for number in highest.tolist()]

    @cached_property
    def labels(self) -> Feeds:
        """The features, one long along axes on which they stay the same."""
        return {name: _narrowed(labels) for name, labels in self.features.items()}

    def __call__(self, kept: Tensor) -> Tensor:
        """Return the score, [coalitions, examples], of coalitions of shape [coalitions, examples or 1, features]."""
        import torch

        return torch.cat([self._scores(some) for some in kept.split(sets_at_once(self.feeds))])

    def _scores(self, kept: Tensor) -> Tensor:
        import torch

        scores = []
        for others in zip(*self.baselines.values(), strict=True):
            rows = {
                name: replaced(value, other, _spread(kept, self.labels[name]))
                for (name, value), other in zip(self.feeds.items(), others, strict=True)
            }
            scores.append(self.score(rows).unflatten(0, (len(kept), -1)))
        return torch.stack(scores).mean(0)

    def aligned(self, design: Callable[[int], Tensor]) -> Tensor:
        """Return a design of coalitions for all examples, shape [coalitions, examples or 1, features].

        It is made once for each number of features, so that examples do not change each other. Features that an example
        has not are there; coalitions that a shorter design has not are whole.
        """
        return _side_by_side([design(count) for count in self._kinds], self._places, 1)

    def weighed(self, design: Design) -> Tensor:
        """Return what all coalitions' scores say of every feature, shape [examples, features]."""
        import torch

        total = torch.zeros(len(self.counts), max(self.counts), dtype=torch.float64)
        nothing = torch.ones(0, 1, dtype=torch.bool), torch.zeros(0, 1, dtype=torch.float64)
        for blocks in zip_longest(*(design(count) for count in self._kinds), fillvalue=nothing):
            kept, weights = zip(*blocks, strict=True)
            scores = self(_side_by_side(kept, self._places, 1)).cpu().double()
            total = total + torch.einsum("pn,pnk->nk", scores, _weights(weights, self._places, len(self.counts)))
        return total

    @property
    def _kinds(self) -> list[int]:
        return sorted(set(self.counts))

    @property
    def _places(self) -> list[int]:
        """Which of the kinds each example is of; a single entry where all are alike."""
        return [self._kinds.index(count) for count in self.counts] if len(self._kinds) > 1 else [0]

    def shown(self, values: Tensor) -> Feeds:
        """Return numbers of shape [examples, features] at every element of the feature."""
        return {n: attributed(_spread(values[None].to(real(v)), self.labels[n])[0], v) for n, v in self.feeds.items()}

    def shared(self, values: Tensor) -> Feeds:
        """Return numbers of shape [examples, features] shared out evenly among the elements of each feature."""
        return self.shown(values.cpu() / self.sizes)

    @property
    def sizes(self) -> Tensor:
        """How many elements each feature has, at least one, shape [examples, features]."""
        import torch

        sizes = torch.zeros(len(self.counts), max(self.counts), dtype=torch.float64)
        for name, value in self.feeds.items():
            labels = self.labels[name].flatten(1).cpu()
            each = torch.full((len(sizes), labels.shape[1]), value[0].numel() / labels.shape[1], dtype=torch.float64)
            sizes = sizes.scatter_add(1, labels.expand(len(sizes), -1), each)
        return sizes.clamp_min(1)


def each_without(count: int, blocks: int = 256) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the design that compares the whole with what is left when each feature, in turn, is not there."""
    import torch

    yield torch.ones(1, count, dtype=torch.bool), torch.ones(1, count, dtype=torch.float64)
    for start in range(0, count, blocks):
        absent = torch.arange(start, min(start + blocks, count))[:, None] == torch.arange(count)
        yield ~absent, -absent.double()


def _narrowed(labels: Tensor) -> Tensor:
    """Return labels without the copies that ``expand`` made; they take no memory, but time."""
    copied = zip(labels.shape, labels.stride(), strict=True)
    return labels[tuple(slice(0, 1) if stride == 0 and size > 1 else slice(None) for size, stride in copied)]


def _spread(numbers: Tensor, labels: Tensor) -> Tensor:
    """Return numbers of shape [sets, examples or 1, features] at each element, shape [sets, examples or 1, ...]."""
    flat = labels.flatten(1)
    numbers = numbers.to(labels.device)
    if numbers.shape[1] == 1 and len(flat) == 1:
        found = numbers[:, 0].index_select(1, flat[0])
    else:
        rows = max(numbers.shape[1], len(flat))
        shape = len(numbers), rows, flat.shape[1]
        found = numbers.expand(-1, rows, -1).gather(2, flat.expand(shape))
    return found.reshape(len(numbers), -1, *labels.shape[1:])


def _side_by_side(tables: Sequence[Tensor], places: Sequence[int], filler: int) -> Tensor:
    """Return tables of shape [rows, features], filled up to one size, as [rows, examples, features]."""
    import torch

    if len(tables) == 1:
        return tables[0][:, None].expand(-1, len(places), -1)
    rows, columns = max(map(len, tables)), max(table.shape[1] for table in tables)
    filled = [
        torch.nn.functional.pad(table, (0, columns - table.shape[1], 0, rows - len(table)), value=filler)
        for table in tables
    ]
    return torch.stack([filled[place] for place in places], 1)


def _weights(tables: Sequence[Tensor], places: Sequence[int], examples: int) -> Tensor:
    return _side_by_side(tables, places, 0).expand(-1, examples, -1)
