"""What ONNX Runtime computes on where it was built for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from onnxsal.entries import Device
from onnxsal.hookspecs import hookimpl

PROVIDERS = {
    "cann": ("CANN", "device_id", "Huawei's accelerators"),
    "coreml": ("CoreML", "MLComputeUnits", "Apple's neural engine, GPU and processor; coreml:CPUAndGPU chooses"),
    "directml": ("Dml", "device_id", "any DirectX 12 GPU under Windows; directml:1 chooses"),
    "dnnl": ("Dnnl", "", "processors, by oneDNN"),
    "migraphx": ("MIGraphX", "device_id", "AMD GPUs"),
    "nnapi": ("Nnapi", "", "Android's accelerators"),
    "openvino": ("OpenVINO", "device_type", "Intel's processors, GPUs and NPUs; openvino:GPU chooses"),
    "qnn": ("QNN", "backend_type", "Qualcomm's accelerators; qnn:htp chooses"),
    "tensorrt": ("Tensorrt", "device_id", "NVIDIA GPUs, by TensorRT; tensorrt:1 chooses"),
    "vitisai": ("VitisAI", "", "AMD's NPUs"),
    "webgpu": ("WebGpu", "deviceId", "GPUs by WebGPU"),
    "xnnpack": ("Xnnpack", "", "processors, by XNNPACK"),
}
"""By name: what ONNX Runtime calls it, the option that what follows a colon sets, and what it computes on."""


def count(provider: str) -> int:
    """Return 1 where the installed ONNX Runtime offers a provider."""
    import onnxruntime

    return int(provider in onnxruntime.get_available_providers())


def describing(computes_on: str) -> Callable[[int], str]:
    """Return what describes a provider."""

    def describe(_index: int) -> str:
        return computes_on

    describe.__doc__ = f"ONNX Runtime's execution provider for {computes_on}."
    return describe


@hookimpl
def onnxsal_devices() -> Iterable[Device]:
    for name, (title, option, computes_on) in PROVIDERS.items():
        provider = f"{title}ExecutionProvider"
        yield Device(
            name,
            partial(count, provider),
            describing(computes_on),
            preference=-1,
            provider=provider,
            option=option,
            tensors=False,
        )
