"""Operators that ONNX once tried and took back; ONNX Runtime still runs the files that hold them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Host, op
from onnxsal.importer.ops.slicing import slice_by_input


@op("Affine")
def affine(x: Tensor, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """Scale and shift."""
    return alpha * x + beta


@op("ScaledTanh")
def scaled_tanh(x: Tensor, *, alpha: float | None = None, beta: float | None = None) -> Tensor:
    """Squash by the hyperbolic tangent, scaled before and after."""
    return (alpha or 0.0) * torch.tanh((beta or 0.0) * x)


@op("ParametricSoftplus")
def parametric_softplus(x: Tensor, *, alpha: float | None = None, beta: float | None = None) -> Tensor:
    """Bend smoothly towards zero, scaled before and after."""
    return (alpha or 0.0) * F.softplus((beta or 0.0) * x)


@op("Scale")
def scale(input: Tensor, *, scale: float = 1.0) -> Tensor:
    """Multiply by a number."""
    return input * scale


@op("DynamicSlice")
def dynamic_slice(data: Tensor, starts: Host, ends: Host, axes: Host | None = None) -> Tensor:
    """Cut a range out of some axes."""
    return slice_by_input(data, starts, ends, axes)


@op("ImageScaler")
def image_scaler(input: Tensor, *, bias: list[float] | None = None, scale: float = 1.0) -> Tensor:
    """Scale a picture and shift each channel."""
    shift = torch.tensor(bias or [0.0], dtype=input.dtype, device=input.device)
    return input * scale + shift.reshape(1, -1, 1, 1)


@op("Crop")
def crop(input: Tensor, *, border: list[int] | None = None, scale: list[int] | None = None) -> Tensor:
    """Cut a picture's border off, down to a size where one is given."""
    if border is None or len(border) != 4:
        raise ImportFault("border has to give left, top, right and bottom")
    left, top, right, bottom = border
    height = scale[0] if scale else input.shape[2] - top - bottom
    width = scale[1] if scale else input.shape[3] - left - right
    return input[:, :, top : top + height, left : left + width]
