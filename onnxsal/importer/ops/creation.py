"""Tensors made from little: counted up, filled with one value, diagonal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import SymInt, Tensor

from onnxsal.importer.dtypes import torch_dtype
from onnxsal.importer.operator import Host, op
from onnxsal.importer.shapes import HOST_SIZE, fits_host, is_known
from onnxsal.importer.values import ints, to_tensor


@op("ConstantOfShape", since=9, gradient=False)
def constant_of_shape(shape: Host, *, value: np.ndarray | None = None) -> Any:
    """Fill a tensor of the given shape with one value, zero where none is named."""
    sizes = ints(shape)
    scalar = np.zeros((), np.float32) if value is None else value.reshape(())
    return np.full(sizes, scalar) if fits_host(sizes) else to_tensor(scalar).expand(sizes)


@op("Range", since=11, gradient=False)
def range_(start: Host, limit: Host, delta: Host, *, stash_type: int = 1) -> Any:
    """Count from start up to the limit, which is left out, in steps of delta."""
    if not all(map(is_known, (start, limit, delta))):
        return _symbolic_range(start.item(), limit.item(), delta.item())
    numbers = (
        _count(start, limit, delta) if start.dtype.kind in "iu" else _add_up(start, limit, delta, bool(stash_type))
    )
    return numbers if numbers.size <= HOST_SIZE else to_tensor(numbers)


def _count(start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
    return np.arange(start.item(), limit.item(), delta.item()).astype(start.dtype)


def _add_up(start: np.ndarray, limit: np.ndarray, delta: np.ndarray, stash: bool) -> np.ndarray:
    """Return start, start + delta, ... each rounded as it is added, which is how runtimes count in floating point."""
    dtype = np.dtype(np.float32) if stash and start.dtype.itemsize < 4 else start.dtype
    first, last, step = (v.astype(dtype).reshape(()) for v in (start, limit, delta))
    terms = np.full(max(math.ceil(float(last - first) / float(step)), 0), step, dtype)
    terms[:1] = first
    return np.add.accumulate(terms, dtype=dtype).astype(start.dtype)


def _symbolic_range(start: Any, limit: Any, delta: Any) -> Tensor:
    exact = all(isinstance(v, (int, SymInt)) for v in (start, limit, delta))
    return torch.arange(start, limit, delta, dtype=torch.int64 if exact else torch.float32)


@op("EyeLike", since=9, gradient=False)
def eye_like(data: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    """Put ones on a diagonal and zeros beside it, in the input's shape."""
    return torch.eq(_above(data, k), 0).to(data.dtype if dtype is None else torch_dtype(dtype))


@op("Trilu", since=14)
def trilu(data: Tensor, k: Host | None = None, *, upper: int = 1) -> Tensor:
    """Keep the upper or the lower triangle, from the k-th diagonal on, and set the rest to zero."""
    diagonal = 0 if k is None else ints(k)[0]
    above = _above(data, diagonal)
    kept = above.ge(0) if upper else above.le(0)
    return torch.where(kept, data, torch.zeros((), dtype=data.dtype, device=data.device))


def _above(data: Tensor, k: Any) -> Tensor:
    """Return how far above the k-th diagonal each place of the last two dimensions lies."""
    rows = torch.arange(data.shape[-2], device=data.device)
    columns = torch.arange(data.shape[-1], device=data.device)
    above: Tensor = columns - (rows.unsqueeze(1) + k)
    return above
