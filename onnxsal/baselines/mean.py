"""The mean of the input as a baseline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.baselines._axes import channel_axis, within
from onnxsal.entries import BaselineMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor


def make(feeds: Feeds, *, channels: int = 1) -> Feeds:
    """Each example's mean, for each channel by itself; of a table's row the mean of its columns.

    Args:
        channels: The axis that counts the channels; -1 is the last.
    """
    return {name: _mean(value, channels) for name, value in feeds.items()}


def _mean(value: Tensor, channels: int) -> Tensor:
    kept = {channel_axis(value, channels, "baseline mean")} if value.ndim > 2 else set()
    averaged = [axis for axis in within(value) if axis not in kept]
    return value.mean(averaged, keepdim=True).expand_as(value) if averaged else value


@hookimpl
def onnxsal_baselines() -> Iterable[BaselineMaker]:
    yield BaselineMaker("mean", make)
