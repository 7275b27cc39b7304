"""Unsigned integers of 16, 32 and 64 bits, for which torch has hardly a kernel: they are computed in int64.

int64 holds every uint16 and uint32. A uint64 keeps its bits, which is enough for sums, differences and products; where
order matters (`in_order`) the sign bit is flipped, so that comparing as signed numbers is comparing as unsigned ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WITHOUT_KERNELS = frozenset({torch.uint16, torch.uint32, torch.uint64})
_SIGN = -(2**63)


def widen(x: Tensor) -> Tensor:
    """Return the tensor as int64 where its type lacks kernels, as it is otherwise; a uint64 keeps its bits."""
    if x.dtype not in WITHOUT_KERNELS:
        return x
    return x.view(torch.int64) if x.dtype == torch.uint64 else x.to(torch.int64)


def narrow(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Undo `widen`: return the tensor in the type it had, modulo that type's range."""
    if dtype not in WITHOUT_KERNELS or x.dtype == dtype:
        return x
    return x.view(torch.uint64) if dtype == torch.uint64 else x.to(dtype)


def in_order(x: Tensor) -> Tensor:
    """Return the tensor as `widen` does, but such that signed order is the order of the values."""
    return widen(x) ^ _SIGN if x.dtype == torch.uint64 else widen(x)


def from_order(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Undo `in_order`."""
    return narrow(x ^ _SIGN if dtype == torch.uint64 else x, dtype)


def modular(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply a function for which only the bits matter (sums, products, moving elements); keep the first one's type."""
    dtype = tensors[0].dtype
    if dtype not in WITHOUT_KERNELS:
        return function(*tensors)
    return narrow(function(*map(widen, tensors)), dtype)


def ordered(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply a function that picks among values by their order (max, sort, clamp); keep the first one's type."""
    dtype = tensors[0].dtype
    if dtype not in WITHOUT_KERNELS:
        return function(*tensors)
    return from_order(function(*map(in_order, tensors)), dtype)
