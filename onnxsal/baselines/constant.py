"""The constant baseline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import BaselineMaker
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.places import places
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor


def make(feeds: Feeds, *, value: tuple[float, ...]) -> Feeds:
    """One number everywhere, or one for each channel.

    Args:
        value: The number, or one for each channel with commas between them.
    """
    import torch

    if len(value) == 1:
        return {name: torch.full_like(feed, value[0]) for name, feed in feeds.items()}
    return {name: _by_channel(feed, value, name) for name, feed in feeds.items()}


def _by_channel(feed: Tensor, numbers: tuple[float, ...], name: str) -> Tensor:
    spread = places(feed.shape)
    axes = [a for a in range(1, feed.ndim) if a not in spread and feed.shape[a] == len(numbers)]
    if len(axes) != 1:
        raise UsageError(
            f"{len(numbers)} numbers do not fit the channels of input {name!r} of shape {list(feed.shape)}",
            where="baseline constant",
            hint="give one number, or one for each channel",
        )
    return feed.new_tensor(numbers).reshape([-1 if a == axes[0] else 1 for a in range(feed.ndim)]).expand_as(feed)


@hookimpl
def onnxsal_baselines() -> Iterable[BaselineMaker]:
    yield BaselineMaker("constant", make)
