"""Which device: ``auto``, or one that is asked for and present; a torch device or one of ONNX Runtime's providers."""

from __future__ import annotations

from typing import Any

from onnxsal.entries import Device
from onnxsal.errors import UsageError, nearest
from onnxsal.plugins import registry

CPU = "cpu"


def choose_device(name: str) -> str:
    """Return the torch device for ``auto``, ``cpu``, ``cuda:1``, …

    Raises:
        UsageError: no such device here; the message says what there is.
    """
    devices = {name: device for name, device in _devices().items() if device.tensors}
    there = {name: device.count() for name, device in devices.items()}
    if name == "auto":
        return max((d for d in devices.values() if there[d.name]), key=lambda d: d.preference).name
    kind, _, index = name.partition(":")
    present = "here: " + ", ".join(n if c == 1 else f"{n}:0 to {n}:{c - 1}" for n, c in there.items() if c)
    if not has_tensors(name):
        raise UsageError(
            f"torch has no device {kind!r}: it is an execution provider of ONNX Runtime",
            where="--device",
            hint=f"use -e compiled or -e onnxruntime; {present}",
        )
    if kind not in devices or (":" in name and not index.isdigit()):
        raise UsageError(f"no device {name!r}", where="--device", hint=f"{nearest(kind, [*devices, 'auto'])} {present}")
    if there[kind] <= int(index or 0):
        seen = f"{there[kind]} there" if there[kind] else "none is visible"
        raise UsageError(f"device {name!r} is not present ({seen})", where="--device", hint=f"{present}; or say auto")
    return name


def choose_provider(name: str) -> str:
    """Return the device for an engine that computes in ONNX Runtime: ``openvino``, ``cuda:1``, …; ``auto`` is the CPU.

    Raises:
        UsageError: the installed ONNX Runtime has no such provider; the message says which it has.
    """
    if name == "auto":
        return CPU
    devices = {name: device for name, device in _devices().items() if device.provider}
    kind, colon, which = name.partition(":")
    present = f"ONNX Runtime here has: {', '.join(n for n, d in devices.items() if d.provider in _available())}"
    if kind not in devices:
        known = f"{kind} is torch's: -e torch;" if kind in _devices() else nearest(kind, [*devices, "auto"])
        raise UsageError(f"no execution provider {name!r} of ONNX Runtime", where="--device", hint=f"{known} {present}")
    if colon and not (which and devices[kind].option):
        raise UsageError(f"no device {name!r}", where="--device", hint=f"say {kind}; {present}")
    if devices[kind].provider not in _available():
        raise UsageError(
            f"device {name!r} is not present: the installed ONNX Runtime has no {devices[kind].provider}",
            where="--device",
            hint=f"{present}; install a build of onnxruntime that has it, or use -e torch",
        )
    return name


def providers_of(device: str) -> list[Any]:
    """Return the execution providers of ONNX Runtime by which a device computes; the CPU does what they leave."""
    kind, _, which = device.partition(":")
    entry = _devices()[kind]
    cpu = _devices()[CPU].provider
    chosen = (entry.provider, {entry.option: which}) if which else entry.provider
    return [cpu] if entry.provider == cpu else [chosen, cpu]


def has_tensors(name: str) -> bool:
    """Say whether a device's name is auto's or one that torch computes on; a name that nobody knows is, too."""
    device = _devices().get(name.partition(":")[0])
    return device is None or device.tensors


def _devices() -> dict[str, Device]:
    return {name: registry().get("devices", name) for name in registry().names("devices")}


def _available() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())
