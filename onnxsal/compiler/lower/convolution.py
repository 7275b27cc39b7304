"""Convolution, transposed convolution, and their ways back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from onnxsal.compiler.emit import ELEMENTS, Builder, Value
from onnxsal.compiler.lower import lower
from onnxsal.compiler.lower._filters import Window, full, kernel_of, turned_round
from onnxsal.compiler.lower._maps import in_blocks
from onnxsal.compiler.lower._phases import by_phases


@lower("aten.convolution.default")
def convolution(
    g: Builder,
    x: Value,
    w: Value,
    b: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    window = Window.of(x, stride, padding, dilation, groups)
    if transposed:
        return g.ConvTranspose(x, w, b, output_padding=full(output_padding, x.rank - 2), **window.attributes(w))
    return g.Conv(x, w, b, **window.attributes(w))


@lower("aten.convolution_backward.default")
def convolution_backward(
    g: Builder,
    gradient: Value,
    x: Value,
    w: Value,
    bias_sizes: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Value | None, Value | None, Value | None]:
    window = Window.of(x, stride, padding, dilation, groups)
    by_x = by_w = by_b = None
    if wanted[0]:
        by_x = g.Conv(gradient, w, **window.attributes(w)) if transposed else _by_input(g, gradient, x, w, window)
    if wanted[1]:
        by_w = _by_weight(g, x, gradient, w, window) if transposed else _by_weight(g, gradient, x, w, window)
    if wanted[2]:
        by_b = g.ReduceSum(gradient, [0, *range(2, x.rank)], keepdims=0)
    return by_x, by_w, by_b


def _by_input(g: Builder, gradient: Value, x: Value, w: Value, window: Window) -> Value:
    """Return the gradient by the input: where the stride is 1, a convolution with the filters turned round.

    ONNX Runtime convolves in float32 only; what comes back to whole numbers, carried in doubles, is cast to it.
    """
    if gradient.dtype is torch.float64:
        gradient, x, w = (g.cast(value, torch.float32) for value in (gradient, x, w))
        found: Value = g.Cast(_by_input(g, gradient, x, w, window), to=ELEMENTS[torch.float64])
        return found
    pads = [reach - p for reach, p in zip(window.reach(w), window.padding, strict=True)]
    if all(s == 1 for s in window.stride) and min(pads) >= 0:
        turned = turned_round(g, w, window.groups)
        return g.Conv(gradient, turned, **window.attributes(w) | {"pads": pads * 2})
    phases = by_phases(g, gradient, x, w, window)
    found = _transposed(g, gradient, x, w, window) if phases is None else phases
    channels = _channels_in_blocks(x)
    return in_blocks(g, found, channels) if channels else found


def _channels_in_blocks(x: Value) -> int:
    """Return the number of channels of maps that ONNX Runtime lays out in blocks, 0 where it does not."""
    if x.shape is None or x.dtype is not torch.float32 or x.rank != 4:
        return 0
    channels = x.shape[1]
    return channels if isinstance(channels, int) and channels % 16 == 0 else 0


def _transposed(g: Builder, gradient: Value, x: Value, w: Value, window: Window) -> Value:
    """Return the gradient by a strided convolution's input: the convolution the other way round.

    Some places at the end may have been seen by no window; they get zeros.
    """
    assert x.shape is not None
    assert gradient.shape is not None
    sizes, answers = x.shape[2:], gradient.shape[2:]
    stride, padding, dilation = window.stride, window.padding, window.dilation
    if all(isinstance(size, int) for size in (*sizes, *answers)):
        reach = window.reach(w)
        covered = [(a - 1) * s - 2 * p + r + 1 for a, s, p, r in zip(answers, stride, padding, reach, strict=True)]
        unseen = [size - c for size, c in zip(sizes, covered, strict=True)]
        if all(u < max(s, d) for u, s, d in zip(unseen, stride, dilation, strict=True)) and min(unseen) >= 0:
            return g.ConvTranspose(gradient, w, output_padding=unseen, **window.attributes(w))
    whole = g.ConvTranspose(gradient, w, **window.attributes(w) | {"pads": [0] * 2 * len(padding)})
    axes = list(range(2, x.rank))
    wanted = [g.size(x, axis) for axis in axes]
    got = g.Shape(whole, start=2)
    ends = g.Add(g.vector(wanted), padding)
    missing = g.Max(g.Sub(ends, got), np.zeros(len(axes), np.int64))
    whole = Value(whole.name, gradient.dtype, x.shape)
    padded = g.pad(whole, axes, [0] * len(axes), missing, 0, gradient.dtype)
    return g.Slice(padded, padding, ends, axes)


def _by_weight(g: Builder, gradient: Value, x: Value, w: Value, window: Window) -> Value:
    """Return the gradient by the filters: the input convolved with what comes back, examples as channels."""
    swap = [1, 0, *range(2, x.rank)]
    inputs, answers = g.Transpose(x, perm=swap), g.Transpose(gradient, perm=swap)
    pairs = [(inputs, answers)]
    if window.groups > 1:
        parts = (_split(g, v, of, window.groups) for v, of in ((inputs, x), (answers, gradient)))
        pairs = list(zip(*parts, strict=True))
    rank = x.rank - 2
    found = [
        g.Slice(
            g.Conv(a, b, strides=window.dilation, pads=window.padding * 2, dilations=window.stride),
            [0] * rank, kernel_of(w), list(range(2, rank + 2)),
        )
        for a, b in pairs
    ]  # fmt: skip
    turned = [g.Transpose(part, perm=swap) for part in found]
    return g.Concat(*turned, axis=0) if window.groups > 1 else turned[0]


def _split(g: Builder, channels_first: Value, of: Value, groups: int) -> tuple[Value, ...]:
    """Return the channels of a value, which come first, in equal groups."""
    assert of.shape is not None
    return g.Split(channels_first, [int(of.shape[1]) // groups] * groups, axis=0, n_outputs=groups)  # type: ignore[no-any-return]
