"""Ranks and what follows from them; equal values share the mean of their ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def ordered(importance: Tensor) -> Tensor:
    """Return each unit's place in the order of removal, 0 for the most important, shape [examples, units]."""
    return importance.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def rank_correlation(left: Tensor, right: Tensor) -> Tensor:
    """Return Spearman's correlation of each row with its fellow; NaN where a row is constant."""
    return correlation(_ranks(left), _ranks(right))


def correlation(left: Tensor, right: Tensor) -> Tensor:
    """Return Pearson's correlation of each row with its fellow; NaN where a row is constant."""
    left, right = (side - side.mean(1, keepdim=True) for side in (left.double(), right.double()))
    return (left * right).sum(1) / (left.square().sum(1) * right.square().sum(1)).sqrt()


def _ranks(values: Tensor) -> Tensor:
    import torch

    values = values.contiguous()
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to).double() / 2
