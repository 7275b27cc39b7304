"""Apple GPUs."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Device
from onnxsal.hookspecs import hookimpl


def count() -> int:
    """Return how many there are now."""
    import torch

    return int(torch.backends.mps.is_available())


def describe(_index: int) -> str:
    """The GPU of an Apple machine."""
    return "Apple GPU"


@hookimpl
def onnxsal_devices() -> Iterable[Device]:
    yield Device("mps", count, describe, preference=20)
