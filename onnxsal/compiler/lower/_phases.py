"""The way back through a strided convolution, by phases.

Places of the input that are a stride apart meet the same filter elements, every stride-th of them. So each such phase
of the input's gradient is a convolution of stride 1 with part of the filters, and the phases are laid between each
other.
ONNX Runtime computes that faster than a ConvTranspose, with the exception of few maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxsal.compiler.emit import Builder, Value, zero_of
from onnxsal.compiler.lower._filters import Window, kernel_of, turned_round

FEWEST_MAPS = 16
"""From how many maps on phases are faster."""


@dataclass(frozen=True)
class Phase:
    """The places of one axis that are as far from a window's start.

    Args:
        first: The first filter element they meet.
        step: How far the next one is.
        taps: How many they meet.
        pads: What is laid before and behind the gradient.
    """

    first: int
    step: int
    taps: int
    pads: tuple[int, int]


def by_phases(g: Builder, gradient: Value, x: Value, w: Value, window: Window) -> Value | None:
    """Return the gradient by the input, or None where phases are not to be had or not faster."""
    assert x.shape is not None
    assert gradient.shape is not None
    sizes, answers = x.shape[2:], gradient.shape[2:]
    known = all(isinstance(size, int) for size in (*x.shape[1:], *answers))
    if not known or x.rank != 4 or max(window.dilation) > 1 or x.shape[1] < FEWEST_MAPS:
        return None
    each = zip(sizes, answers, kernel_of(w), window.stride, window.padding, strict=True)
    axes = [_phases_of(*numbers) for numbers in each]
    if not all(axes):
        return None
    counts = [-(-size // stride) for size, stride in zip(sizes, window.stride, strict=True)]
    rows, columns = axes
    found = [[_phase(g, gradient, w, window.groups, row, column) for column in columns] for row in rows]
    laid = _interleaved(g, _filled(g, found, zero_of(gradient.dtype)), counts)
    wide = [count * stride for count, stride in zip(counts, window.stride, strict=True)]
    return laid if wide == list(sizes) else g.Slice(laid, [0, 0], list(sizes), [2, 3])


def _phases_of(size: int, answer: int, kernel: int, stride: int, padding: int) -> list[Phase]:
    """Return the phases of an axis; none where a gradient would have to be cut."""
    phases, count = [], -(-size // stride)
    for place in range(stride):
        ahead, first = divmod(place + padding, stride)
        taps = len(range(first, kernel, stride))
        before = taps - 1 - ahead
        behind = count - answer - before + taps - 1
        if taps and min(before, behind) < 0:
            return []
        phases.append(Phase(first, stride, taps, (before, behind)))
    return phases


def _phase(g: Builder, gradient: Value, w: Value, groups: int, row: Phase, column: Phase) -> Value | None:
    """Return the gradient at the places of a phase; None where no window reaches them."""
    assert w.shape is not None
    if not row.taps or not column.taps:
        return None
    filters, channels, *ends = w.shape
    met = g.Slice(w, [row.first, column.first], ends, [2, 3], [row.step, column.step])
    part = Value(met.name, w.dtype, (filters, channels, row.taps, column.taps))
    pads = [row.pads[0], column.pads[0], row.pads[1], column.pads[1]]
    return g.Conv(gradient, turned_round(g, part, groups), pads=pads, group=groups, kernel_shape=kernel_of(part))


def _filled(g: Builder, found: Sequence[Sequence[Value | None]], zero: np.ndarray) -> list[list[Value]]:
    """Return the phases, zeros where no window reaches."""
    some = next(value for row in found for value in row if value is not None)
    return [[g.Expand(zero, g.Shape(some)) if value is None else value for value in row] for row in found]


def _interleaved(g: Builder, phases: Sequence[Sequence[Value]], counts: Sequence[int]) -> Value:
    """Lay phases [rows][columns] of maps between each other, columns first."""
    height, width = counts
    rows = [_joined(g, row, [0, 0, height, width, 1], 4) for row in phases]
    whole = _joined(g, rows, [0, 0, height, 1, width * len(phases[0])], 3)
    return g.Reshape(whole, [0, 0, height * len(phases), width * len(phases[0])])


def _joined(g: Builder, parts: Sequence[Value], shape: Sequence[int], axis: int) -> Value:
    """Return the parts side by side along a new axis."""
    if len(parts) == 1:
        return parts[0]
    return g.Concat(*(g.Reshape(part, list(shape)) for part in parts), axis=axis)
