"""Inputs that are partly replaced: how, and how many at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor

BYTES_AT_ONCE = 1 << 26
"""How much memory the perturbed inputs of one piece of the work may take."""

MOST_AT_ONCE = 4096


def sets_at_once(feeds: Feeds) -> int:
    """Return how many perturbed copies of the examples are made at a time: a power of two."""
    size = sum(value.numel() * value.element_size() for value in feeds.values())
    fitting = min(MOST_AT_ONCE, BYTES_AT_ONCE // max(size, 1))
    return 1 << max(fitting.bit_length() - 1, 0)


def replaced(value: Tensor, other: Tensor, kept: Tensor) -> Tensor:
    """Return rows of the value where it is kept and of the other where it is not, shape [sets * examples, ...].

    Args:
        value: The input, shape [examples, ...].
        other: What stands in its place, of the same shape.
        kept: What is kept, shape [sets, examples or 1, ...]: true or false, or a part between 0 and 1. Whole numbers
            that are no bytes cannot be mixed, and are kept from a half on.
    """
    import torch

    if kept.dtype is torch.bool:
        return torch.where(kept, value, other).flatten(0, 1)
    if value.is_floating_point():
        return torch.lerp(other, value, kept.to(value.dtype)).flatten(0, 1)
    if value.dtype is torch.uint8:
        return torch.lerp(other.float(), value.float(), kept.float()).round().to(torch.uint8).flatten(0, 1)
    return torch.where(kept >= 0.5, value, other).flatten(0, 1)


def copies(value: Tensor, sets: int) -> Tensor:
    """Return so many copies of the examples, one whole set after the other."""
    return value.expand(sets, *value.shape).flatten(0, 1)


def attributed(numbers: Tensor, value: Tensor) -> Tensor:
    """Return numbers that broadcast to an input as attributions shaped like it."""
    return numbers.expand(value.shape).clone()


def real(value: Tensor) -> Tensor:
    """Return an empty tensor of the kind that attributions of an input are: on its device, of its type if real."""
    import torch

    return value.new_empty(0, dtype=value.dtype if value.is_floating_point() else torch.float32)
