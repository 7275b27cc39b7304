"""Guided Integrated Gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import ZERO, Baseline, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor


def explain(
    score: Score,
    feeds: Feeds,
    *,
    baseline: Baseline = ZERO,
    steps: int = 100,
    fraction: float = 0.25,
    distance: float = 0.02,
) -> Feeds:
    """The gradient along a way from a baseline to the input that moves first what the score hardly minds.

    Each step shortens the way that is left, measured as the sum of all differences, by the same length. Kapishnikov et
    al. 2021, Guided Integrated Gradients: An Adaptive Path Method for Removing Noise (arXiv 2106.09788).

    Args:
        baseline: Where the way starts: a number, the name of a baseline, or a file.
        steps: How many gradients are taken, one after the other.
        fraction: Which part of the values moves together, those of the smallest gradients first.
        distance: How far a value may be ahead of or behind the straight way, as a part of its own way.
    """
    import torch

    if steps < 1 or not 0 < fraction <= 1 or distance < 0:
        raise UsageError(
            f"steps={steps}, fraction={fraction} and distance={distance} describe no way",
            where="guided_ig",
            hint="steps from 1, fraction above 0 up to 1, distance from 0",
        )
    start, end = _flat(baseline), _flat(feeds)
    way, here = end - start, start
    total = torch.zeros_like(here)
    for step in range(steps):
        gradients = _flat(score.gradients(_shaped(here, feeds)))
        done = (step + 1) / steps
        low = start + max(done - distance, 0) * way
        high = start + min(done + distance, 1) * way
        there = torch.where((here - low) * way < 0, low, here)
        # What is behind is brought to the lower bound first; the rest of the step's length is shared out.
        length = (end - there).abs().sum(1) - way.abs().sum(1) * (1 - done)
        there = there + _shares(gradients.abs(), (high - there).abs(), length, fraction) * (high - there)
        total, here = total + (there - here) * gradients, there
    return _shaped(total, feeds)


def _shares(sizes: Tensor, rooms: Tensor, length: Tensor, fraction: float) -> Tensor:
    """Return which part of its room each value is moved, so that the moves add up to a length per example.

    Values go in groups, those of the smallest sizes first; equal sizes go together. Shapes [examples, values].
    """
    import torch

    sizes, order = torch.where(rooms > 0, sizes, torch.inf).sort(1)
    rooms = rooms.gather(1, order)
    together = int(fraction * (rooms.shape[1] - 1)) + 1
    groups = torch.searchsorted(sizes, sizes) // together
    room = torch.zeros_like(rooms).scatter_add(1, groups, rooms)
    before = room.cumsum(1) - room
    share = ((length.unsqueeze(1) - before) / room.clamp_min(torch.finfo(room.dtype).tiny)).clamp(0, 1)
    return torch.zeros_like(rooms).scatter(1, order, share.gather(1, groups))


def _flat(feeds: Feeds) -> Tensor:
    """Return all values of each example as one row."""
    import torch

    return torch.cat([value.reshape(value.shape[0], -1) for value in feeds.values()], 1)


def _shaped(rows: Tensor, feeds: Feeds) -> Feeds:
    """Return rows of all values in the feeds' shapes."""
    parts = rows.split([value[0].numel() for value in feeds.values()], 1)
    return {n: part.reshape(v.shape).to(v.dtype) for (n, v), part in zip(feeds.items(), parts, strict=True)}


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("guided_ig", explain, complete=True)
