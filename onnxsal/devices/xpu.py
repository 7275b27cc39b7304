"""Intel GPUs."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Device
from onnxsal.hookspecs import hookimpl


def count() -> int:
    """Return how many there are now."""
    import torch

    return torch.xpu.device_count() if torch.xpu.is_available() else 0


def describe(index: int) -> str:
    """A GPU that Intel's runtime sees."""
    import torch

    return str(torch.xpu.get_device_name(index))


@hookimpl
def onnxsal_devices() -> Iterable[Device]:
    yield Device("xpu", count, describe, preference=10)
