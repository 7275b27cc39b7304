"""Which device: ``auto``, or one that is asked for and present."""

from __future__ import annotations

from onnxsal.entries import Device
from onnxsal.errors import UsageError, nearest
from onnxsal.plugins import registry


def choose_device(name: str) -> str:
    """Return the torch device for ``auto``, ``cpu``, ``cuda:1``, …

    Raises:
        UsageError: no such device here; the message says what there is.
    """
    devices: dict[str, Device] = {device: registry().get("devices", device) for device in registry().names("devices")}
    there = {name: device.count() for name, device in devices.items()}
    if name == "auto":
        return max((d for d in devices.values() if there[d.name]), key=lambda d: d.preference).name
    kind, _, index = name.partition(":")
    present = "here: " + ", ".join(n if c == 1 else f"{n}:0 to {n}:{c - 1}" for n, c in there.items() if c)
    if kind not in devices or (":" in name and not index.isdigit()):
        raise UsageError(f"no device {name!r}", where="--device", hint=f"{nearest(kind, [*devices, 'auto'])} {present}")
    if there[kind] <= int(index or 0):
        seen = f"{there[kind]} there" if there[kind] else "none is visible"
        raise UsageError(f"device {name!r} is not present ({seen})", where="--device", hint=f"{present}; or say auto")
    return name
