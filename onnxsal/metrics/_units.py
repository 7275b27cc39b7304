"""What is ranked and removed as one: all numbers that stand at one place, such as a pixel's colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxsal.types import Explanation, Feeds

if TYPE_CHECKING:
    from torch import Tensor

COPIES = 16
"""How many copies of the examples are mixed at a time, which bounds the memory they take."""


def by_unit(explanation: Explanation, values: Feeds) -> Tensor:
    """Return values shaped like the feeds, summed within each unit, shape [rows, units]."""
    import torch

    axes = explanation.channels
    summed = [value.sum(axes[name]) if axes[name] else value for name, value in values.items()]
    return torch.cat([value.reshape(len(value), -1) for value in summed], dim=1)


def like_feeds(explanation: Explanation, chosen: Tensor) -> Feeds:
    """Return truth values of shape [copies, examples, units] with the axes of each feed behind the copies."""
    shapes = {
        name: [1 if axis in explanation.channels[name] else size for axis, size in enumerate(value.shape)]
        for name, value in explanation.feeds.items()
    }
    counts = [by_unit(explanation, {name: value[:1]}).shape[1] for name, value in explanation.feeds.items()]
    parts = zip(shapes.items(), chosen.split(counts, dim=2), strict=True)
    return {name: part.reshape(len(chosen), *shape) for (name, shape), part in parts}


def mixed(explanation: Explanation, inside: Feeds, outside: Feeds, chosen: Tensor) -> Feeds:
    """Return rows that are ``inside`` where a unit is chosen and ``outside`` elsewhere.

    Args:
        explanation: What the units are of.
        inside: One row per example.
        outside: One row per example.
        chosen: Truth values, shape [copies, examples, units].

    Returns:
        Feeds of copies times examples rows, one whole set of examples after the other.
    """
    import torch

    where = like_feeds(explanation, chosen)
    return {name: torch.where(where[name], value, outside[name]).flatten(0, 1) for name, value in inside.items()}


def scores_of_mixed(explanation: Explanation, inside: Feeds, outside: Feeds, chosen: Tensor) -> Tensor:
    """Return the scores of what `mixed` makes, shape [copies, examples]."""
    import torch

    scores = [explanation.score(mixed(explanation, inside, outside, some)) for some in chosen.split(COPIES)]
    return torch.cat(scores).reshape(chosen.shape[:2])


def pieces(explanation: Explanation, cells: int) -> Tensor:
    """Return the piece that each unit belongs to, counted from 0, shape [units].

    The axes of pictures and volumes are cut into ``cells`` parts each; elsewhere each unit is a piece by itself.
    """
    import torch

    labels: list[Tensor] = []
    count = 0
    for name, value in explanation.feeds.items():
        sizes = [value.shape[a] for a in range(1, value.ndim) if a not in explanation.channels[name]]
        label = torch.zeros((), dtype=torch.int64, device=value.device)
        for size in sizes:
            parts = min(cells, size) if len(sizes) > 1 else size
            label = label[..., None] * parts + torch.arange(size, device=value.device) * parts // size
        labels.append(label.reshape(-1) + count)
        count = int(labels[-1].max()) + 1
    return torch.cat(labels)
