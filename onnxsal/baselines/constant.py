"""The constant baseline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.baselines._axes import channel_axis
from onnxsal.entries import BaselineMaker
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor

WHERE = "baseline constant"


def make(feeds: Feeds, *, value: tuple[float, ...], channels: int = 1) -> Feeds:
    """One number everywhere, or one for each channel.

    Args:
        value: The number, or one for each channel with commas between them.
        channels: The axis that counts the channels; -1 is the last.
    """
    import torch

    if len(value) == 1:
        return {name: torch.full_like(feed, value[0]) for name, feed in feeds.items()}
    return {name: _by_channel(feed, value, channels, name) for name, feed in feeds.items()}


def _by_channel(feed: Tensor, numbers: tuple[float, ...], channels: int, name: str) -> Tensor:
    axis = channel_axis(feed, channels, WHERE)
    if feed.shape[axis] != len(numbers):
        raise UsageError(
            f"{len(numbers)} numbers for the {feed.shape[axis]} channels of input {name!r} (axis {axis})",
            where=WHERE,
            hint="give one number, or one for each channel; channels=-1 where they come last",
        )
    return feed.new_tensor(numbers).reshape(-1, *[1] * (feed.ndim - axis - 1)).expand_as(feed)


@hookimpl
def onnxsal_baselines() -> Iterable[BaselineMaker]:
    yield BaselineMaker("constant", make)
