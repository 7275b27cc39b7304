"""Sampling and rearranging pictures: grids, blocks, columns, decoding."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Host, op
from onnxsal.importer.values import ints
from onnxsal.importer.windows import pad_zeros

GRID_MODES = {
    "bilinear": "bilinear",
    "linear": "bilinear",
    "nearest": "nearest",
    "bicubic": "bicubic",
    "cubic": "bicubic",
}


@op("GridSample", since=20)
def grid_sample(
    x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros"
) -> Tensor:
    """Read a picture or a volume at the places a grid names."""
    if mode not in GRID_MODES or x.dim() not in {4, 5} or (x.dim() == 5 and GRID_MODES[mode] == "bicubic"):
        raise ImportFault(
            f"sampling {x.dim() - 2} spatial axes in mode {mode!r} is not supported",
            hint="linear and nearest of two or three axes are, cubic of two",
        )
    return F.grid_sample(x, grid.to(x.dtype), GRID_MODES[mode], padding_mode, bool(align_corners))


@op("GridSample", since=16)
def grid_sample_16(
    x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "bilinear", padding_mode: str = "zeros"
) -> Tensor:
    """Read a picture at the places a grid names."""
    return grid_sample(x, grid, align_corners=align_corners, mode=mode, padding_mode=padding_mode)


@op("AffineGrid", since=20)
def affine_grid(theta: Tensor, size: Host, *, align_corners: int = 0) -> Tensor:
    """Make the sampling grid of an affine map."""
    return F.affine_grid(theta, ints(size), bool(align_corners))


@op("Col2Im", since=18)
def col2im(
    input: Tensor,
    image_shape: Host,
    block_shape: Host,
    *,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Add up the columns of overlapping blocks to a picture of any rank."""
    sizes, block = ints(image_shape), ints(block_shape)
    rank = len(sizes)
    strides, dilations, pads = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
    padded = [n + b + e for n, b, e in zip(sizes, pads[:rank], pads[rank:], strict=True)]
    counts = [(p - (k - 1) * d - 1) // s + 1 for p, k, d, s in zip(padded, block, dilations, strides, strict=True)]
    y = input.reshape(input.shape[0], -1, *block, *counts)
    for axis in range(rank):  # fold the first block axis left, and its counts, into one axis at the end
        places = torch.arange(block[axis], device=y.device).unsqueeze(1) * dilations[axis]
        places = places + torch.arange(counts[axis], device=y.device) * strides[axis]
        y = y.movedim((2, 2 + rank - axis), (-2, -1)).flatten(-2)
        y = torch.zeros(*y.shape[:-1], padded[axis], dtype=y.dtype, device=y.device).index_add(-1, places.flatten(), y)
    return pad_zeros(y, [-b for b in pads[:rank]], [-e for e in pads[rank:]])


@op("DepthToSpace", since=11)
def depth_to_space(input: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Spread channels over blocks of the plane."""
    if mode == "CRD":
        return F.pixel_shuffle(input, blocksize)
    _check_order(mode)
    n, c, h, w = input.shape
    blocks = input.reshape(n, blocksize, blocksize, c // blocksize**2, h, w)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, c // blocksize**2, h * blocksize, w * blocksize)


@op("DepthToSpace")
def depth_to_space_1(input: Tensor, *, blocksize: int) -> Tensor:
    """Spread channels over blocks of the plane."""
    return depth_to_space(input, blocksize=blocksize)


@op("SpaceToDepth", since=28)
def space_to_depth(input: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Gather blocks of the plane into channels."""
    if mode == "CRD":
        return F.pixel_unshuffle(input, blocksize)
    _check_order(mode)
    n, c, h, w = input.shape
    blocks = input.reshape(n, c, h // blocksize, blocksize, w // blocksize, blocksize)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, c * blocksize**2, h // blocksize, w // blocksize)


@op("SpaceToDepth")
def space_to_depth_1(input: Tensor, *, blocksize: int) -> Tensor:
    """Gather blocks of the plane into channels."""
    return space_to_depth(input, blocksize=blocksize)


def _check_order(mode: str) -> None:
    if mode != "DCR":
        raise ImportFault(f"mode {mode!r} is unknown", hint="DCR or CRD")


@op("ImageDecoder", since=20, gradient=False)
def image_decoder(encoded_stream: Host, *, pixel_format: str = "RGB") -> Tensor:
    """Decode the bytes of a picture file to height, width, channels."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportFault("ImageDecoder needs pillow", hint="pip install pillow") from error
    modes = {"RGB": "RGB", "BGR": "RGB", "Grayscale": "L"}
    if pixel_format not in modes:
        raise ImportFault(f"pixel_format {pixel_format!r} is unknown", hint="RGB, BGR or Grayscale")
    pixels = np.asarray(Image.open(io.BytesIO(encoded_stream.tobytes())).convert(modes[pixel_format]))
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return torch.from_numpy(np.array(pixels[:, :, ::-1] if pixel_format == "BGR" else pixels))
