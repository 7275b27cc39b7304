"""Positions in a text."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import MaskMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.masks._labels import product
from onnxsal.types import Feeds


def make(feeds: Feeds) -> Feeds:
    """Each position along axis 1, in all inputs at once: a token is its id and whatever else is told of it."""
    import torch

    return {n: product(v, [(1, torch.arange(v.shape[1]))] if v.ndim > 1 else []) for n, v in feeds.items()}


@hookimpl
def onnxsal_masks() -> Iterable[MaskMaker]:
    yield MaskMaker("tokens", make)
