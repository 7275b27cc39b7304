"""Shapes on the host: arrays of integers, some of which may be symbolic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from onnxsal.importer.values import is_symbolic, is_text

HOST_SIZE = 1024
"""A result made on the host from shapes alone stays there up to this many elements; a larger one becomes a tensor."""


def shape_array(sizes: Iterable[Any]) -> np.ndarray:
    """Return dimensions as a host array: int64, or objects where one is symbolic."""
    dims = list(sizes)
    return settled(np.array(dims, object)) if dims else np.zeros(0, np.int64)


def settled(value: Any) -> np.ndarray:
    """Return a host value as an array, of a plain dtype where none of its elements is symbolic."""
    array = value if isinstance(value, np.ndarray) else np.array(value, object)
    if array.dtype.kind != "O" or array.size == 0 or is_text(array):
        return array
    for kind, dtype in ((bool, np.bool_), (int, np.int64), (float, np.float32)):
        if all(isinstance(v, kind) for v in array.flat):
            return array.astype(dtype)
    return array


def is_known(array: np.ndarray | None) -> bool:
    """Say whether a host array is plain numbers: absent, or without symbolic elements."""
    return array is None or not is_symbolic(array) or not any(isinstance(v, torch.SymInt) for v in array.flat)


def is_zero(size: Any) -> bool:
    """Say whether a dimension is the number 0; a symbolic one is not, whatever it stands for."""
    return isinstance(size, int) and size == 0


def fits_host(sizes: Iterable[Any]) -> bool:
    """Say whether an array of these dimensions is known and small enough to live on the host."""
    sizes = list(sizes)
    return all(isinstance(s, int) for s in sizes) and int(np.prod(sizes, dtype=np.float64)) <= HOST_SIZE


__all__ = ["HOST_SIZE", "fits_host", "is_known", "is_zero", "settled", "shape_array"]
