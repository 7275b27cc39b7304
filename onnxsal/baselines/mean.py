"""The mean of the input as a baseline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import BaselineMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.places import places
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor


def make(feeds: Feeds) -> Feeds:
    """Each example's mean: of a picture that of each channel by itself, of a table's row that of its columns."""
    return {name: _mean(value) for name, value in feeds.items()}


def _mean(value: Tensor) -> Tensor:
    averaged = places(value.shape)
    return value.mean(averaged, keepdim=True).expand_as(value) if averaged else value


@hookimpl
def onnxsal_baselines() -> Iterable[BaselineMaker]:
    yield BaselineMaker("mean", make)
