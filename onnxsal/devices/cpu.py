"""The processor."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Device
from onnxsal.hookspecs import hookimpl


def count() -> int:
    """Return how many there are now."""
    return 1


def describe(_index: int) -> str:
    """The processor of this machine."""
    import platform

    return platform.processor() or platform.machine()


@hookimpl
def onnxsal_devices() -> Iterable[Device]:
    yield Device("cpu", count, describe, preference=0, provider="CPUExecutionProvider")
