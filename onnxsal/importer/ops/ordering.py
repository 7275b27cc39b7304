"""Running sums and products, sorting and telling values apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from onnxsal.importer.operator import Host, on_host, op
from onnxsal.importer.unsigned import from_order, in_order, modular
from onnxsal.importer.values import ints, is_text


@op("CumSum", since=11)
def cum_sum(x: Tensor, axis: Host, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Add up along an axis, keeping every intermediate sum."""
    return _running(torch.cumsum, 0, x, ints(axis)[0], bool(exclusive), bool(reverse))


@op("CumProd", since=26)
def cum_prod(x: Tensor, axis: Host, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Multiply along an axis, keeping every intermediate product."""
    return _running(torch.cumprod, 1, x, ints(axis)[0], bool(exclusive), bool(reverse))


def _running(fold: Callable[..., Tensor], neutral: int, x: Tensor, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    forwards = x.flip(axis) if reverse else x
    folded = modular(lambda v: fold(v, axis, dtype=v.dtype), forwards)
    if exclusive and x.shape[axis]:  # one step late: the neutral element first, the last result left out
        first = torch.full_like(folded.narrow(axis, 0, 1), neutral)
        folded = torch.cat([first, folded.narrow(axis, 0, x.shape[axis] - 1)], axis)
    return folded.flip(axis) if reverse else folded


@op("TopK", since=11)
def top_k(
    x: Tensor,
    k: Host,
    *,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return the k largest (or smallest) values along an axis and where they were; of equal ones the first."""
    # torch.topk promises no order among equal values, a stable sort does
    values, indices = torch.sort(in_order(x), dim=axis, descending=bool(largest), stable=True)
    count = ints(k)[0]
    return from_order(values.narrow(axis, 0, count), x.dtype), indices.narrow(axis, 0, count)


@op("TopK", since=10)
def top_k_10(x: Tensor, k: Host, *, axis: int = -1) -> tuple[Tensor, Tensor]:
    """Return the k largest values along an axis and where they were (opset 10)."""
    return top_k(x, k, axis=axis)


@op("TopK")
def top_k_1(x: Tensor, *, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """Return the k largest values along an axis and where they were (opsets below 10)."""
    return top_k(x, np.array(k), axis=axis)


@op("Unique", since=11)
def unique(x: Tensor, *, axis: int | None = None, sorted: int = 1) -> tuple[Tensor, ...]:
    """Return each different value (or slice of an axis) once; where it came first, which each was, how often."""
    flat, dim = (x.flatten(), 0) if axis is None else (x, axis)
    inverse, counts = torch.unique(in_order(flat), dim=dim, return_inverse=True, return_counts=True)[1:]
    positions = torch.arange(inverse.numel(), device=x.device)
    firsts = torch.full_like(counts, inverse.numel()).scatter_reduce(0, inverse, positions, "amin")
    if not sorted:
        order = firsts.argsort()
        firsts, counts, inverse = firsts[order], counts[order], order.argsort()[inverse]
    return modular(lambda v: v.index_select(dim, firsts), flat), firsts, inverse, counts


@op("Unique", domain="com.microsoft")
def unique_in_order(x: Tensor) -> tuple[Tensor, ...]:
    """Return each different value once, in the order in which they come; which each was, how often."""
    values, _, inverse, counts = unique(x, sorted=0)
    return values, inverse, counts


@on_host(unique)
def unique_on_host(x: np.ndarray, *, axis: int | None = None, sorted: int = 1) -> tuple[np.ndarray, ...]:
    """Return each different text once; numbers are left to torch."""
    if not is_text(x) or axis is not None:
        return NotImplemented  # type: ignore[no-any-return]
    values, firsts, inverse, counts = np.unique(
        x.astype(str), return_index=True, return_inverse=True, return_counts=True
    )
    order = np.arange(len(firsts)) if sorted else np.argsort(firsts)
    places = np.argsort(order)[inverse.ravel()]
    return tuple(np.asarray(v) for v in (values[order].astype(object), firsts[order], places, counts[order]))
