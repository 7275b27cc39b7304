"""The noisy baseline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from onnxsal.baselines._draws import bounds, drawn
from onnxsal.entries import BaselineMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Generator


def make(feeds: Feeds, generators: Sequence[Generator], *, noise: float = 0.5, draws: int = 1) -> Feeds:
    """The input itself under Gaussian noise.

    Sturmfels, Lundberg and Lee 2020, Visualizing the Impact of Feature Attribution Baselines (Distill).

    Args:
        noise: The noise's standard deviation, as a part of the way from an example's least to its greatest value.
        draws: How many baselines, for methods that take several.
    """
    import torch

    numbers = drawn(feeds, generators, draws, torch.randn, "baseline noise")
    made = {}
    for name, value in feeds.items():
        least, greatest = bounds(value)
        made[name] = value + noise * (greatest - least) * numbers[name]
    return made


@hookimpl
def onnxsal_baselines() -> Iterable[BaselineMaker]:
    yield BaselineMaker("noise", make, random=True)
