"""Features halved again and again: which belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Group:
    """Some features, and the two halves they are made of; a single one has none."""

    features: tuple[int, ...]
    halves: tuple[Group, ...] = ()


def halved(centres: Tensor) -> Group:
    """Return all features as a group, cut along the axis on which their centres lie farthest apart, and so on.

    Args:
        centres: Where each feature lies, shape [features, axes].
    """
    return _halved(centres, list(range(len(centres))))


def _halved(centres: Tensor, features: list[int]) -> Group:
    if len(features) == 1:
        return Group(tuple(features))
    own = centres[features]
    axis = int((own.amax(0) - own.amin(0)).argmax())
    order = own[:, axis].argsort(stable=True).tolist()
    half = len(order) // 2
    parts = [[features[place] for place in some] for some in (order[:half], order[half:])]
    return Group(tuple(features), tuple(_halved(centres, part) for part in parts))


def centres(labels: Feeds, example: int, count: int) -> Tensor:
    """Return where each feature of an example lies in the mean, shape [features, axes].

    The first axis counts the inputs, and lies farther apart than any other, so that features of one input stay
    together.
    """
    import torch

    rank = max(value.ndim for value in labels.values())
    far = 1.0 + sum(max(value.shape) for value in labels.values())
    total, number = torch.zeros(count, rank, dtype=torch.float64), torch.zeros(count, 1, dtype=torch.float64)
    for place, value in enumerate(labels.values()):
        own = value[min(example, len(value) - 1)].cpu()
        flat = own.flatten()
        where = torch.cartesian_prod(*map(torch.arange, own.shape)).reshape(len(flat), -1).double()
        where = torch.nn.functional.pad(where, (1, rank - 1 - where.shape[1]), value=0.0)
        where[:, 0] = place * far
        total.index_add_(0, flat, where)
        number.index_add_(0, flat, torch.ones(len(flat), 1, dtype=torch.float64))
    return total / number
