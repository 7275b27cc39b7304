"""Filters, and how they lie on what they are laid over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnxsal.compiler.emit import Builder, Value
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
        return Window(full(stride, rank), full(padding, rank), full(dilation, rank), groups)

    def reach(self, w: Value) -> list[int]:
        """Return how far the filters reach beyond their first place."""
        return [d * (k - 1) for d, k in zip(self.dilation, kernel_of(w), strict=True)]

    def attributes(self, w: Value) -> dict[str, Any]:
        """Return the attributes of a Conv or ConvTranspose with such filters."""
        return {
            "strides": self.stride,
            "pads": self.padding * 2,
            "dilations": self.dilation,
            "group": self.groups,
            "kernel_shape": kernel_of(w),
        }


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


def kernel_of(w: Value) -> list[int]:
    """Return the sizes of filters."""
    assert w.shape is not None
    if not all(isinstance(size, int) for size in w.shape):
        raise CompileFault("filters of open size")
    return list(w.shape[2:])


def full(values: Sequence[int], rank: int) -> list[int]:
    """Return one number an axis, where one may stand for all."""
    return list(values) * rank if len(values) == 1 else list(values)
