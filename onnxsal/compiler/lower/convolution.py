"""Convolution, transposed convolution, and their ways back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxsal.compiler.emit import Builder, Value
from onnxsal.compiler.lower import lower
from onnxsal.compiler.lower.shape import flip
from onnxsal.errors import CompileFault


@dataclass(frozen=True)
class Window:
    """How a convolution's filters lie on its input, one number an axis."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    @staticmethod
    def of(x: Value, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int) -> Window:
        """Return the window over an input; one number stands for all its axes."""
        rank = x.rank - 2
        return Window(_full(stride, rank), _full(padding, rank), _full(dilation, rank), groups)

    def reach(self, w: Value) -> list[int]:
        """Return how far the filters reach beyond their first place."""
        return [d * (k - 1) for d, k in zip(self.dilation, _kernel(w), strict=True)]

    def attributes(self, w: Value) -> dict[str, Any]:
        """Return the attributes of a Conv or ConvTranspose with such filters."""
        return {
            "strides": self.stride,
            "pads": self.padding * 2,
            "dilations": self.dilation,
            "group": self.groups,
            "kernel_shape": _kernel(w),
        }


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
        return g.ConvTranspose(x, w, b, output_padding=_full(output_padding, x.rank - 2), **window.attributes(w))
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
    """Return the gradient by the input: where the stride is 1, a convolution with the filters turned round."""
    pads = [reach - p for reach, p in zip(window.reach(w), window.padding, strict=True)]
    if all(s == 1 for s in window.stride) and min(pads) >= 0:
        turned = turned_round(g, w, window.groups)
        return g.Conv(gradient, turned, **window.attributes(w) | {"pads": pads * 2})
    return _transposed(g, gradient, x, w, window)


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
            [0] * rank, _kernel(w), list(range(2, rank + 2)),
        )
        for a, b in pairs
    ]  # fmt: skip
    turned = [g.Transpose(part, perm=swap) for part in found]
    return g.Concat(*turned, axis=0) if window.groups > 1 else turned[0]


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
