"""Resizing against ONNX Runtime: every coordinate mode, nearest mode and filter, by scales and by sizes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.importer.ops.support import check

NONE = np.zeros(0, np.float32)


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


X = floats(1, 2, 5, 7)
COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
SCALES = [f32(1, 1, 2, 3), f32(1, 1, 0.6, 0.5), f32(1, 1, 1.7, 0.3), f32(1, 1, 1, 2.5)]
SIZES = [i64(1, 2, 10, 14), i64(1, 2, 3, 4), i64(1, 2, 8, 1), i64(1, 2, 1, 9)]


def both_ways(mode: str, opset: int, **attributes: Any) -> None:
    for scales in SCALES:
        check("Resize", [X, NONE, scales], opset=opset, constants=(1, 2), mode=mode, **attributes)
    for sizes in SIZES:
        check("Resize", [X, NONE, NONE, sizes], opset=opset, constants=(1, 2, 3), mode=mode, **attributes)


@pytest.mark.parametrize(("coordinates", "rounding"), list(product(COORDINATES, ROUNDINGS)))
def test_nearest(coordinates: str, rounding: str) -> None:
    for opset in (11, 13):
        both_ways("nearest", opset, coordinate_transformation_mode=coordinates, nearest_mode=rounding)


@pytest.mark.parametrize("coordinates", [*COORDINATES, "half_pixel_symmetric"])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_smooth(coordinates: str, mode: str) -> None:
    for opset in (11, 13, 19) if coordinates != "half_pixel_symmetric" else (19,):
        both_ways(mode, opset, coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
def test_cubic_with_its_options(coordinates: str) -> None:
    both_ways("cubic", 13, coordinate_transformation_mode=coordinates, exclude_outside=1)
    both_ways("cubic", 13, coordinate_transformation_mode=coordinates, cubic_coeff_a=-0.5)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude_outside", [0, 1])
def test_antialias(mode: str, exclude_outside: int) -> None:
    both_ways(mode, 18, antialias=1, exclude_outside=exclude_outside, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_the_cut_of_tensorflow(mode: str) -> None:
    roi = f32(0, 0, 0.2, -0.3, 1, 1, 1.2, 0.83)
    options = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.5, "mode": mode}
    for sizes in (i64(1, 2, 4, 6), i64(1, 2, 8, 9), i64(1, 2, 5, 7), i64(1, 2, 1, 3)):
        check("Resize", [X, roi, NONE, sizes], opset=13, constants=(2, 3), **options)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller", "stretch"])
def test_keeping_the_aspect_ratio(policy: str) -> None:
    for mode, sizes in product(("nearest", "linear"), (i64(9, 9), i64(3, 20), i64(4, 2))):
        inputs = [X, None, None, sizes]
        check("Resize", inputs, opset=18, constants=(3,), axes=[2, 3], keep_aspect_ratio_policy=policy, mode=mode)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_axes_in_any_order(mode: str) -> None:
    check("Resize", [X, None, f32(2, 3)], opset=18, constants=(2,), axes=[3, 2], mode=mode)
    check("Resize", [X, None, None, i64(4, 6)], opset=18, constants=(3,), axes=[-1, -2], mode=mode)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_channels_last(mode: str) -> None:
    x = floats(1, 4, 5, 3)
    options = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if mode == "cubic":  # ONNX Runtime takes pictures with channels first only
        (expected,) = check("Resize", [x.transpose(0, 3, 1, 2), NONE, f32(1, 1, 2, 3)], opset=13, mode=mode, **options)
        check(
            "Resize",
            [x, NONE, f32(1, 2, 3, 1)],
            opset=13,
            mode=mode,
            expected=[expected.transpose(0, 2, 3, 1)],
            **options,
        )
    else:
        check("Resize", [x, NONE, f32(1, 2, 3, 1)], opset=13, mode=mode, **options)


@pytest.mark.parametrize("shape", [(2, 3, 6), (1, 2, 3, 4, 5)])
def test_other_ranks(shape: tuple[int, ...]) -> None:
    scales = f32(1, 1, *[1.6] * (len(shape) - 2))
    check("Resize", [floats(*shape), NONE, scales], opset=13, mode="nearest")
    check("Resize", [floats(*shape), NONE, scales], opset=13, mode="linear")


@pytest.mark.parametrize("name", ["Upsample", "Resize"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_before_opset_11(name: str, mode: str) -> None:
    for scales in (f32(1, 1, 2, 2), f32(1, 1, 1.4, 3)):
        check(name, [X, scales], opset=9 if name == "Upsample" else 10, constants=(1,), mode=mode, trace=True)
        if name == "Upsample":
            check(name, [X], opset=7, scales=scales.tolist(), mode=mode)
    if name == "Resize":
        check(name, [X, f32(1, 1, 0.5, 0.7)], opset=10, mode=mode)


def test_upsample_of_the_first_opset() -> None:
    expected = check("Upsample", [X], opset=7, scales=[1.0, 1.0, 2.0, 3.0])
    check("Upsample", [X], opset=1, height_scale=2.0, width_scale=3.0, expected=expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_integers(dtype: str, mode: str) -> None:
    x = np.random.default_rng(0).integers(0, 100, (1, 2, 4, 5)).astype(dtype)
    check("Resize", [x, NONE, f32(1, 1, 2.4, 1.3)], opset=13, mode=mode)


@pytest.mark.parametrize(
    "attributes",
    [
        {"mode": "nearest"},
        {"mode": "linear"},
        {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
        {"mode": "linear", "antialias": 1},
        {"mode": "cubic"},
        {"mode": "cubic", "exclude_outside": 1, "antialias": 1},
    ],
)
def test_gradient_and_trace(attributes: dict[str, Any]) -> None:
    x = floats(1, 1, 3, 4)
    for scales in (f32(1, 1, 2, 1.5), f32(1, 1, 0.7, 0.5)):
        inputs = [x, None, scales]
        check(
            "Resize", inputs, opset=18, constants=(2,), gradient=True, trace=attributes["mode"] != "cubic", **attributes
        )


def test_a_symbolic_batch_stays_symbolic() -> None:
    check("Resize", [X, NONE, NONE, i64(1, 2, 10, 14)], opset=13, constants=(1, 2, 3), mode="linear", trace=True)


def test_nearest_picks_what_onnxruntime_picks_at_awkward_factors() -> None:
    for size, out in ((7, 49), (10, 30), (13, 39), (6, 66), (100, 57), (33, 99)):
        x = np.arange(size, dtype=np.float32)[None, None]
        for coordinates, rounding in (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")):
            options = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
            check("Resize", [x, NONE, NONE, i64(1, 1, out)], opset=13, constants=(2, 3), **options)
            check("Resize", [x, NONE, f32(1, 1, out / size)], opset=13, constants=(2,), **options)
