"""Stretches of time."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import MaskMaker
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.masks._labels import each_apart, even, product
from onnxsal.places import places
from onnxsal.types import Feeds


def make(feeds: Feeds, *, segments: int = 16) -> Feeds:
    """Stretches of time, as many as asked for: a signal's longest axis of places in equal parts, all channels together.

    Args:
        segments: How many.
    """
    if segments < 1:
        raise UsageError(f"segments={segments} is too few", where="mask segments", hint="1 is the whole input")

    def stretches(value):  # type: ignore[no-untyped-def]
        axis = max(places(value.shape), key=lambda a: value.shape[a], default=0)
        return product(value, [(axis, even(value.shape[axis], segments))] if axis else [])

    return each_apart(feeds, stretches)


@hookimpl
def onnxsal_masks() -> Iterable[MaskMaker]:
    yield MaskMaker("segments", make)
