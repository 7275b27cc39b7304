"""Filling holes in pictures: each missing pixel is the weighted mean of its neighbours, missing ones among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxsal.errors import UsageError
from onnxsal.metrics._units import like_feeds
from onnxsal.types import Explanation, Feeds

if TYPE_CHECKING:
    from torch import Tensor

BESIDE, ACROSS = 1 / 6, 1 / 12
"""What neighbours along the edges and the corners of a pixel weigh."""

PRECISION = 1e-4
"""How far the filled pixels may be from their neighbours' mean, as a part of the whole picture's norm."""

MOST_ROUNDS = 2000


def check_pictures(explanation: Explanation, where: str) -> None:
    """Refuse inputs that have no neighbouring pixels.

    Raises:
        UsageError: an input is no picture.
    """
    for name, value in explanation.feeds.items():
        if value.ndim != 4 or len(explanation.channels[name]) != 1:
            raise UsageError(
                f"input {name!r} of shape {list(value.shape)} is no picture, whose holes could be filled",
                where=where,
                hint="deletion and insertion take inputs of any shape",
            )


def imputed(explanation: Explanation, removed: Tensor) -> Feeds:
    """Return copies of explained pictures whose removed pixels are filled, shape [copies * examples, …].

    Args:
        explanation: What the pictures are explained by.
        removed: Truth values, shape [copies, examples, pixels of all inputs].
    """
    holes = like_feeds(explanation, removed)
    return {name: _filled(value, holes[name], *explanation.channels[name]) for name, value in explanation.feeds.items()}


def _filled(value: Tensor, holes: Tensor, channels: int) -> Tensor:
    pictures = value.repeat(len(holes), 1, 1, 1).movedim(channels, 1)
    return solve(pictures, holes.flatten(0, 1).movedim(channels, 1)).movedim(1, channels)


def solve(pictures: Tensor, holes: Tensor) -> Tensor:
    """Return pictures [rows, colours, height, width] with their holes [rows, 1, height, width] filled.

    The equations are symmetric and positive, so conjugate gradients solve them, each colour by itself.
    """
    import torch

    inside = holes.to(pictures.dtype)
    known = pictures * (1 - inside)
    total = _neighbours(torch.ones_like(inside))
    right = inside * _neighbours(known)
    found = torch.zeros_like(pictures)
    residual = right.clone()
    direction = residual.clone()
    size = _dot(residual, residual)
    enough = PRECISION**2 * _dot(pictures, pictures).clamp_min(torch.finfo(pictures.dtype).tiny)
    for _ in range(MOST_ROUNDS):
        if bool((size <= enough).all()):
            break
        image = inside * (total * direction - _neighbours(direction))
        step = torch.where(size > enough, size / _dot(direction, image), 0)  # where it is solved, nothing moves
        found = found + step * direction
        residual = residual - step * image
        size, before = _dot(residual, residual), size
        direction = residual + torch.where(before > enough, size / before, 0) * direction
    return torch.where(holes, found, pictures)


def _neighbours(pictures: Tensor) -> Tensor:
    """Return the weighted sum of each pixel's neighbours; beyond the edge there are none."""
    import torch

    weights = pictures.new_tensor([[ACROSS, BESIDE, ACROSS], [BESIDE, 0, BESIDE], [ACROSS, BESIDE, ACROSS]])
    rows = pictures.flatten(0, 1).unsqueeze(1)
    return torch.conv2d(rows, weights[None, None], padding=1).reshape(pictures.shape)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum((2, 3), keepdim=True)
