"""Occlusion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING

from onnxsal.entries import ZERO, Baseline, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._perturbed import attributed, copies, real, replaced, sets_at_once
from onnxsal.places import is_table, places
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor


def explain(
    score: Score,
    feeds: Feeds,
    *,
    baseline: Baseline = ZERO,
    window: tuple[int, ...] = (),
    stride: tuple[int, ...] = (),
) -> Feeds:
    """What the score loses when a window that slides over the input hides what is under it.

    An element shows the mean over the windows that hide it. It runs the model once a window. Zeiler and Fergus 2014,
    Visualizing and Understanding Convolutional Networks (arXiv 1311.2901).

    Args:
        baseline: What is seen in the window: a number, the name of a baseline, or a file.
        window: Its size along height and width, or along a signal or table: one number for all, or one each; one for
            each axis where channels are not to be hidden together. Empty: an eighth of each axis, or one column.
        stride: How far it moves each time, in the same way. Empty: half the window.
    """
    whole = score(feeds)
    found = {}
    for name, value in feeds.items():
        covers = _covers(value, window, stride, name)
        lost = whole - _hidden_scores(score, feeds, name, baseline[name], covers)
        found[name] = attributed(_mean_by_place(lost.to(real(value)), value, covers), value)
    return found


Covers = list[tuple[int, "Tensor"]]
"""For each axis along which the window moves, which indices each of its positions hides: [positions, length]."""


def _covers(value: Tensor, window: tuple[int, ...], stride: tuple[int, ...], name: str) -> Covers:
    axes = places(value.shape)
    if len(window) == value.ndim - 1:
        axes = tuple(range(1, value.ndim))
    lengths = [value.shape[axis] for axis in axes]
    sizes = _each(window, [1 if is_table(value.shape) else max(1, n // 8) for n in lengths], lengths, "window", name)
    steps = _each(stride, [max(1, size // 2) for size in sizes], sizes, "stride", name)
    return [(a, _cover(value, *spec)) for a, *spec in zip(axes, lengths, sizes, steps, strict=True)]


def _each(given: tuple[int, ...], usual: Sequence[int], most: Sequence[int], option: str, name: str) -> Sequence[int]:
    """Return a number for each axis: what is given for it or for all, or what is usual."""
    numbers = given * len(most) if len(given) == 1 else given or usual
    fits = len(numbers) == len(most) and all(1 <= n <= limit for n, limit in zip(numbers, most, strict=True))
    if not fits:
        raise UsageError(
            f"{option}={','.join(map(str, given))} does not fit input {name!r}",
            where="occlusion",
            hint=f"one number, or {len(most)}, from 1 to {', '.join(map(str, most))}"
            + ("" if option == "window" else ": no further than the window, or there are gaps"),
        )
    return numbers


def _cover(value: Tensor, length: int, size: int, step: int) -> Tensor:
    """Return what each position hides; the last may reach over the end."""
    import torch

    positions = torch.arange(-(-(length - size) // step) + 1, device=value.device)[:, None] * step
    indices = torch.arange(length, device=value.device)
    return (indices >= positions) & (indices < positions + size)


def _hidden_scores(score: Score, feeds: Feeds, name: str, baseline: Tensor, covers: Covers) -> Tensor:
    """Return the score with the window at each position, shape [positions, examples]."""
    import torch

    numbers = torch.arange(prod(len(cover) for _, cover in covers), device=feeds[name].device)
    scores = []
    for some in numbers.split(sets_at_once(feeds)):
        seen = {other: copies(value, len(some)) for other, value in feeds.items() if other != name}
        seen[name] = replaced(feeds[name], baseline, ~_hidden(some, covers, feeds[name].ndim))
        scores.append(score({other: seen[other] for other in feeds}).unflatten(0, (len(some), -1)))
    return torch.cat(scores)


def _hidden(numbers: Tensor, covers: Covers, rank: int) -> Tensor:
    """Return what some positions hide, shape [positions, 1, ...]; the last axis moves fastest."""
    import torch

    hidden = numbers.new_ones((), dtype=torch.bool)
    for axis, cover in reversed(covers):
        shape = [-1 if a == axis else 1 for a in range(rank)]
        hidden = hidden & cover[numbers % len(cover)].reshape(len(numbers), *shape)
        numbers = numbers // len(cover)
    return hidden


def _mean_by_place(lost: Tensor, value: Tensor, covers: Covers) -> Tensor:
    """Return what was lost at each place, in the mean over the positions that hid it."""
    total = lost.reshape(*(len(cover) for _, cover in covers), -1)
    for _, cover in covers:
        total = total.movedim(0, -1) @ cover.to(total)
    shape = [size if a in {0, *(axis for axis, _ in covers)} else 1 for a, size in enumerate(value.shape)]
    total = total.reshape(shape)
    for axis, cover in covers:
        times = cover.sum(0).to(total)
        total = total / times.reshape([-1 if a == axis else 1 for a in range(value.ndim)])
    return total


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("occlusion", explain, gradient=False)
