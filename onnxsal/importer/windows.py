"""The geometry of sliding windows, shared by convolution and pooling: strides, dilations and the five ways to pad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from onnxsal.errors import ImportFault


@dataclass(frozen=True)
class Windows:
    """How windows lie over the spatial axes of one input; sizes and pads may be symbolic."""

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """How far one window reaches along each axis, gaps included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def symmetric(self) -> bool:
        """Whether every axis is padded alike on both sides, so that torch's own padding serves."""
        return all(b == e and b >= 0 for b, e in zip(self.begins, self.ends, strict=True))

    def counts(self, ceil: bool = False) -> tuple[int, ...]:
        """Return how many windows fit along each axis."""
        return tuple(self._count(axis, ceil) for axis in range(len(self.sizes)))

    def _count(self, axis: int, ceil: bool) -> int:
        stride, size, begin = self.strides[axis], self.sizes[axis], self.begins[axis]
        room = size + begin + self.ends[axis] - self.extents[axis]
        if not ceil:
            return room // stride + 1
        count = -(-room // stride) + 1
        # a window that would start behind the input sees padding only, and is dropped
        return cast("int", torch.sym_min(count, -(-(size + begin) // stride)))

    def reach(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Return the end pads at which exactly ``counts`` windows fit."""
        return tuple(
            (count - 1) * stride + extent - size - begin
            for count, stride, extent, size, begin in zip(
                counts, self.strides, self.extents, self.sizes, self.begins, strict=True
            )
        )


def windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
) -> Windows:
    """Return the windows a node's attributes describe over an input of spatial ``sizes``."""
    rank = len(kernel)
    if rank != len(sizes):
        raise ImportFault(f"a kernel of {rank} axes does not fit an input of {len(sizes)} spatial axes")
    strides, dilations = tuple(strides or (1,) * rank), tuple(dilations or (1,) * rank)
    begins, ends = _explicit(pads, rank)
    if auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
        totals = [_same(n, k, s, d) for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)]
        begins, ends = halves(totals, larger_first=auto_pad == "SAME_LOWER")
    elif auto_pad == "VALID":
        begins = ends = (0,) * rank
    elif auto_pad not in {"NOTSET", ""}:
        raise ImportFault(f"auto_pad {auto_pad!r} is unknown", hint="NOTSET, SAME_UPPER, SAME_LOWER or VALID")
    return Windows(tuple(sizes), tuple(kernel), strides, dilations, begins, ends)


def _explicit(pads: Sequence[int] | None, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pads = tuple(pads or (0,) * 2 * rank)
    return pads[:rank], pads[rank:]


def _same(size: int, kernel: int, stride: int, dilation: int) -> int:
    """Return the padding at which there is one window for every ``stride`` elements."""
    needed = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size
    return cast("int", torch.sym_max(needed, 0))


def halves(totals: Sequence[int], *, larger_first: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Split each total in two; the odd one goes to the front or to the back."""
    small, large = tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals)
    return (large, small) if larger_first else (small, large)


def flat(begins: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Return pads in the order `F.pad` wants: begin and end of the last axis first."""
    return [pad for pair in zip(reversed(begins), reversed(ends), strict=True) for pad in pair]


def window_sum(x: Tensor, view: Windows, counts: Sequence[int]) -> Tensor:
    """Sum each window of an input that is padded already; axis by axis, so any rank and dilation will do."""
    first = x.dim() - len(view.kernel)
    for axis, count in enumerate(counts):
        stride, dilation = view.strides[axis], view.dilations[axis]
        span = (count - 1) * stride + 1
        taps = [_taken(x, first + axis, i * dilation, span, stride) for i in range(view.kernel[axis])]
        x = taps[0] if len(taps) == 1 else torch.stack(taps).sum(0)
    return x


def _taken(x: Tensor, axis: int, start: int, span: int, step: int) -> Tensor:
    cut = x.narrow(axis, start, span)
    return cut if step == 1 else cut[(slice(None),) * axis + (slice(None, None, step),)]


def pad_zeros(x: Tensor, begins: Sequence[int], ends: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad the last axes with one value; negative pads cut off."""
    pads = flat(begins, ends)
    return F.pad(x, pads, value=value) if any(not isinstance(p, int) or p for p in pads) else x
