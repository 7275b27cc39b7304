"""One token everywhere."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import BaselineMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds


def make(feeds: Feeds, *, id: int) -> Feeds:
    """One token in every place: the id that the tokenizer gives padding or a mask; gradients start at its embedding.

    Args:
        id: The token's id, as the model takes it.
    """
    import torch

    return {name: torch.full_like(feed, id) for name, feed in feeds.items()}


@hookimpl
def onnxsal_baselines() -> Iterable[BaselineMaker]:
    yield BaselineMaker("token", make, of_input=True)
