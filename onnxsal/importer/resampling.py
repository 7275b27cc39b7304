"""Where the elements of a resized axis come from: ONNX's coordinate modes, nearest modes and interpolation filters.

Coordinates are computed in float32, operation by operation as ONNX Runtime does: a nearest neighbour is decided by the
last bit. Sizes may be symbolic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from onnxsal.errors import ImportFault, nearest


@dataclass(frozen=True)
class Axis:
    """One axis to resize: its place, its sizes before and after, the scale, and the cut of it that is shown."""

    index: int
    size: int
    out: int
    scale: float
    start: float = 0.0
    end: float = 1.0

    @property
    def is_static(self) -> bool:
        """Whether nothing about it is symbolic."""
        return isinstance(self.size, int) and isinstance(self.out, int) and isinstance(self.scale, float)


@dataclass(frozen=True)
class Filter:
    """How the values at the coordinates are made from their neighbours."""

    mode: str
    coordinates: str
    nearest: str
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


def coordinates(axis: Axis, mode: str, device: torch.device) -> Tensor:
    """Return where each element of the resized axis lies on the original one."""
    if mode not in COORDINATES:
        raise ImportFault(f"coordinate mode {mode!r} is unknown", hint=nearest(mode, COORDINATES))
    place = torch.arange(axis.out, device=device, dtype=torch.float32)
    return COORDINATES[mode](place, axis)


def _half_pixel(place: Tensor, axis: Axis) -> Tensor:
    return (place + 0.5) / axis.scale - 0.5


def _pytorch_half_pixel(place: Tensor, axis: Axis) -> Tensor:
    return torch.zeros_like(place) if axis.out == 1 else _half_pixel(place, axis)


def _half_pixel_symmetric(place: Tensor, axis: Axis) -> Tensor:
    adjustment = axis.out / (axis.scale * axis.size)
    return axis.size / 2 * (1 - adjustment) + _half_pixel(place, axis)


def _align_corners(place: Tensor, axis: Axis) -> Tensor:
    return torch.zeros_like(place) if axis.out == 1 else place * (axis.size - 1) / (axis.out - 1)


def _asymmetric(place: Tensor, axis: Axis) -> Tensor:
    return place / axis.scale


def _tf_half_pixel_for_nn(place: Tensor, axis: Axis) -> Tensor:
    return (place + 0.5) / axis.scale


def _tf_crop_and_resize(place: Tensor, axis: Axis) -> Tensor:
    if axis.out == 1:
        return torch.full_like(place, 0.5 * (axis.start + axis.end) * (axis.size - 1))
    along = place * (axis.end - axis.start) * (axis.size - 1) / (axis.out - 1)
    return along + _single(axis.start * (axis.size - 1))


def _single(value: float) -> float:
    """Return a number as float32 rounds it."""
    return float(np.float32(value)) if isinstance(value, float) else value


COORDINATES: dict[str, Callable[[Tensor, Axis], Tensor]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "tf_half_pixel_for_nn": _tf_half_pixel_for_nn,
    "tf_crop_and_resize": _tf_crop_and_resize,
}


def nearest_indices(axis: Axis, how: Filter, device: torch.device) -> Tensor:
    """Return the element each place of the resized axis shows."""
    where = coordinates(axis, how.coordinates, device)
    if how.nearest == "simple":  # before opset 11: towards the element in front, when shrinking towards the one behind
        rounded = where.ceil() if axis.scale < 1 else where.floor()
    elif how.nearest in ROUNDINGS:
        rounded = ROUNDINGS[how.nearest](where)
    else:
        raise ImportFault(f"nearest mode {how.nearest!r} is unknown", hint=nearest(how.nearest, ROUNDINGS))
    return rounded.long().clamp(0, axis.size - 1)


ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "round_prefer_floor": lambda where: (where - 0.5).ceil(),
    # ONNX Runtime takes what falls short of a half by rounding errors for a half
    "round_prefer_ceil": lambda where: torch.where(where - where.floor() >= 0.5 - 1e-6, where.ceil(), where.floor()),
    "floor": torch.floor,
    "ceil": torch.ceil,
}


def taps(axis: Axis, how: Filter, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return, for each place of the resized axis, the elements it is made of and their weights: (taps, out) each."""
    where = coordinates(axis, how.coordinates, device)
    shrink = min(axis.scale, 1.0) if how.antialias else 1.0
    reach = (1.0 if how.mode == "linear" else 2.0) / shrink
    first = (where - reach).floor() + 1
    steps = torch.arange(ceil(2 * reach), device=device).unsqueeze(1)
    index = first + steps
    weights = _kernel((index - where) * shrink, how)
    inside = (index >= 0) & (index <= axis.size - 1)
    if how.exclude_outside:
        weights = weights * inside
    if how.exclude_outside or how.antialias:
        weights = weights / weights.sum(0)
    return index.long().clamp(0, axis.size - 1), weights


def _kernel(distance: Tensor, how: Filter) -> Tensor:
    """Return the filter's weight at a distance from its centre: a triangle, or Keys' cubic."""
    x = distance.abs()
    if how.mode == "linear":
        return (1 - x).clamp(min=0)
    a = how.cubic_coeff_a
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x <= 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def output_size(size: int, scale: float) -> int:
    """Return ``size`` times ``scale`` rounded down, in the float32 arithmetic that ONNX Runtime does it in."""
    if float(scale).is_integer():
        return size * int(scale)
    if isinstance(size, int):
        return floor(float(np.float32(scale) * np.float32(size)))
    # the product rounded to float32 may reach an integer that it falls short of in float64
    return torch.sym_int(size * (scale * (1 + 2.0**-24)))


def native_nearest(axis: Axis, how: Filter) -> str | None:
    """Return which of torch's two nearest modes shows exactly the same elements, or None.

    Torch rounds in its own way; where the sizes are known both are simply tried.
    """
    if axis.is_static:
        return _tried(axis, how)
    return "nearest" if _plain_upsampling(axis, how) else None


@lru_cache(maxsize=1024)
@_disable_current_modes()  # where a tracer looks on, the trial still has to give numbers
def _tried(axis: Axis, how: Filter) -> str | None:
    wanted = nearest_indices(axis, how, torch.device("cpu"))
    source = torch.arange(axis.size, dtype=torch.float32)[None, None]
    if torch.equal(torch.ops.aten.upsample_nearest1d(source, [axis.out], axis.scale)[0, 0].long(), wanted):
        return "nearest"
    if torch.equal(torch.ops.aten._upsample_nearest_exact1d(source, [axis.out], axis.scale)[0, 0].long(), wanted):
        return "nearest-exact"
    return None


def _plain_upsampling(axis: Axis, how: Filter) -> bool:
    """Say whether each element is shown a whole power of two times, whatever the size."""
    scale = axis.scale
    if not isinstance(scale, float) or scale not in {1.0, 2.0, 4.0, 8.0, 16.0, 32.0}:
        return False
    if how.coordinates == "asymmetric":
        return how.nearest in {"floor", "simple"}
    return how.coordinates == "half_pixel" and how.nearest.startswith("round")
