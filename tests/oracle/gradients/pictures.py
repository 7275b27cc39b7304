"""Resizing, sampling by grids, and pooling of regions."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator
from tests.oracle.gradients import Case, Draw, chance, flag, generator, numbers, one_of, options, shape, slopes, whole

COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
               "tf_half_pixel_for_nn", "tf_crop_and_resize")  # fmt: skip
SINCE_11 = tuple(c for c in COORDINATES if c != "half_pixel_symmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
POLICIES = ("stretch", "not_larger", "not_smaller")
MODES = ("nearest", "linear", "cubic")


@slopes("Resize", modes={
    "mode": MODES[:2], "coordinate_transformation_mode": SINCE_11, "nearest_mode": ROUNDINGS, "antialias": (0, 1),
    "exclude_outside": (0, 1), "keep_aspect_ratio_policy": POLICIES,
})  # fmt: skip
def resize(draw: Draw, op: Operator) -> Case:
    rank, mode = draw(st.integers(1, 3)), draw(one_of(MODES if op.since >= 11 else MODES[:2]))
    sizes = [2, 2, *shape(draw, (rank, rank), (2, 4))]
    factors = [1.0, 1.0, *(draw(one_of((0.5, 0.75, 1.0, 1.5, 2.0))) for _ in range(rank))]
    x = numbers(draw, sizes)
    if op.since < 11:
        return Case([x, np.array(factors, np.float32)], {"mode": mode})
    coordinates = draw(one_of(COORDINATES if op.since >= 19 else SINCE_11))
    chosen: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    chosen["nearest_mode"] = draw(one_of(ROUNDINGS))
    # places that tf_half_pixel_for_nn finds may lie where every element is outside, and nothing is left to mix
    chosen["exclude_outside"] = draw(flag) if mode == "cubic" and coordinates != "tf_half_pixel_for_nn" else 0
    chosen |= options(draw, op, cubic_coeff_a=one_of((-0.5, -0.75)), extrapolation_value=st.just(0.5))
    if "antialias" in op.attributes and mode != "nearest" and coordinates != "tf_crop_and_resize":
        chosen["antialias"] = draw(flag)
    where = list(range(len(sizes)))
    if "keep_aspect_ratio_policy" in op.attributes and coordinates != "tf_crop_and_resize" and chance(draw):
        chosen |= {"axes": where[2:], "keep_aspect_ratio_policy": draw(one_of(POLICIES))}
        return Case([x, None, None, whole(*(max(1, int(sizes[a] * factors[a])) for a in where[2:]))], chosen)
    if "axes" in op.attributes and chance(draw):
        where = where[2:]
        chosen["axes"] = where
    roi = None
    if coordinates == "tf_crop_and_resize":
        roi = np.array([0.0 if a < 2 else 0.1 for a in where] + [1.0 if a < 2 else 0.9 for a in where], np.float32)
    if chance(draw):
        wanted = whole(*(max(1, int(sizes[a] * factors[a])) for a in where))
        return Case([x, roi, None, wanted], chosen)
    return Case([x, roi, np.array([factors[a] for a in where], np.float32)], chosen)


@slopes("Upsample", modes={"mode": MODES[:2]})
def upsample(draw: Draw, op: Operator) -> Case:
    chosen: dict[str, Any] = {"mode": draw(one_of(MODES[:2]))}
    factors = [1.0, 1.0, draw(one_of((1.0, 1.5, 2.0))), draw(one_of((1.0, 2.0, 3.0)))]
    x = numbers(draw, [2, 2, 2, 3])
    if "width_scale" in op.attributes:
        return Case([x], chosen | {"height_scale": factors[2], "width_scale": factors[3]})
    if "scales" in op.attributes:
        return Case([x], chosen | {"scales": factors})
    return Case([x, np.array(factors, np.float32)], chosen)


PADDINGS = ("zeros", "border", "reflection")


@slopes("GridSample", modes={"padding_mode": PADDINGS, "align_corners": (0, 1)})
@slopes("GridSample", domain="com.microsoft", modes={"padding_mode": PADDINGS, "align_corners": (0, 1)})
def grid_sample(draw: Draw, op: Operator) -> Case:
    names = ("linear", "nearest", "cubic") if op.since >= 20 else ("bilinear", "nearest", "bicubic")
    mode, padding, corners = draw(one_of(names)), draw(one_of(PADDINGS)), draw(flag)
    rank = draw(one_of((2, 3))) if op.since >= 20 and mode != "cubic" else 2
    sizes, points = shape(draw, (rank, rank), (3, 4)), shape(draw, (rank, rank), (1, 3))
    # a place between two elements, inside or outside, and no slope where an element is taken whole
    between = generator(draw).uniform(0.15, 0.4, [1, *points, rank]) + generator(draw).integers(
        -2, 5, [1, *points, rank]
    )
    extent = np.array(sizes[::-1])
    grid = between / (extent - 1) * 2 - 1 if corners else (between + 0.5) / extent * 2 - 1
    chosen = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    return Case([numbers(draw, [1, 2, *sizes]), grid], chosen)


@slopes("AffineGrid", modes={"align_corners": (0, 1)})
def affine_grid(draw: Draw, op: Operator) -> Case:
    rank = draw(one_of((2, 3)))
    sizes = [2, 1, *shape(draw, (rank, rank), (2, 3))]
    return Case([numbers(draw, [2, rank, rank + 1]), whole(*sizes)], options(draw, op, align_corners=flag))


@slopes(
    "RoiAlign", modes={"mode": ("avg", "max"), "coordinate_transformation_mode": ("half_pixel", "output_half_pixel")}
)
def roi_align(draw: Draw, op: Operator) -> Case:
    boxes = np.array([[0.31, 0.43, 4.17, 3.79], [1.23, 0.57, 5.13, 5.39]]) + draw(st.floats(0, 0.1))
    chosen = options(
        draw, op, mode=one_of(("avg", "max")), output_height=st.integers(1, 2), output_width=st.integers(1, 3),
        sampling_ratio=st.integers(0, 2), spatial_scale=one_of((1.0, 0.71)),
        coordinate_transformation_mode=one_of(("half_pixel", "output_half_pixel")),
    )  # fmt: skip
    return Case([numbers(draw, [2, 2, 6, 6]), boxes, whole(0, 1)], chosen, held=[1])


@slopes("CropAndResize", domain="com.microsoft", modes={"mode": ("bilinear", "nearest")})
def crop_and_resize(draw: Draw, op: Operator) -> Case:
    boxes = np.array([[0.11, 0.23, 0.71, 0.97], [-0.13, 0.31, 0.83, 0.53]]) + draw(st.floats(0, 0.02))
    chosen = options(draw, op, mode=one_of(("bilinear", "nearest")), extrapolation_value=st.floats(-1, 1))
    size = np.array(draw(one_of(([2, 3], [1, 2], [3, 1]))), np.int32)
    return Case([numbers(draw, [2, 2, 5, 4]), boxes, np.array([0, 1], np.int32), size], chosen)


@slopes("MaxRoiPool")
def max_roi_pool(draw: Draw, op: Operator) -> Case:
    boxes = np.array([[0, 0, 0, 4, 3], [1, 1, 1, 5, 5]], float)
    chosen = {"pooled_shape": shape(draw, (2, 2), (1, 2))} | options(draw, op, spatial_scale=one_of((1.0, 0.5)))
    return Case([numbers(draw, [2, 2, 6, 6]), boxes], chosen, held=[1])
