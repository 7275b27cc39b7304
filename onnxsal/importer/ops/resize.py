"""Resizing feature maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Host, op
from onnxsal.importer.resampling import Axis, Filter, coordinates, native_nearest, nearest_indices, output_size, taps
from onnxsal.importer.values import ints

aten = torch.ops.aten
NEAREST: dict[tuple[str, int], Callable[..., Tensor]] = {
    ("nearest", 1): aten.upsample_nearest1d.default,
    ("nearest", 2): aten.upsample_nearest2d.default,
    ("nearest", 3): aten.upsample_nearest3d.default,
    ("nearest-exact", 1): aten._upsample_nearest_exact1d.default,
    ("nearest-exact", 2): aten._upsample_nearest_exact2d.default,
    ("nearest-exact", 3): aten._upsample_nearest_exact3d.default,
}
SMOOTH: dict[tuple[str, int], Callable[..., Tensor]] = {
    ("linear", 1): aten.upsample_linear1d.default,
    ("linear", 2): aten.upsample_bilinear2d.default,
    ("linear", 3): aten.upsample_trilinear3d.default,
    ("cubic", 2): aten.upsample_bicubic2d.default,
}


@op("Resize", since=18)
def resize(
    x: Tensor,
    roi: Host | None = None,
    scales: Host | None = None,
    sizes: Host | None = None,
    *,
    antialias: int = 0,
    axes: list[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Resize axes by nearest neighbour, linear or cubic interpolation."""
    where = list(range(x.dim())) if axes is None else [axis % x.dim() for axis in axes]
    cut = coordinate_transformation_mode == "tf_crop_and_resize"
    plan = _plan(x, where, scales, sizes, keep_aspect_ratio_policy, roi if cut else None)
    how = Filter(
        mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, bool(exclude_outside), bool(antialias)
    )
    if all(_keeps_size(axis) for axis in plan):  # ONNX Runtime copies then, whatever scales and regions say
        return x
    y = _resize(x, plan, how)
    return _extrapolated(y, plan, extrapolation_value) if cut else y


def _plan(
    x: Tensor, where: Sequence[int], scales: Host | None, sizes: Host | None, policy: str, roi: Host | None
) -> list[Axis]:
    """Return what happens to each axis; those that stay as they are are left out."""
    start, end = _region(roi, len(where))
    if sizes is not None and sizes.size:
        targets = _targets([x.shape[axis] for axis in where], ints(sizes), policy)
    elif scales is not None and scales.size:
        factors: list[Any] = [s if isinstance(s, torch.SymFloat) else float(s) for s in scales]
        targets = [(output_size(x.shape[axis], s), s) for axis, s in zip(where, factors, strict=True)]
    else:
        raise ImportFault("gives neither scales nor sizes")
    plan = [
        Axis(axis, x.shape[axis], out, scale, start[i], end[i])
        for i, (axis, (out, scale)) in enumerate(zip(where, targets, strict=True))
    ]
    return [axis for axis in plan if not _stays(axis) or (axis.start, axis.end) != (0.0, 1.0)]


def _region(roi: Host | None, count: int) -> tuple[list[float], list[float]]:
    if roi is None or not roi.size:
        return [0.0] * count, [1.0] * count
    numbers = [float(v) for v in roi]
    return numbers[:count], numbers[count:]


def _stays(axis: Axis) -> bool:
    return isinstance(axis.scale, float) and axis.scale == 1.0


def _keeps_size(axis: Axis) -> bool:
    return axis.size is axis.out or (isinstance(axis.size, int) and isinstance(axis.out, int) and axis.size == axis.out)


def _targets(sizes: Sequence[int], wanted: Sequence[int], policy: str) -> list[tuple[int, float]]:
    """Return the size and the scale of each axis for the sizes asked for."""
    ratios = [_ratio(w, n) for w, n in zip(wanted, sizes, strict=True)]
    if policy == "stretch":
        return list(zip(wanted, ratios, strict=True))
    if policy not in {"not_larger", "not_smaller"}:
        raise ImportFault(f"keep_aspect_ratio_policy {policy!r} is unknown", hint="stretch, not_larger or not_smaller")
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [(_round(scale * n), scale) for n in sizes]


def _ratio(wanted: int, size: int) -> float:
    if isinstance(wanted, int) and isinstance(size, int):
        return float(np.float32(wanted) / np.float32(size))
    return wanted / size


def _round(value: float) -> int:
    return torch.sym_int(value + 0.5)


def _resize(x: Tensor, plan: list[Axis], how: Filter) -> Tensor:
    """Resize the axes of the plan, in one native call where torch means the same."""
    if not plan:
        return x
    if how.mode == "nearest":
        return _nearest(x, plan, how)
    if how.mode not in {"linear", "cubic"}:
        raise ImportFault(f"mode {how.mode!r} is unknown", hint="nearest, linear or cubic")
    wide = x if x.dtype in {torch.float32, torch.float64} else x.float()
    y = _native(wide, plan, how)
    if y is None:
        y = wide
        for axis in plan:
            y = _interpolated(y, axis, how)
    return y.to(x.dtype) if x.is_floating_point() else _whole(y, x.dtype, how)


def _whole(y: Tensor, dtype: torch.dtype, how: Filter) -> Tensor:
    """Return interpolated integers: cut off, but rounded where filtered against aliasing, as ONNX Runtime does."""
    limits = torch.iinfo(dtype)
    return (y.round() if how.antialias else y).clamp(limits.min, limits.max).to(dtype)


def _spatial(x: Tensor, plan: list[Axis]) -> list[Axis] | None:
    """Return a plan for every spatial axis of a batch of feature maps, or None where others are resized, too."""
    rank = x.dim() - 2
    if not 1 <= rank <= 3 or any(axis.index < 2 for axis in plan):
        return None
    known = {axis.index: axis for axis in plan}
    return [known.get(i, Axis(i, x.shape[i], x.shape[i], 1.0)) for i in range(2, x.dim())]


def _nearest(x: Tensor, plan: list[Axis], how: Filter) -> Tensor:
    spatial = _spatial(x, plan) if x.is_floating_point() else None
    names = {native_nearest(axis, how) for axis in plan} if spatial else {None}
    if spatial and len(names) == 1 and (name := names.pop()):
        return NEAREST[name, len(spatial)](x, *_arguments(spatial))
    for axis in plan:
        x = x.index_select(axis.index, nearest_indices(axis, how, x.device))
    return x


def _arguments(spatial: list[Axis], *between: Any) -> tuple[Any, ...]:
    """Return the arguments of torch's kernels: sizes, options, and the scales the node means."""
    scales = [axis.scale if isinstance(axis.scale, float) else None for axis in spatial]
    return [axis.out for axis in spatial], *between, *scales


def _native(x: Tensor, plan: list[Axis], how: Filter) -> Tensor | None:
    spatial = _spatial(x, plan)
    if spatial is None or (how.mode, len(spatial)) not in SMOOTH or not _means_the_same(plan, how):
        return None
    corners = how.coordinates == "align_corners"
    return SMOOTH[how.mode, len(spatial)](x, *_arguments(spatial, corners))


def _means_the_same(plan: list[Axis], how: Filter) -> bool:
    """Say whether torch interpolates these coordinates with this filter."""
    if how.antialias or (how.mode == "cubic" and (how.exclude_outside or abs(how.cubic_coeff_a + 0.75) > 1e-6)):
        return False
    if how.coordinates == "pytorch_half_pixel":
        return all(isinstance(axis.out, int) and axis.out > 1 for axis in plan)
    return how.coordinates in {"half_pixel", "align_corners"}


def _interpolated(x: Tensor, axis: Axis, how: Filter) -> Tensor:
    """Mix each place of the resized axis from its neighbours."""
    index, weights = taps(axis, how, x.device)
    weights = weights.to(x.dtype)
    if how.antialias:  # many neighbours: one matrix product
        matrix = torch.zeros(axis.out, axis.size, dtype=x.dtype, device=x.device)
        matrix = matrix.scatter_add(1, index.T, weights.T)
        return (x.movedim(axis.index, -1) @ matrix.T).movedim(-1, axis.index)
    shape = (-1, *[1] * (x.dim() - 1 - axis.index))
    result = x.index_select(axis.index, index[0]) * weights[0].reshape(shape)
    for i in range(1, index.shape[0]):
        result = result + x.index_select(axis.index, index[i]) * weights[i].reshape(shape)
    return result


def _extrapolated(y: Tensor, plan: list[Axis], value: float) -> Tensor:
    """Put the extrapolation value where a coordinate lies outside the input."""
    for axis in plan:
        where = coordinates(axis, "tf_crop_and_resize", y.device)
        outside = (where < 0) | (where > axis.size - 1)
        y = y.masked_fill(outside.reshape(-1, *[1] * (y.dim() - 1 - axis.index)), value)
    return y


@op("Resize", since=13)
def resize_13(
    x: Tensor,
    roi: Host | None = None,
    scales: Host | None = None,
    sizes: Host | None = None,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Resize every axis by nearest neighbour, linear or cubic interpolation."""
    return resize(
        x,
        roi,
        scales,
        sizes,
        coordinate_transformation_mode=coordinate_transformation_mode,
        cubic_coeff_a=cubic_coeff_a,
        exclude_outside=exclude_outside,
        extrapolation_value=extrapolation_value,
        mode=mode,
        nearest_mode=nearest_mode,
    )


@op("Resize", since=11)
def resize_11(
    x: Tensor,
    roi: Host | None,
    scales: Host | None,
    sizes: Host | None = None,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Resize every axis by nearest neighbour, linear or cubic interpolation."""
    return resize(
        x,
        roi,
        scales,
        sizes,
        coordinate_transformation_mode=coordinate_transformation_mode,
        cubic_coeff_a=cubic_coeff_a,
        exclude_outside=exclude_outside,
        extrapolation_value=extrapolation_value,
        mode=mode,
        nearest_mode=nearest_mode,
    )


@op("Resize", since=10)
@op("Upsample", since=9)
def resize_10(x: Tensor, scales: Host, *, mode: str = "nearest") -> Tensor:
    """Resize every axis by its factor; places are divided by the factor alone."""
    how = Filter("linear" if mode in {"linear", "bilinear"} else mode, "asymmetric", "simple")
    return _resize(x, _plan(x, range(x.dim()), scales, None, "stretch", None), how)


@op("Upsample", since=7)
def upsample_7(x: Tensor, *, mode: str = "nearest", scales: list[float]) -> Tensor:
    """Enlarge every axis by its factor."""
    return resize_10(x, np.asarray(scales, np.float32), mode=mode)


@op("Upsample")
def upsample_1(x: Tensor, *, height_scale: float, mode: str = "nearest", width_scale: float) -> Tensor:
    """Enlarge height and width by their factors."""
    return resize_10(x, np.asarray([1, 1, height_scale, width_scale], np.float32), mode=mode)
