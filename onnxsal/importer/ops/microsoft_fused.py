"""Operators of ``com.microsoft`` that stand for several of the standard ones: what ONNX Runtime's optimiser writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Host, layer, op
from onnxsal.importer.ops.activations import hard_sigmoid
from onnxsal.importer.ops.convolution import conv, conv_layer, conv_transpose
from onnxsal.importer.ops.creation import range_
from onnxsal.importer.ops.image import grid_sample_16
from onnxsal.importer.ops.indexing import gather_nd
from onnxsal.importer.ops.matmul import gemm, gemm_layer, matmul_layer
from onnxsal.importer.ops.padding import pad as pad_standard
from onnxsal.importer.values import ints

DOMAIN = "com.microsoft"

# activations


@op("Gelu", domain=DOMAIN)
def gelu(x: Tensor) -> Tensor:
    """Let values through by how likely a normal number is to be smaller."""
    return F.gelu(x)


@op("FastGelu", domain=DOMAIN)
def fast_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Add a bias, then Gelu in its approximation by the hyperbolic tangent."""
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@op("BiasGelu", domain=DOMAIN)
def bias_gelu(a: Tensor, b: Tensor) -> Tensor:
    """Add a bias, then Gelu."""
    return F.gelu(a + b)


@op("QuickGelu", domain=DOMAIN)
def quick_gelu(x: Tensor, *, alpha: float = 1.702) -> Tensor:
    """Let values through by the logistic function of alpha times themselves."""
    return x * torch.sigmoid(alpha * x)


@op("ScaledSiLU", domain=DOMAIN)
def scaled_silu(x: Tensor, scale: Tensor | None = None, *, alpha: float = 1.0) -> Tensor:
    """Scale, then let values through by their logistic function."""
    scaled = x * (alpha if scale is None else scale)
    return F.silu(scaled)


@op("BiasSplitGelu", domain=DOMAIN)
def bias_split_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Add a bias, then multiply the first half of the last axis by the Gelu of the second."""
    left, right = (x + bias).chunk(2, -1)
    return left * F.gelu(right)


@op("BiasAdd", domain=DOMAIN)
def bias_add(x: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
    """Add a bias and a shortcut."""
    return x + bias + skip


@op("BiasSoftmax", domain=DOMAIN)
def bias_softmax(data: Tensor, bias: Tensor, *, axis: int = 1, is_inner_broadcast: int) -> Tensor:
    """Add a bias, then softmax over all axes from one on."""
    axis %= data.dim()
    if is_inner_broadcast and bias.dim() <= data.dim():
        outer = bias.dim() - (data.dim() - axis)
        inserted = [1] * (axis - outer)
        bias = bias.reshape(*bias.shape[:outer], *inserted, *bias.shape[outer:])
    return torch.softmax((data + bias).flatten(axis), -1).reshape(data.shape)


@op("BiasDropout", domain=DOMAIN)
def bias_dropout(
    data: Tensor,
    bias: Tensor,
    residual: Tensor | None = None,
    ratio: Tensor | None = None,
    training_mode: Tensor | None = None,
    *,
    seed: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Add a bias and a shortcut: dropout does nothing when a model answers."""
    del ratio, training_mode, seed
    y = data + bias if residual is None else data + bias + residual
    return y, torch.ones_like(data, dtype=torch.bool)


def activation_named(name: str | None, parameters: Sequence[float | None]) -> Callable[[Tensor], Tensor]:
    """Return the activation that is fused to an operator; without a name it does nothing.

    Raises:
        ImportFault: there is no such activation.
    """
    first, second = (*parameters, None, None)[:2]
    known: dict[str, Callable[[Tensor], Tensor]] = {
        "": lambda x: x,
        "Relu": F.relu,
        "Tanh": torch.tanh,
        "Sigmoid": torch.sigmoid,
        "LeakyRelu": lambda x: F.leaky_relu(x, 0.01 if first is None else first),
        "Clip": lambda x: x.clamp(first, second),
        "HardSigmoid": lambda x: hard_sigmoid(
            x, alpha=0.2 if first is None else first, beta=0.5 if second is None else second
        ),
    }
    if (name or "") not in known:
        raise ImportFault(f"activation {name!r} is unknown", hint=f"known: {', '.join(filter(None, known))}")
    return known[name or ""]


# products


@op("FusedMatMul", domain=DOMAIN)
def fused_matmul(
    a: Tensor,
    b: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Tensor:
    """Multiply stacks of matrices, either of which may be transposed, and scale."""
    product = torch.matmul(_turned(a, transA, transBatchA), _turned(b, transB, transBatchB))
    return product if alpha == 1 else product * alpha


def _turned(x: Tensor, last: int, batch: int) -> Tensor:
    """Return the stack with its matrices transposed; a first axis that counts rows goes behind the batch axes."""
    if batch and x.dim() > 2:
        x = x.movedim(0, -2)
    return x.transpose(-1, -2) if last and x.dim() > 1 else x


@layer(fused_matmul)
def fused_matmul_layer(
    b: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> nn.Module | None:
    """Use a linear layer where the second matrix is constant and nothing else is asked for."""
    if alpha != 1 or transA or transBatchA or transBatchB or b.ndim != 2:
        return None
    return matmul_layer(b.t() if transB else b)


@op("TransposeMatMul", domain=DOMAIN)
def transpose_matmul(a: Tensor, b: Tensor, *, alpha: float = 1.0, transA: int = 0, transB: int = 0) -> Tensor:
    """Multiply stacks of matrices, either of which may be transposed, and scale."""
    return fused_matmul(a, b, alpha=alpha, transA=transA, transB=transB)


@op("FusedGemm", domain=DOMAIN)
def fused_gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    activation: str | None = None,
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Multiply two matrices, add a third, and bend the result."""
    del activation_gamma  # no activation that is known here has a third number
    bend = activation_named(activation, (activation_alpha, activation_beta))
    return bend(gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB))


@layer(fused_gemm)
def fused_gemm_layer(
    b: Tensor,
    c: Tensor | None = None,
    *,
    activation: str | None = None,
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    **gemm_attributes: Any,
) -> nn.Module | None:
    """Use a linear layer and an activation where matrix and bias are constant."""
    del activation_gamma
    linear = gemm_layer(b, c, **gemm_attributes)
    return None if linear is None else Bent(linear, activation_named(activation, (activation_alpha, activation_beta)))


class Bent(nn.Module):
    """A layer and the activation behind it."""

    def __init__(self, inner: nn.Module, bend: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.bend = bend

    def forward(self, x: Tensor) -> Tensor:
        """Return the bent result."""
        return self.bend(self.inner(x))


@op("GemmFastGelu", domain=DOMAIN)
def gemm_fast_gelu(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply by a matrix, add a bias, then Gelu in its approximation by the hyperbolic tangent."""
    return fast_gelu(torch.matmul(x, w), bias)


# convolution


@op("FusedConv", domain=DOMAIN)
def fused_conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    z: Tensor | None = None,
    *,
    activation: str | None = None,
    activation_params: list[float] | None = None,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Convolve, add a shortcut, and bend the result."""
    y = conv(x, w, b, auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides)
    return activation_named(activation, activation_params or ())(y if z is None else y + z)


@layer(fused_conv)
def fused_conv_layer(
    weight: nn.Parameter,
    bias: nn.Parameter | None = None,
    z: nn.Parameter | None = None,
    *,
    activation: str | None = None,
    activation_params: list[float] | None = None,
    **conv_attributes: Any,
) -> nn.Module | None:
    """Use a native convolution and an activation where filters and bias are constant."""
    native = conv_layer(weight, bias, **conv_attributes) if z is None else None
    return None if native is None else Bent(native, activation_named(activation, activation_params or ()))


@op("NhwcConv", domain=DOMAIN)
def nhwc_conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Convolve with the channels last, in the input, the filters and the result."""
    y = conv(
        x.movedim(-1, 1), w.movedim(-1, 1), b,
        auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides,
    )  # fmt: skip
    return y.movedim(1, -1)


@op("ConvTransposeWithDynamicPads", domain=DOMAIN)
def conv_transpose_with_dynamic_pads(
    x: Tensor,
    w: Tensor,
    pads: Host | None = None,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    output_padding: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Convolve backwards, with pads that are computed."""
    return conv_transpose(
        x, w, b, auto_pad=auto_pad, dilations=dilations, group=group, output_padding=output_padding,
        pads=None if pads is None else ints(pads), strides=strides,
    )  # fmt: skip


# the rest


@op("Inverse", domain=DOMAIN)
def inverse(x: Tensor) -> Tensor:
    """Invert a square matrix, or each in a stack."""
    inverted: Tensor = torch.linalg.inv(x)
    return inverted


@op("CDist", domain=DOMAIN)
def cdist(a: Tensor, b: Tensor, *, metric: str = "sqeuclidean") -> Tensor:
    """Return the distances between the rows of two matrices."""
    if metric not in {"sqeuclidean", "euclidean"}:
        raise ImportFault(f"metric {metric!r} is not supported", hint="supported: sqeuclidean, euclidean")
    squares = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(-1)
    if metric == "sqeuclidean":
        return squares
    apart = squares > 0  # a root has no slope at zero; the distance to oneself gets none
    return torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)


@op("ExpandDims", domain=DOMAIN)
def expand_dims(x: Tensor, axis: Host) -> Tensor:
    """Insert an axis of length one."""
    return x.unsqueeze(int(axis))


@op("Trilu", domain=DOMAIN)
def trilu(x: Tensor, k: Host | None = None, *, upper: int = 1) -> Tensor:
    """Keep the upper or the lower triangle of matrices."""
    diagonal = 0 if k is None else int(k)
    return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)


@op("GatherND", domain=DOMAIN)
def gather_nd_microsoft(data: Tensor, indices: Tensor) -> Tensor:
    """Pick elements or slices by several indices at once."""
    return gather_nd(data, indices)


@op("Pad", domain=DOMAIN)
def pad(data: Tensor, pads: Host, value: Host | None = None, *, mode: str = "constant") -> Tensor:
    """Grow (or shrink, where negative) every axis at both ends."""
    return pad_standard(data, pads.reshape(-1), value, mode=mode)


@op("GridSample", domain=DOMAIN)
def grid_sample(
    x: Tensor, grid: Tensor, *, align_corners: int = 0, mode: str = "bilinear", padding_mode: str = "zeros"
) -> Tensor:
    """Read a picture at the places a grid names."""
    return grid_sample_16(x, grid, align_corners=align_corners, mode=mode, padding_mode=padding_mode)


@op("Range", domain=DOMAIN, gradient=False)
def range_microsoft(start: Host, limit: Host, delta: Host | None = None) -> Any:
    """Count from start up to the limit, which is left out, in steps of delta (or one)."""
    return range_(
        start.reshape(()), limit.reshape(()), np.ones((), start.dtype) if delta is None else delta.reshape(())
    )


@op("UnfoldTensor", domain=DOMAIN)
def unfold_tensor(input: Tensor, *, dim: int = -1, size: int, step: int = 1) -> Tensor:
    """Cut overlapping windows out of one axis."""
    return input.unfold(dim, size, step)


@op("IsAllFinite", domain=DOMAIN, gradient=False)
def is_all_finite(*input: Tensor, isinf_only: int = 0, isnan_only: int = 0) -> Tensor:
    """Say whether no element of any input is infinite or no number."""
    bad = torch.isinf if isinf_only else torch.isnan if isnan_only else lambda x: ~torch.isfinite(x)
    return ~torch.stack([bad(x).any() for x in input]).any()
