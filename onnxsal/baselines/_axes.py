"""What baselines know of the feeds' axes: dim 0 counts examples, one of the others the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxsal.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


def channel_axis(value: Tensor, channels: int, where: str) -> int:
    """Return the axis that counts the channels, from 1.

    Raises:
        UsageError: the value has no such axis, or it counts the examples.
    """
    axis = channels + value.ndim if channels < 0 else channels
    if not 0 < axis < value.ndim:
        raise UsageError(
            f"channels={channels} is no axis within an example of shape {list(value.shape[1:])}",
            where=where,
            hint="the first axis after the examples is 1, the last one -1",
        )
    return axis


def within(value: Tensor) -> tuple[int, ...]:
    """Return the axes within an example."""
    return tuple(range(1, value.ndim))
