"""Grids, blocks and columns against ONNX Runtime and torch."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.ops.image import grid_sample
from tests.importer.ops.support import check


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [0, 1])
def test_grid_sample_of_pictures(padding_mode: str, align_corners: int) -> None:
    x, grid = floats(2, 3, 5, 4), floats(2, 6, 3, 2, seed=1)
    options = {"padding_mode": padding_mode, "align_corners": align_corners}
    for mode in ("bilinear", "nearest", "bicubic"):
        check("GridSample", [x, grid], opset=16, mode=mode, atol=1e-5, **options)
    for mode in ("linear", "nearest", "cubic"):
        check("GridSample", [x, grid], opset=20, mode=mode, atol=1e-5, **options)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_grid_sample_of_volumes(mode: str, padding_mode: str) -> None:
    inputs = [floats(1, 2, 3, 4, 5), floats(1, 2, 3, 2, 3, seed=1)]
    check("GridSample", inputs, opset=20, mode=mode, padding_mode=padding_mode)


def test_grid_sample_has_the_right_gradient() -> None:
    check("GridSample", [floats(1, 1, 3, 3), floats(1, 2, 2, 2, seed=1) * 0.4], opset=20, gradient=True, trace=True)


def test_cubic_sampling_of_volumes_is_refused() -> None:
    with pytest.raises(ImportFault, match="cubic"):
        grid_sample(torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 1, 1, 1, 3), mode="cubic")


@pytest.mark.parametrize("align_corners", [0, 1])
def test_affine_grid(align_corners: int) -> None:
    check("AffineGrid", [floats(2, 2, 3), i64(2, 3, 4, 5)], opset=20, align_corners=align_corners)
    inputs = [floats(1, 3, 4), i64(1, 2, 2, 3, 4)]
    check("AffineGrid", inputs, opset=20, align_corners=align_corners, constants=(1,), gradient=True)


@pytest.mark.parametrize(
    ("image", "block", "strides", "dilations", "pads"),
    [
        ((5, 6), (2, 3), (1, 1), (1, 1), (0, 0, 0, 0)),
        ((5, 6), (2, 2), (2, 1), (1, 2), (1, 0, 1, 0)),
        ((6, 6), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
    ],
)
def test_col2im_is_torchs_fold(image, block, strides, dilations, pads) -> None:  # type: ignore[no-untyped-def]
    picture = torch.zeros(2, 3, *image)
    columns = F.unfold(picture, block, dilations, pads[:2], strides)
    x = floats(*columns.shape)
    expected = F.fold(torch.from_numpy(x), image, block, dilations, pads[:2], strides).numpy()
    options = {"strides": list(strides), "dilations": list(dilations), "pads": list(pads)}
    check("Col2Im", [x, i64(*image), i64(*block)], opset=18, expected=[expected], gradient=True, **options)
    check("Col2Im", [x, i64(*image), i64(*block)], opset=18, **options)


def test_col2im_of_volumes_and_uneven_pads() -> None:
    check("Col2Im", [floats(1, 2 * 8, 36), i64(3, 2, 4), i64(2, 1, 4)], opset=18, pads=[1, 0, 0, 0, 1, 3])


@pytest.mark.parametrize("opset", [1, 11, 13])
def test_depth_to_space(opset: int) -> None:
    x = floats(2, 12, 2, 3)
    check("DepthToSpace", [x], opset=opset, blocksize=2, gradient=True, trace=True)
    if opset >= 11:
        check("DepthToSpace", [x], opset=opset, blocksize=2, mode="CRD")


def test_space_to_depth_undoes_depth_to_space() -> None:
    x = floats(2, 12, 2, 3)
    check("SpaceToDepth", [floats(2, 3, 4, 6)], opset=13, blocksize=2, trace=True)
    for mode in ("DCR", "CRD"):
        (y,) = check("DepthToSpace", [x], opset=13, blocksize=2, mode=mode)
        check("SpaceToDepth", [y], opset=28, blocksize=2, mode=mode, expected=[x])


@pytest.mark.parametrize("pixel_format", ["RGB", "BGR", "Grayscale"])
def test_image_decoder(pixel_format: str) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    picture, file = Image.fromarray(pixels), io.BytesIO()
    picture.save(file, "PNG")
    grey = np.asarray(picture.convert("L"))[:, :, None]
    expected = {"RGB": pixels, "BGR": pixels[:, :, ::-1], "Grayscale": grey}[pixel_format]
    stream = np.frombuffer(file.getvalue(), np.uint8)
    check("ImageDecoder", [stream], opset=20, pixel_format=pixel_format, expected=[expected])
