"""The blurred baseline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import BaselineMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.places import places
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor


def make(feeds: Feeds, *, sigma: float = 10.0) -> Feeds:
    """The input itself, blurred across its places: a picture's pixels, a signal's moments, a table's columns.

    Args:
        sigma: Standard deviation of the Gaussian, in pixels or samples.
    """
    return {name: blurred(value, sigma) for name, value in feeds.items()}


def blurred(value: Tensor, sigma: float) -> Tensor:
    """Return the value blurred along every axis that holds places; sigma 0 leaves it as it is."""
    for axis in places(value.shape) if sigma else ():
        value = _blurred_along(value, axis, sigma)
    return value


def _blurred_along(value: Tensor, axis: int, sigma: float) -> Tensor:
    """Weigh each line with a Gaussian, the ends repeated, so that a flat line stays flat."""
    import torch

    reach = max(1, round(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, device=value.device)
    weights = torch.softmax(-0.5 * (offsets.to(torch.float64) / sigma) ** 2, dim=0).to(value.dtype)
    length = value.shape[axis]
    positions = (torch.arange(length, device=value.device)[:, None] + offsets).clamp(0, length - 1)
    kernel = torch.zeros(length, length, dtype=value.dtype, device=value.device)
    kernel = kernel.scatter_add(1, positions, weights.expand(length, -1))
    return (value.movedim(axis, -1) @ kernel.T).movedim(-1, axis)


@hookimpl
def onnxsal_baselines() -> Iterable[BaselineMaker]:
    yield BaselineMaker("blur", make)
