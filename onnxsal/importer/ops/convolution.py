"""Convolution, transposed and deformable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import layer, op
from onnxsal.importer.windows import Windows, flat, halves, pad_zeros, windows

CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSE: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
LAYERS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED_LAYERS: dict[int, type[nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


@op("Conv")
def conv(
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
    """Slide learned filters over one to three spatial axes."""
    view = windows(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
    return convolve(x, w, b, view, group)


def convolve(x: Tensor, w: Tensor, b: Tensor | None, view: Windows, group: int) -> Tensor:
    """Convolve over the given windows; torch pads where both sides are padded alike."""
    run = _of_rank(CONVOLVE, len(view.kernel))
    if view.symmetric:
        return run(x, w, b, view.strides, view.begins, view.dilations, group)
    return run(pad_zeros(x, view.begins, view.ends), w, b, view.strides, 0, view.dilations, group)


def _of_rank(table: dict[int, Any], rank: int) -> Any:
    if rank not in table:
        raise ImportFault(f"convolution over {rank} spatial axes is not supported", hint="one to three are")
    return table[rank]


@layer(conv)
def conv_layer(
    weight: nn.Parameter,
    bias: nn.Parameter | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> nn.Module | None:
    """Return a torch convolution over the same weights, where torch's own padding can say what the node asks."""
    rank = weight.dim() - 2
    strides = strides or [1] * rank
    padding = _native_padding(auto_pad, pads, strides, rank)
    if padding is None or rank not in LAYERS:
        return None
    return _sharing(
        LAYERS[rank], weight.shape[1] * group, weight.shape[0], weight, bias,
        stride=strides, padding=padding, dilation=dilations or [1] * rank, groups=group,
    )  # fmt: skip


def _native_padding(
    auto_pad: str, pads: Sequence[int] | None, strides: Sequence[int], rank: int
) -> tuple[int, ...] | str | None:
    """Return what torch's ``padding`` has to be, or None where it cannot say it."""
    if auto_pad == "SAME_UPPER" and all(s == 1 for s in strides):
        return "same"  # torch, too, puts the odd one at the end
    if auto_pad == "VALID" or (auto_pad in {"NOTSET", ""} and not pads):
        return (0,) * rank
    begins, ends = tuple(pads or ())[:rank], tuple(pads or ())[rank:]
    return begins if auto_pad in {"NOTSET", ""} and begins == ends and min(begins) >= 0 else None


def _sharing(
    kind: type[nn.Module],
    channels: int,
    filters: int,
    weight: nn.Parameter,
    bias: nn.Parameter | None,
    **options: Any,
) -> nn.Module:
    """Make a layer that never allocates: its weights are the parameters handed in."""
    module = kind(channels, filters, tuple(weight.shape[2:]), bias=bias is not None, device="meta", **options)
    module.weight = weight
    module.register_parameter("bias", bias)
    return module


@op("ConvTranspose")
def conv_transpose(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    output_padding: list[int] | None = None,
    output_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Spread each input element over a window of the output: convolution run backwards."""
    rank = w.dim() - 2
    run = _of_rank(TRANSPOSE, rank)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    extra = output_padding or [0] * rank
    full = [
        s * (n - 1) + (k - 1) * d + 1 for s, n, k, d in zip(strides, x.shape[2:], w.shape[2:], dilations, strict=True)
    ]
    begins, ends = _cut(x, full, extra, strides, pads, auto_pad, output_shape)
    if tuple(begins) == tuple(ends) and all(b >= 0 for b in begins) and _allowed(extra, strides, dilations):
        return run(x, w, b, strides, begins, extra, group, dilations)
    y = run(x, w, None, strides, 0, 0, group, dilations)
    # what output_padding adds lies behind the last window: nothing but the bias reaches it
    y = F.pad(y, flat([-c for c in begins], [e - c for e, c in zip(extra, ends, strict=True)]))
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def _allowed(extra: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> bool:
    """Say whether torch takes this output padding."""
    return all(e < max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True))


def _cut(
    x: Tensor,
    full: Sequence[int],
    extra: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int] | None,
    auto_pad: str,
    output_shape: Sequence[int] | None,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return how much of the full result is cut off at the begin and the end of each axis."""
    rank = len(full)
    if output_shape:
        wanted = tuple(output_shape)[-rank:]
    elif auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
        wanted = tuple(n * s for n, s in zip(x.shape[2:], strides, strict=True))
    else:
        pads = tuple(pads or (0,) * 2 * rank) if auto_pad in {"NOTSET", ""} else (0,) * 2 * rank
        return pads[:rank], pads[rank:]
    totals = [f + e - w for f, e, w in zip(full, extra, wanted, strict=True)]
    return halves(totals, larger_first=auto_pad != "SAME_UPPER")


@layer(conv_transpose)
def conv_transpose_layer(
    weight: nn.Parameter,
    bias: nn.Parameter | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    output_padding: list[int] | None = None,
    output_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> nn.Module | None:
    """Return a torch transposed convolution over the same weights, where it can say what the node asks."""
    rank = weight.dim() - 2
    strides, dilations, extra = strides or [1] * rank, dilations or [1] * rank, output_padding or [0] * rank
    padding = None if auto_pad.startswith("SAME") else _native_padding(auto_pad, pads, strides, rank)
    if padding is None or output_shape or rank not in TRANSPOSED_LAYERS or not _allowed(extra, strides, dilations):
        return None
    return _sharing(
        TRANSPOSED_LAYERS[rank], weight.shape[0], weight.shape[1] * group, weight, bias,
        stride=strides, padding=padding, output_padding=extra, dilation=dilations, groups=group,
    )  # fmt: skip


@op("DeformConv", since=19)
def deform_conv(
    x: Tensor,
    w: Tensor,
    offset: Tensor,
    b: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    offset_group: int = 1,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Convolve where every tap of every window is moved by its own learned offset."""
    view = windows(x.shape[2:], w.shape[2:], strides, dilations, pads, "NOTSET")
    rank, taps, counts = len(view.kernel), w.shape[2:].numel(), view.counts()
    moved = offset.reshape(x.shape[0], offset_group, taps, rank, *counts)
    where = [moved[:, :, :, axis] + _resting(view, counts, axis, moved) for axis in range(rank)]
    samples = _sample(x.reshape(x.shape[0], offset_group, -1, *x.shape[2:]), where)
    if mask is not None:
        samples = samples * mask.reshape(x.shape[0], offset_group, 1, taps, *counts)
    columns = samples.reshape(x.shape[0], group, -1, taps, *counts)  # n, group, channels, taps, windows
    filters = w.reshape(group, w.shape[0] // group, w.shape[1], taps)
    y = torch.einsum("ngct...,gfct->ngf...", columns, filters).reshape(x.shape[0], w.shape[0], *counts)
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def _resting(view: Windows, counts: Sequence[int], axis: int, like: Tensor) -> Tensor:
    """Return where the taps lie along one axis before they are moved: taps, then windows."""
    options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
    starts = torch.arange(counts[axis], **options) * view.strides[axis] - view.begins[axis]
    offsets = [index[axis] * view.dilations[axis] for index in product(*map(range, view.kernel))]
    starts = starts.reshape(*[-1 if i == axis else 1 for i in range(len(counts))])
    return torch.tensor(offsets, **options).reshape(-1, *[1] * len(counts)) + starts


def _sample(x: Tensor, where: Sequence[Tensor]) -> Tensor:
    """Interpolate (n, group, channel, *sizes) at (n, group, tap, *windows) positions; outside lies zero."""
    sizes = x.shape[3:]
    floors = [position.floor() for position in where]
    result = torch.zeros((), dtype=x.dtype, device=x.device)
    for corner in product((0, 1), repeat=len(sizes)):
        index, weight = torch.zeros_like(floors[0], dtype=torch.int64), torch.ones_like(where[0])
        for floor, position, step, size in zip(floors, where, corner, sizes, strict=True):
            place = (floor + step).long()
            share = 1 - (position - floor) if step == 0 else position - floor
            weight = weight * share * ((place >= 0) & (place < size))
            index = index * size + place.clamp(0, size - 1)
        taken = x.flatten(3).gather(3, index.flatten(2).unsqueeze(2).expand(-1, -1, x.shape[2], -1))
        result = result + taken.reshape(*x.shape[:3], *index.shape[2:]) * weight.unsqueeze(2)
    return result
