"""Boxes in pictures: choosing them, and pooling what lies in them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Host, op
from onnxsal.importer.values import ints


@op("NonMaxSuppression", since=10, gradient=False)
def non_max_suppression(
    boxes: Host,
    scores: Host,
    max_output_boxes_per_class: Host | None = None,
    iou_threshold: Host | None = None,
    score_threshold: Host | None = None,
    *,
    center_point_box: int = 0,
) -> Tensor:
    """Choose the boxes of highest score, leaving out those that overlap a chosen one."""
    limit = _number(max_output_boxes_per_class, 0)
    overlap, least = _number(iou_threshold, 0.0), _number(score_threshold, -np.inf)
    corners = _corners(boxes, bool(center_point_box))
    chosen = [
        (batch, label, box)
        for batch, classes in enumerate(scores)
        for label, ranking in enumerate(classes)
        for box in _choose(corners[batch], ranking, int(limit), overlap, least)
    ]
    return torch.tensor(chosen, dtype=torch.int64).reshape(-1, 3)


def _number(value: np.ndarray | None, default: float) -> float:
    return default if value is None or value.size == 0 else value.reshape(-1)[0]


def _corners(boxes: np.ndarray, centred: bool) -> np.ndarray:
    """Return boxes as their lower and upper corner, whichever two the model gives."""
    if centred:
        half = boxes[..., 2:] / 2
        return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)
    first, second = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], -1)


def _choose(boxes: np.ndarray, scores: np.ndarray, limit: int, overlap: float, least: float) -> list[int]:
    left = np.argsort(-scores, kind="stable")
    left = left[scores[left] > least]
    chosen: list[int] = []
    while left.size and len(chosen) < limit:
        best, left = left[0], left[1:]
        chosen.append(int(best))
        left = left[~(_iou(boxes[best], boxes[left]) > overlap)]
    return chosen


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return intersection over union of one box with others; nothing overlaps an empty box."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(min=0).prod(-1)
    areas = (others[:, 2:] - others[:, :2]).prod(-1)
    union = (box[2:] - box[:2]).prod() + areas - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


@op("RoiAlign", since=16)
def roi_align(
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """Pool each region from points between the elements, without rounding its borders."""
    half_pixel = coordinate_transformation_mode == "half_pixel"
    corners = rois.to(x.dtype) * spatial_scale - (0.5 if half_pixel else 0.0)
    size = corners[:, 2:] - corners[:, :2]
    size = size if half_pixel else size.clamp(min=1.0)
    columns = _sample_points(corners[:, 0], size[:, 0], output_width, sampling_ratio)
    rows = _sample_points(corners[:, 1], size[:, 1], output_height, sampling_ratio)
    return _pooled(x, batch_indices, rows, columns, mode)


Points = tuple[Tensor, Tensor]
"""Where samples lie along one axis, (rois, bins, samples), and which of them count, (rois, 1, samples)."""


def _sample_points(start: Tensor, length: Tensor, bins: int, ratio: int) -> Points:
    width = length / bins
    # without a ratio large regions get more samples; they are all laid out for the largest, and masked
    counts = torch.full_like(width, ratio) if ratio > 0 else width.detach().ceil().clamp(min=0)
    most = ratio if ratio > 0 else int(counts.max().item()) if counts.numel() else 0
    steps = torch.arange(most, dtype=start.dtype, device=start.device)
    within = (steps + 0.5) / counts.clamp(min=1).unsqueeze(1)
    offsets = torch.arange(bins, dtype=start.dtype, device=start.device).reshape(1, -1, 1) + within.unsqueeze(1)
    places = start.reshape(-1, 1, 1) + offsets * width.reshape(-1, 1, 1)
    return places, (steps < counts.unsqueeze(1)).unsqueeze(1)


def _pooled(x: Tensor, batch: Tensor, rows: Points, columns: Points, mode: str) -> Tensor:
    """Return (rois, channels, bins, bins) from the samples of each bin."""
    if mode not in {"avg", "max"}:
        raise ImportFault(f"mode {mode!r} is unknown", hint="avg or max")
    corners = [(r, c) for r in _neighbours(rows, x.shape[2]) for c in _neighbours(columns, x.shape[3])]
    parts = []
    for (row, row_weight), (column, column_weight) in corners:
        index = _cross(row * x.shape[3], column) + (batch * x.shape[2] * x.shape[3]).reshape(-1, 1, 1, 1, 1)
        taken = x.movedim(1, 0).flatten(1).index_select(1, index.flatten()).reshape(x.shape[1], *index.shape)
        parts.append(taken * (row_weight[:, :, None, :, None] * column_weight[:, None, :, None, :]))
    counted = rows[1][:, :, None, :, None] & columns[1][:, None, :, None, :]
    if mode == "avg":
        total = (sum(parts) * counted).sum((-1, -2))
        pooled = total / counted.sum((-1, -2)).clamp(min=1)
    else:  # the largest single weighted element, not the largest sample: so it is defined
        largest = torch.stack(parts).amax(0).masked_fill(~counted, float("-inf"))
        pooled = largest.amax((-1, -2)) if largest.numel() else largest.sum((-1, -2))
        pooled = pooled.masked_fill(~counted.any(-1).any(-1), 0.0)
    return pooled.movedim(0, 1)


def _cross(rows: Tensor, columns: Tensor) -> Tensor:
    return rows[:, :, None, :, None] + columns[:, None, :, None, :]


def _neighbours(points: Points, size: int) -> list[tuple[Tensor, Tensor]]:
    """Return the elements on both sides of each point with their weights; a point outside weighs nothing."""
    places, _ = points
    inside = (places >= -1.0) & (places <= size)
    places = places.clamp(0, size - 1)
    low = places.detach().floor().long()
    share = places - low
    return [(low, (1 - share) * inside), ((low + 1).clamp(max=size - 1), share * inside)]


@op("RoiAlign", since=10)
def roi_align_10(
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """Pool each region from points between the elements, without rounding its borders."""
    return roi_align(
        x,
        rois,
        batch_indices,
        coordinate_transformation_mode="output_half_pixel",
        mode=mode,
        output_height=output_height,
        output_width=output_width,
        sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
    )


@op("CropAndResize", domain="com.microsoft")
def crop_and_resize(
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    crop_size: Host,
    *,
    extrapolation_value: float = 0.0,
    mode: str = "bilinear",
) -> Tensor:
    """Cut regions out and resize them to one size, corner on corner; regions are given as parts of the picture."""
    if mode not in {"bilinear", "nearest"}:
        raise ImportFault(f"mode {mode!r} is unknown", hint="bilinear or nearest")
    height, width = ints(crop_size)
    rows = _grid(rois[:, 0], rois[:, 2], height, x.shape[2])
    columns = _grid(rois[:, 1], rois[:, 3], width, x.shape[3])
    within = _inside(rows, x.shape[2]).unsqueeze(2) & _inside(columns, x.shape[3]).unsqueeze(1)
    maps = x.movedim(1, 0).flatten(1)
    y = x.new_zeros(x.shape[1], len(rois), height, width)
    for row, row_share in _read(rows, x.shape[2], mode):
        for column, column_share in _read(columns, x.shape[3], mode):
            index = (batch_indices.long().unsqueeze(1) * x.shape[2] + row).unsqueeze(2) * x.shape[3] + column.unsqueeze(
                1
            )
            taken = maps.index_select(1, index.flatten()).reshape(y.shape)
            y = y + taken * (row_share.unsqueeze(2) * column_share.unsqueeze(1))
    return torch.where(within, y, extrapolation_value).movedim(0, 1)


def _grid(start: Tensor, end: Tensor, count: int, size: int) -> Tensor:
    """Return where samples lie along an axis, (rois, count): from one corner to the other, a single one between."""
    if count == 1:
        return (0.5 * (start + end) * (size - 1)).unsqueeze(1)
    steps = torch.arange(count, dtype=start.dtype, device=start.device)
    return (start * (size - 1)).unsqueeze(1) + steps * ((end - start) * (size - 1) / (count - 1)).unsqueeze(1)


def _inside(places: Tensor, size: int) -> Tensor:
    return (places >= 0) & (places <= size - 1)


def _read(places: Tensor, size: int, mode: str) -> list[tuple[Tensor, Tensor]]:
    """Return the elements a sample is made of, and how much each of them counts."""
    places = places.clamp(0, size - 1)
    if mode == "nearest":
        return [((places.detach() + 0.5).floor().long(), torch.ones_like(places))]
    low = places.detach().floor().long()
    return [(low, 1 - (places - low)), ((low + 1).clamp(max=size - 1), places - low)]


@op("MaxRoiPool")
def max_roi_pool(x: Tensor, rois: Tensor, *, pooled_shape: list[int], spatial_scale: float = 1.0) -> Tensor:
    """Keep the largest value of each bin of each region, its borders rounded to elements."""
    corners = (rois[:, 1:] * spatial_scale + 0.5).floor()
    maps = x.index_select(0, rois[:, 0].long())
    rows = _bins(corners[:, 1], corners[:, 3], pooled_shape[0], x.shape[2])
    columns = _bins(corners[:, 0], corners[:, 2], pooled_shape[1], x.shape[3])
    lowest = float("-inf")
    narrow = torch.stack([maps.masked_fill(~m[:, None, None, :], lowest).amax(3) for m in columns.unbind(1)], 3)
    pooled = torch.stack([narrow.masked_fill(~m[:, None, :, None], lowest).amax(2) for m in rows.unbind(1)], 2)
    return pooled.masked_fill(pooled == lowest, 0.0)  # an empty bin


def _bins(start: Tensor, end: Tensor, bins: int, size: int) -> Tensor:
    """Say which elements of an axis belong to each bin: (rois, bins, size)."""
    width = ((end - start + 1).clamp(min=1) / bins).unsqueeze(1)
    steps = torch.arange(bins, dtype=start.dtype, device=start.device)
    first = (steps * width).floor() + start.unsqueeze(1)
    last = ((steps + 1) * width).ceil() + start.unsqueeze(1)
    places = torch.arange(size, device=start.device)
    return (places >= first.unsqueeze(2)) & (places < last.unsqueeze(2))
