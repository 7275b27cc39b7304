"""Pooling over windows and over whole feature maps, and its inverse."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import Host, op
from onnxsal.importer.values import ints
from onnxsal.importer.windows import Windows, pad_zeros, window_sum, windows

MAX_POOLS: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE_POOLS: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@op("MaxPool")
def max_pool(
    x: Tensor,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Keep the largest value of each window."""
    view = windows(x.shape[2:], kernel_shape, strides, None, pads, auto_pad)
    return _max_pool(x, view, ceil=False, with_indices=False)[0]


@op("MaxPool", since=8)
def max_pool_with_indices(
    x: Tensor,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    pads: list[int] | None = None,
    storage_order: int = 0,
    strides: list[int] | None = None,
    n_outputs: int = 1,
) -> tuple[Tensor, Tensor | None]:
    """Keep the largest value of each window, and say where it was."""
    view = windows(x.shape[2:], kernel_shape, strides, None, pads, auto_pad)
    return _indexed(x, view, False, storage_order, n_outputs)


@op("MaxPool", since=10)
def max_pool_dilated(
    x: Tensor,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    storage_order: int = 0,
    strides: list[int] | None = None,
    n_outputs: int = 1,
) -> tuple[Tensor, Tensor | None]:
    """Keep the largest value of each window, which may have gaps, and say where it was."""
    view = windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    return _indexed(x, view, bool(ceil_mode), storage_order, n_outputs)


def _indexed(x: Tensor, view: Windows, ceil: bool, storage_order: int, n_outputs: int) -> tuple[Tensor, Tensor | None]:
    y, indices = _max_pool(x, view, ceil, with_indices=n_outputs > 1)
    if indices is None:
        return y, None
    return y, _global_indices(indices, view.sizes, column_major=storage_order == 1)


def _max_pool(x: Tensor, view: Windows, ceil: bool, with_indices: bool) -> tuple[Tensor, Tensor | None]:
    """Return the largest values and, if asked, where they lie in their own feature map."""
    run = _of_rank(MAX_POOLS, len(view.kernel))
    wide = x if x.is_floating_point() else x.float()  # torch pools no bytes; a float holds every one of them
    if _native(view):
        result = run(wide, view.kernel, view.strides, view.begins, view.dilations, ceil, with_indices)
        y, indices = result if with_indices else (result, None)
        return y.to(x.dtype), indices
    ends = view.reach(view.counts(ceil))
    padded = pad_zeros(wide, view.begins, ends, float("-inf"))
    result = run(padded, view.kernel, view.strides, 0, view.dilations, False, with_indices)
    y, indices = result if with_indices else (result, None)
    if indices is not None:
        indices = _without_pads(indices, view.sizes, padded.shape[2:], view.begins)
    return y.to(x.dtype), indices


def _of_rank(table: dict[int, Callable[..., Tensor]], rank: int) -> Callable[..., Tensor]:
    if rank not in table:
        raise ImportFault(f"pooling over {rank} spatial axes is not supported", hint="one to three are")
    return table[rank]


def _native(view: Windows) -> bool:
    """Say whether torch's pooling takes these pads: alike on both sides, at most half a window."""
    return view.symmetric and all(
        isinstance(b, int) and b <= k // 2 for b, k in zip(view.begins, view.kernel, strict=True)
    )


def _without_pads(indices: Tensor, sizes: Sequence[int], padded: Sequence[int], begins: Sequence[int]) -> Tensor:
    """Turn indices into the padded map to indices into the map itself."""
    place, result, step = indices, torch.zeros_like(indices), 1
    for size, wide, begin in zip(reversed(sizes), reversed(padded), reversed(begins), strict=True):
        result = result + (place % wide - begin) * step
        place, step = torch.div(place, wide, rounding_mode="floor"), step * size
    return result


def _global_indices(indices: Tensor, sizes: Sequence[int], *, column_major: bool) -> Tensor:
    """Turn indices into each map to indices into the whole tensor, as ONNX counts."""
    total = 1
    for size in sizes:
        total = total * size
    if column_major:
        place, result, step = indices, torch.zeros_like(indices), total
        for size in reversed(sizes):
            step = step // size
            result, place = result + place % size * step, torch.div(place, size, rounding_mode="floor")
        indices = result
    maps = torch.arange(indices.shape[0] * indices.shape[1], device=indices.device)
    return indices + (maps * total).reshape(*indices.shape[:2], *[1] * len(sizes))


@op("MaxpoolWithMask", domain="com.microsoft")
def max_pool_with_mask(
    x: Tensor,
    m: Tensor,
    *,
    auto_pad: str = "NOTSET",
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    storage_order: int = 0,
    strides: list[int] | None = None,
) -> Tensor:
    """Keep the largest value of each window, of which each row ends where the mask is zero."""
    del storage_order  # about indices, which are not returned
    view = windows(x.shape[2:], kernel_shape or (), strides, None, pads, auto_pad)
    ends = view.reach(view.counts())
    first = x[0, 0].numel() * torch.arange(x.shape[0] * x.shape[1], device=x.device)
    # ONNX Runtime counts the maps of the mask where it ought to count their elements
    places = (first % (m.shape[0] * m.shape[1])).unsqueeze(1) + torch.arange(x[0, 0].numel(), device=x.device)
    open_ = m.flatten()[places] != 0
    if len(view.kernel) > 1:  # and asks the mask about every element but the first
        open_ = open_ | (torch.arange(open_.shape[1], device=x.device) == 0)
    open_ = open_.reshape(x.shape)
    lowest = torch.finfo(x.dtype).min
    values, counted = pad_zeros(x, view.begins, ends, lowest), pad_zeros(open_.to(x.dtype), view.begins, ends, 1.0)
    for axis, (size, stride) in enumerate(zip(view.kernel, view.strides, strict=True), 2):
        values, counted = values.unfold(axis, size, stride), counted.unfold(axis, size, stride)
    read = values.masked_fill(counted.cumprod(-1) == 0, lowest)
    return read.flatten(2 + len(view.kernel)).amax(-1)


@op("AveragePool", since=10)
def average_pool(
    x: Tensor,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Average each window; padding counts where asked."""
    view = windows(x.shape[2:], kernel_shape, strides, None, pads, auto_pad)
    return _average(x, view, bool(ceil_mode), bool(count_include_pad))


@op("AveragePool", since=7)
def average_pool_7(
    x: Tensor,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    count_include_pad: int = 0,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Average each window; padding counts where asked."""
    return _average(
        x, windows(x.shape[2:], kernel_shape, strides, None, pads, auto_pad), False, bool(count_include_pad)
    )


@op("AveragePool")
def average_pool_1(
    x: Tensor,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Average each window without its padding."""
    return _average(x, windows(x.shape[2:], kernel_shape, strides, None, pads, auto_pad), False, False)


@op("AveragePool", since=19)
def average_pool_dilated(
    x: Tensor,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Average each window, which may have gaps; padding counts where asked."""
    view = windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    return _average(x, view, bool(ceil_mode), bool(count_include_pad))


def _average(x: Tensor, view: Windows, ceil: bool, with_pads: bool) -> Tensor:
    if _native(view) and all(d == 1 for d in view.dilations):
        run = _of_rank(AVERAGE_POOLS, len(view.kernel))
        return run(x, view.kernel, view.strides, view.begins, ceil_mode=ceil, count_include_pad=with_pads)
    counts = view.counts(ceil)
    reach = view.reach(counts)
    total = window_sum(pad_zeros(x, view.begins, reach), view, counts)
    return total / _window_sizes(x, view, counts, reach, with_pads)


def _window_sizes(x: Tensor, view: Windows, counts: Sequence[int], reach: Sequence[int], with_pads: bool) -> Tensor:
    """Return how many elements each window averages over; what only ceil_mode reaches never counts."""
    ones = torch.ones((1, 1, *view.sizes), dtype=x.dtype, device=x.device)
    if with_pads:
        ones = pad_zeros(ones, view.begins, view.ends, 1.0)
        beyond = [r - e for r, e in zip(reach, view.ends, strict=True)]
        return window_sum(pad_zeros(ones, (0,) * len(beyond), beyond), view, counts)
    return window_sum(pad_zeros(ones, view.begins, reach), view, counts)


@op("LpPool", since=18)
def lp_pool(
    x: Tensor,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: list[int] | None = None,
    p: int = 2,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Take the p-norm of each window, which may have gaps."""
    view = windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    counts = view.counts(bool(ceil_mode))
    powers = pad_zeros(x.abs().pow(p), view.begins, view.reach(counts))
    return _root(window_sum(powers, view, counts), p)


@op("LpPool", since=2)
def lp_pool_2(
    x: Tensor,
    *,
    kernel_shape: list[int],
    auto_pad: str = "NOTSET",
    p: int = 2,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Take the p-norm of each window."""
    return lp_pool(x, kernel_shape=kernel_shape, auto_pad=auto_pad, p=p, pads=pads, strides=strides)


@op("LpPool")
def lp_pool_1(
    x: Tensor,
    *,
    auto_pad: str = "NOTSET",
    kernel_shape: list[int] | None = None,
    p: float = 2.0,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Take the p-norm of each window; p may be fractional."""
    if kernel_shape is None:
        raise ImportFault("has no kernel_shape", hint="the attribute is optional in the schema, yet nothing implies it")
    return lp_pool(x, kernel_shape=kernel_shape, auto_pad=auto_pad, p=p, pads=pads, strides=strides)  # type: ignore[arg-type]


def _root(total: Tensor, p: float) -> Tensor:
    """Take the p-th root; where all is zero the gradient is zero, not infinite."""
    if p == 1:
        return total
    empty = total == 0
    return torch.where(empty, torch.zeros_like(total), torch.where(empty, torch.ones_like(total), total).pow(1 / p))


@op("GlobalAveragePool")
def global_average_pool(x: Tensor) -> Tensor:
    """Average each feature map."""
    return x.mean(_spatial(x), keepdim=True)


@op("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    """Keep the largest value of each feature map."""
    return x.amax(_spatial(x), keepdim=True)


@op("GlobalLpPool", since=2)
def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    """Take the p-norm of each feature map."""
    return _root(x.abs().pow(p).sum(_spatial(x), keepdim=True), p)


@op("GlobalLpPool")
def global_lp_pool_1(x: Tensor, *, p: float = 2.0) -> Tensor:
    """Take the p-norm of each feature map; p may be fractional."""
    return _root(x.abs().pow(p).sum(_spatial(x), keepdim=True), p)


def _spatial(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.dim()))


@op("MaxUnpool", since=9)
def max_unpool(
    x: Tensor,
    i: Tensor,
    output_shape: Host | None = None,
    *,
    kernel_shape: list[int],
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    """Put pooled values back where they came from, zero elsewhere."""
    rank = len(kernel_shape)
    strides, pads = strides or [1] * rank, pads or [0] * 2 * rank
    inferred = [
        (n - 1) * s + k - b - e
        for n, s, k, b, e in zip(x.shape[2:], strides, kernel_shape, pads[:rank], pads[rank:], strict=True)
    ]
    # the indices count elements of the shape asked for, as in ONNX Runtime and in PyTorch, where such models come from;
    # ONNX's own case counts in the inferred shape, and no runtime follows it
    shape = [*x.shape[:2], *inferred] if output_shape is None else ints(output_shape)
    total = 1
    for size in shape:
        total = total * size
    return torch.zeros(total, dtype=x.dtype, device=x.device).scatter(0, i.flatten(), x.flatten()).reshape(shape)
