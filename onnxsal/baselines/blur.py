"""The blurred baseline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import BaselineMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor


def make(feeds: Feeds, *, sigma: float = 10.0) -> Feeds:
    """The input itself, blurred along its last two axes (the last one where it has no more).

    Args:
        sigma: Standard deviation of the Gaussian, in pixels or samples.
    """
    return {name: _blurred(value, sigma) for name, value in feeds.items()}


def _blurred(value: Tensor, sigma: float) -> Tensor:
    for axis in range(max(1, value.ndim - 2), value.ndim):
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
