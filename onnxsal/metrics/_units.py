"""What is ranked and removed as one: all numbers that stand at one place, such as a pixel's colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxsal.places import places
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

COPIES = 16
"""How many copies of the examples are mixed at a time, which bounds the memory they take."""


def channel_axes(value: Tensor) -> tuple[int, ...]:
    """Return the axes within an example along which all numbers stand at one place."""
    axes = places(value.shape)
    return tuple(axis for axis in range(1, value.ndim) if axis not in axes)


def by_unit(values: Feeds) -> Tensor:
    """Return the values of all inputs summed within each unit, shape [rows, units]."""
    import torch

    axes = {name: channel_axes(value) for name, value in values.items()}
    summed = [value.sum(axes[name]) if axes[name] else value for name, value in values.items()]
    return torch.cat([value.reshape(len(value), -1) for value in summed], dim=1)


def mixed(inside: Feeds, outside: Feeds, chosen: Tensor) -> Feeds:
    """Return rows that are ``inside`` where a unit is chosen and ``outside`` elsewhere.

    Args:
        inside: One row per example.
        outside: One row per example.
        chosen: Truth values, shape [copies, examples, units].

    Returns:
        Feeds of copies times examples rows, one whole set of examples after the other.
    """
    import torch

    parts = split_units(chosen, inside)
    return {
        name: torch.where(like_feed(parts[name], value), value, outside[name]).flatten(0, 1)
        for name, value in inside.items()
    }


def scores_of_mixed(score: Score, inside: Feeds, outside: Feeds, chosen: Tensor) -> Tensor:
    """Return the scores of what `mixed` makes, shape [copies, examples]."""
    import torch

    scores = [score(mixed(inside, outside, some)) for some in chosen.split(COPIES)]
    return torch.cat(scores).reshape(chosen.shape[:2])


def like_feed(chosen: Tensor, value: Tensor) -> Tensor:
    """Return truth values of shape [copies, examples, units] with the feed's axes behind the copies."""
    axes = channel_axes(value)
    shape = [1 if axis in axes else size for axis, size in enumerate(value.shape)]
    return chosen.reshape(len(chosen), *shape)


def split_units(chosen: Tensor, feeds: Feeds) -> dict[str, Tensor]:
    """Return the part of [copies, examples, units] that belongs to each input."""
    counts = [by_unit({name: value[:1]}).shape[1] for name, value in feeds.items()]
    return dict(zip(feeds, chosen.split(counts, dim=2), strict=True))
