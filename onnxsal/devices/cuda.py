"""NVIDIA and AMD GPUs."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Device
from onnxsal.hookspecs import hookimpl


def count() -> int:
    """Return how many there are now."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def describe(index: int) -> str:
    """A GPU that CUDA (or ROCm) sees; CUDA_VISIBLE_DEVICES chooses among them."""
    import torch

    return torch.cuda.get_device_name(index)


@hookimpl
def onnxsal_devices() -> Iterable[Device]:
    yield Device("cuda", count, describe, preference=30, provider="CUDAExecutionProvider", option="device_id")
