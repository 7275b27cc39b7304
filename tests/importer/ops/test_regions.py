"""Box choice and region pooling against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.importer.ops.support import check


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def boxes(count: int, seed: int = 1) -> np.ndarray:
    """Return boxes as two corners, in any order."""
    return np.random.default_rng(seed).uniform(0, 10, (2, count, 4)).astype(np.float32)


def one(value: float, dtype: str = "float32") -> np.ndarray:
    return np.array([value], dtype)


ROIS = np.array([[1, 1, 9, 12], [0, 0, 3, 2], [4, 2, 15, 14], [-3, 5, 6, 20], [6, 6, 5, 5]], np.float32)
BATCH = np.array([0, 1, 1, 0, 1], np.int64)


@pytest.mark.parametrize("center_point_box", [0, 1])
@pytest.mark.parametrize("opset", [10, 11])
def test_non_max_suppression(center_point_box: int, opset: int) -> None:
    scores = np.random.default_rng(2).uniform(0, 1, (2, 3, 40)).astype(np.float32)
    for limit, overlap, least in ((5, 0.3, 0.2), (40, 0.1, 0.0), (3, 0.0, 0.9), (40, 0.9, 0.5)):
        inputs = [boxes(40), scores, one(limit, "int64"), one(overlap), one(least)]
        check("NonMaxSuppression", inputs, opset=opset, center_point_box=center_point_box)


def test_non_max_suppression_without_limits() -> None:
    scores = np.random.default_rng(2).uniform(0, 1, (2, 1, 9)).astype(np.float32)
    (chosen,) = check("NonMaxSuppression", [boxes(9), scores], opset=11)
    assert chosen.shape == (0, 3)  # the default is to choose none
    check("NonMaxSuppression", [boxes(9), scores, one(4, "int64")], opset=11)


def test_equal_scores_go_by_index() -> None:
    far = np.arange(6, dtype=np.float32)[None, :, None] * 10 + np.array([0, 0, 1, 1], np.float32)
    check("NonMaxSuppression", [far, np.ones((1, 1, 6), np.float32), one(4, "int64")], opset=11)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
def test_roi_align(mode: str, sampling_ratio: int) -> None:
    options = {"mode": mode, "sampling_ratio": sampling_ratio, "spatial_scale": 0.5}
    options |= {"output_height": 3, "output_width": 2}
    inputs = [floats(2, 3, 8, 7), ROIS, BATCH]
    check("RoiAlign", inputs, opset=10, **options)
    for coordinates in ("half_pixel", "output_half_pixel"):
        check("RoiAlign", inputs, opset=16, coordinate_transformation_mode=coordinates, **options)


def test_roi_align_has_the_right_gradient() -> None:
    rois = np.array([[0.3, 0.4, 2.6, 2.2], [0.2, 0.1, 1.9, 2.8]], np.float32)
    options = {"sampling_ratio": 2, "output_height": 2, "output_width": 2}
    check("RoiAlign", [floats(1, 2, 4, 4), rois, np.array([0, 0])], opset=16, gradient=True, trace=True, **options)


def test_max_roi_pool() -> None:
    rois = np.concatenate([BATCH[:, None], ROIS], 1).astype(np.float32)
    rois[3, 1:] = [0, 5, 6, 20]
    for scale in (1.0, 0.5):
        check("MaxRoiPool", [floats(2, 3, 8, 7), rois], opset=1, pooled_shape=[3, 2], spatial_scale=scale)


def test_max_roi_pool_has_the_right_gradient() -> None:
    import torch

    from onnxsal.importer.ops.regions import max_roi_pool

    x = torch.arange(16.0).reshape(1, 1, 4, 4).requires_grad_()
    max_roi_pool(x, torch.tensor([[0.0, 0, 0, 3, 3]]), pooled_shape=[2, 2]).sum().backward()
    wanted = torch.zeros(16)
    wanted[[5, 7, 13, 15]] = 1
    assert torch.equal(x.grad.flatten(), wanted)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(2, 3), (1, 1), (5, 4)])
def test_crop_and_resize(mode: str, size: tuple[int, int]) -> None:
    x = np.random.default_rng(3).standard_normal((2, 3, 4, 5)).astype(np.float32)
    rois = np.array([[0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], [-0.2, 0.3, 1.3, 0.7], [0.9, 0.8, 0.1, 0.2]], np.float32)
    inputs = [x, rois, np.array([0, 1, 1, 0], np.int32), np.array(size, np.int32)]
    check("CropAndResize", inputs, opset=1, domain="com.microsoft", constants=[3], mode=mode, extrapolation_value=7.0,
          trace=True)  # fmt: skip
