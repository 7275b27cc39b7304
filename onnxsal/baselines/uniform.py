"""The uniformly random baseline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from onnxsal.baselines._draws import bounds, drawn
from onnxsal.entries import BaselineMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Generator


def make(
    feeds: Feeds,
    generators: Sequence[Generator],
    *,
    low: float | None = None,
    high: float | None = None,
    draws: int = 1,
) -> Feeds:
    """Random numbers, each as likely as any other between an example's least and greatest value.

    Sturmfels, Lundberg and Lee 2020, Visualizing the Impact of Feature Attribution Baselines (Distill).

    Args:
        low: The least number; none: the example's own.
        high: The greatest number; none: the example's own.
        draws: How many baselines, for methods that take several.
    """
    import torch

    numbers = drawn(feeds, generators, draws, torch.rand, "baseline uniform")
    made = {}
    for name, value in feeds.items():
        least, greatest = bounds(value)
        least = least if low is None else torch.full_like(least, low)
        greatest = greatest if high is None else torch.full_like(greatest, high)
        made[name] = least + (greatest - least) * numbers[name]
    return made


@hookimpl
def onnxsal_baselines() -> Iterable[BaselineMaker]:
    yield BaselineMaker("uniform", make, random=True)
