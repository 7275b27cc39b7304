"""Padding and cropping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Host, op
from onnxsal.importer.unsigned import modular
from onnxsal.importer.values import ints
from onnxsal.importer.windows import flat


@op("Pad", since=18)
def pad(
    data: Tensor,
    pads: Host,
    constant_value: Host | None = None,
    axes: Host | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    """Widen axes with a constant, the edge, a mirror image or a repetition; negative pads cut off."""
    rank = data.dim()
    given = ints(pads)
    where = list(range(rank)) if axes is None else [axis % rank for axis in ints(axes)]
    begins, ends = [0] * rank, [0] * rank
    for i, axis in enumerate(where):
        begins[axis], ends[axis] = given[i], given[len(where) + i]
    if mode == "constant":
        return _constant(data, begins, ends, constant_value)
    return _mirrored(data, begins, ends, mode)


def _constant(data: Tensor, begins: Sequence[int], ends: Sequence[int], value: Host | None) -> Tensor:
    fill = 0 if value is None or value.size == 0 else value.reshape(-1)[0].item()
    if isinstance(fill, int) and fill >= 2**63:
        fill -= 2**64  # a large uint64 is padded as the signed number of the same bits
    pads = flat(begins, ends)
    return modular(lambda tensor: F.pad(tensor, pads, value=fill), data)


def _mirrored(data: Tensor, begins: Sequence[int], ends: Sequence[int], mode: str) -> Tensor:
    if mode not in SOURCES:
        raise ImportFault(f"padding mode {mode!r} is unknown", hint=f"constant, {', '.join(SOURCES)}")
    native = _native(data, begins, ends, mode)
    if native is not None:
        return native
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if not _is_zero(begin) or not _is_zero(end):
            data = _widened(data, axis, begin, end, SOURCES[mode])
    return data


def _widened(data: Tensor, axis: int, begin: int, end: int, source: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Widen one axis with its own elements; what negative pads cut off is never shown."""
    first, last = torch.sym_max(-begin, 0), torch.sym_max(-end, 0)
    size: Any = data.shape[axis] - first - last  # symbolic under a trace
    place = torch.arange(torch.sym_min(-begin, 0), size + torch.sym_max(end, 0), device=data.device)
    return data.index_select(axis, source(place, size) + first)


def _is_zero(pad: int) -> bool:
    return isinstance(pad, int) and pad == 0


def _native(data: Tensor, begins: Sequence[int], ends: Sequence[int], mode: str) -> Tensor | None:
    """Return torch's own padding of the last two axes of a picture, where it means the same."""
    pads = flat(begins, ends)
    if data.dim() != 4 or mode == "wrap" or not data.is_floating_point():
        return None
    if not all(isinstance(p, int) and p >= 0 for p in pads) or any(pads[4:]):
        return None
    sizes = data.shape[-2:]
    if mode == "reflect" and not all(max(begins[i], ends[i]) < sizes[i] for i in (-2, -1)):
        return None
    return F.pad(data, pads[:4], mode="reflect" if mode == "reflect" else "replicate")


def _edge(place: Tensor, size: int) -> Tensor:
    return place.clamp(0, size - 1)


def _reflect(place: Tensor, size: int) -> Tensor:
    """Mirror at the first and the last element, as often as it takes; neither is doubled."""
    if isinstance(size, int) and size == 1:
        return torch.zeros_like(place)
    period = 2 * (size - 1)
    place = place % period
    return torch.minimum(place, period - place)


def _wrap(place: Tensor, size: int) -> Tensor:
    return place % size


SOURCES = {"edge": _edge, "reflect": _reflect, "wrap": _wrap}
"""Which element an out-of-range place shows, by mode."""


@op("Pad", since=11)
def pad_11(data: Tensor, pads: Host, constant_value: Host | None = None, *, mode: str = "constant") -> Tensor:
    """Widen every axis with a constant, the edge or a mirror image; negative pads cut off."""
    return pad(data, pads, constant_value, mode=mode)


@op("Pad", since=2)
def pad_2(data: Tensor, *, mode: str = "constant", pads: list[int], value: float = 0.0) -> Tensor:
    """Widen every axis with a constant, the edge or a mirror image; negative pads cut off."""
    return pad(data, np.asarray(pads), np.asarray(value), mode=mode)


@op("Pad")
def pad_1(data: Tensor, *, mode: str = "constant", paddings: list[int], value: float = 0.0) -> Tensor:
    """Widen every axis with a constant, the edge or a mirror image; negative pads cut off."""
    return pad(data, np.asarray(paddings), np.asarray(value), mode=mode)


@op("CenterCropPad", since=18)
def center_crop_pad(input_data: Tensor, shape: Host, *, axes: list[int] | None = None) -> Tensor:
    """Bring axes to a size by cutting off or adding zeros on both sides alike."""
    rank = input_data.dim()
    begins, ends = [0] * rank, [0] * rank
    for axis, wanted in zip(axes if axes is not None else range(rank), ints(shape), strict=True):
        missing = wanted - input_data.shape[axis]
        # the odd element is cut off at the end, and added at the end
        begins[axis % rank] = missing // 2 if missing >= 0 else -(-missing // 2)
        ends[axis % rank] = missing - begins[axis % rank]
    return _constant(input_data, begins, ends, None)
