"""Every number by itself."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import MaskMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.masks._labels import each_apart, product
from onnxsal.types import Feeds


def make(feeds: Feeds) -> Feeds:
    """Each element alone; of pictures that is very many features."""
    import torch

    return each_apart(feeds, lambda v: product(v, [(a, torch.arange(v.shape[a])) for a in range(1, v.ndim)]))


@hookimpl
def onnxsal_masks() -> Iterable[MaskMaker]:
    yield MaskMaker("elements", make)
