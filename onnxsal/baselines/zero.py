"""The zero baseline."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import BaselineMaker
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds


def make(feeds: Feeds) -> Feeds:
    """Zero everywhere."""
    return {name: value * 0 for name, value in feeds.items()}


@hookimpl
def onnxsal_baselines() -> Iterable[BaselineMaker]:
    yield BaselineMaker("zero", make)
