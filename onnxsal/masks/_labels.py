"""Numbers that say which feature each element belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor


def each_apart(feeds: Feeds, label: Callable[[Tensor], Tensor]) -> Feeds:
    """Return the labels of every input by itself, such that no two inputs share a feature."""
    labels: Feeds = {}
    start = 0
    for name, value in feeds.items():
        labels[name] = label(value) + start
        start = int(labels[name].max()) + 1
    return labels


def product(value: Tensor, parts: Iterable[tuple[int, Tensor]]) -> Tensor:
    """Return the labels of the cells that parts of some axes make: pairs of an axis and the part of each index.

    An axis without parts has length one.
    """
    import torch

    labels = torch.zeros((1,) * value.ndim, dtype=torch.int64, device=value.device)
    for axis, part in parts:
        shape = [-1 if a == axis else 1 for a in range(value.ndim)]
        labels = labels * (int(part.max()) + 1) + part.to(value.device).reshape(shape)
    return labels


def even(length: int, parts: int) -> Tensor:
    """Return the part of each index, where an axis is cut into so many parts of equal length, or as near as it goes."""
    import torch

    return torch.arange(length) * min(parts, length) // length
