"""Convolution, transposed convolution, and their ways back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxsal.compiler.emit import Builder, Value
from onnxsal.compiler.lower import lower
from onnxsal.compiler.lower.shape import flip
from onnxsal.errors import CompileFault


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
    rank = x.rank - 2
    shared = {
        "strides": _full(stride, rank),
        "pads": _full(padding, rank) * 2,
        "dilations": _full(dilation, rank),
        "group": groups,
        "kernel_shape": _kernel(w),
    }
    if transposed:
        return g.ConvTranspose(x, w, b, output_padding=_full(output_padding, rank), **shared)
    return g.Conv(x, w, b, **shared)


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
    rank = x.rank - 2
    stride, padding, dilation = _full(stride, rank), _full(padding, rank), _full(dilation, rank)
    by_x = by_w = by_b = None
    if wanted[0] and transposed:
        by_x = g.Conv(
            gradient, w, strides=stride, pads=padding * 2, dilations=dilation, group=groups, kernel_shape=_kernel(w)
        )
    elif wanted[0]:
        by_x = _by_input(g, gradient, x, w, stride, padding, dilation, groups)
    if wanted[1] and transposed:
        by_w = _by_weight(g, x, gradient, w, stride, padding, dilation, groups)
    elif wanted[1]:
        by_w = _by_weight(g, gradient, x, w, stride, padding, dilation, groups)
    if wanted[2]:
        by_b = g.ReduceSum(gradient, [0, *range(2, x.rank)], keepdims=0)
    return by_x, by_w, by_b


def _by_input(
    g: Builder,
    gradient: Value,
    x: Value,
    w: Value,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Value:
    """Return the gradient by the input: where the stride is 1, a convolution with the filters turned round."""
    reach = [d * (k - 1) for d, k in zip(dilation, _kernel(w), strict=True)]
    pads = [r - p for r, p in zip(reach, padding, strict=True)]
    if all(s == 1 for s in stride) and min(pads) >= 0:
        turned = turned_round(g, w, groups)
        return g.Conv(
            gradient, turned, strides=stride, pads=pads * 2, dilations=dilation, group=groups, kernel_shape=_kernel(w)
        )
    return _transposed(g, gradient, x, w, stride, padding, dilation, reach, groups)


def turned_round(g: Builder, w: Value, groups: int) -> Value:
    """Return filters with input and output channels changed over and every spatial axis reversed.

    They are computed in the graph, from the one copy of the weights: whoever loads the file folds that once.
    """
    assert w.shape is not None
    filters, channels, *kernel = w.shape
    axes = [2 + i for i, size in enumerate(kernel) if size != 1]
    turned = flip(g, w, axes)
    if groups == 1:
        return g.Transpose(turned, perm=[1, 0, *range(2, w.rank)])
    if filters == groups and channels == 1:
        return turned
    split = g.Reshape(turned, [groups, filters // groups, channels, *kernel])
    changed = g.Transpose(split, perm=[0, 2, 1, *range(3, w.rank + 1)])
    return g.Reshape(changed, [groups * channels, filters // groups, *kernel])


def _transposed(
    g: Builder,
    gradient: Value,
    x: Value,
    w: Value,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    reach: list[int],
    groups: int,
) -> Value:
    """Return the gradient by a strided convolution's input: the convolution the other way round.

    Some places at the end may have been seen by no window; they get zeros.
    """
    assert x.shape is not None
    assert gradient.shape is not None
    sizes, answers = x.shape[2:], gradient.shape[2:]
    shared = {"strides": stride, "dilations": dilation, "group": groups, "kernel_shape": _kernel(w)}
    if all(isinstance(size, int) for size in (*sizes, *answers)):
        covered = [(a - 1) * s - 2 * p + r + 1 for a, s, p, r in zip(answers, stride, padding, reach, strict=True)]
        unseen = [size - c for size, c in zip(sizes, covered, strict=True)]
        if all(u < max(s, d) for u, s, d in zip(unseen, stride, dilation, strict=True)) and min(unseen) >= 0:
            return g.ConvTranspose(gradient, w, pads=padding * 2, output_padding=unseen, **shared)
    whole = g.ConvTranspose(gradient, w, **shared)
    axes = list(range(2, x.rank))
    wanted = [g.size(x, axis) for axis in axes]
    got = g.Shape(whole, start=2)
    ends = g.Add(g.vector(wanted), padding)
    missing = g.Max(g.Sub(ends, got), np.zeros(len(axes), np.int64))
    whole = Value(whole.name, gradient.dtype, x.shape)
    padded = g.pad(whole, axes, [0] * len(axes), missing, 0, gradient.dtype)
    return g.Slice(padded, padding, ends, axes)


def _by_weight(
    g: Builder,
    gradient: Value,
    x: Value,
    w: Value,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> Value:
    """Return the gradient by the filters: the input convolved with what comes back, examples as channels."""
    swap = [1, 0, *range(2, x.rank)]
    inputs, answers = g.Transpose(x, perm=swap), g.Transpose(gradient, perm=swap)
    pairs = [(inputs, answers)]
    if groups > 1:
        parts = (_split(g, v, of, groups) for v, of in ((inputs, x), (answers, gradient)))
        pairs = list(zip(*parts, strict=True))
    rank = x.rank - 2
    found = [
        g.Slice(
            g.Conv(a, b, strides=dilation, pads=padding * 2, dilations=stride),
            [0] * rank, _kernel(w), list(range(2, rank + 2)),
        )
        for a, b in pairs
    ]  # fmt: skip
    turned = [g.Transpose(part, perm=swap) for part in found]
    return g.Concat(*turned, axis=0) if groups > 1 else turned[0]


def _split(g: Builder, channels_first: Value, of: Value, groups: int) -> tuple[Value, ...]:
    """Return the channels of a value, which come first, in equal groups."""
    assert of.shape is not None
    return g.Split(channels_first, [int(of.shape[1]) // groups] * groups, axis=0, n_outputs=groups)  # type: ignore[no-any-return]


def _kernel(w: Value) -> list[int]:
    assert w.shape is not None
    if not all(isinstance(size, int) for size in w.shape):
        raise CompileFault("filters of open size")
    return list(w.shape[2:])


def _full(values: Sequence[int], rank: int) -> list[int]:
    return list(values) * rank if len(values) == 1 else list(values)
