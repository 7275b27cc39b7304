"""Arithmetic on host arrays, element by element where they hold symbolic dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from onnxsal.importer.values import is_symbolic

Scalar = Any
"""An int, a float or their symbolic kin."""


def elementwise(whole: Callable[..., Any], scalar: Callable[..., Any] | None = None) -> Callable[..., np.ndarray]:
    """Return a host body: numpy's function, or the scalar one for each element where one is symbolic.

    Without a scalar function, symbolic arrays are left to torch.
    """

    def body(*arrays: np.ndarray) -> np.ndarray:
        if not any(is_symbolic(array) for array in arrays):
            with np.errstate(all="ignore"):
                return np.asarray(whole(*arrays))
        return NotImplemented if scalar is None else by_element(scalar, *arrays)

    return body


def by_element(scalar: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """Apply a function of scalars to every element, with broadcasting; the result is an object array."""
    return objects(np.frompyfunc(scalar, len(arrays), 1)(*arrays))


def objects(value: Any) -> np.ndarray:
    """Return an object array of the value, which may be a bare symbolic number."""
    if isinstance(value, np.ndarray):
        return value
    array = np.empty((), object)
    array[()] = value
    return array


def is_real(value: Scalar) -> bool:
    """Say whether a scalar is a floating number."""
    return isinstance(value, (float, torch.SymFloat))


def divide(a: Scalar, b: Scalar) -> Scalar:
    """Divide; integers towards zero."""
    if is_real(a) or is_real(b):
        return a / b
    quotient = a // b
    return quotient + 1 if quotient < 0 and quotient * b != a else quotient


def divide_arrays(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Divide; integers towards zero."""
    if a.dtype.kind not in "iu":
        return np.asarray(a / b)
    quotient = a // b
    inexact = (quotient < 0) & (quotient * b != a)
    return np.asarray(quotient + inexact.astype(quotient.dtype))


def smaller(a: Scalar, b: Scalar) -> Scalar:
    """Return the smaller one."""
    return torch.sym_min(a, b)


def larger(a: Scalar, b: Scalar) -> Scalar:
    """Return the larger one."""
    return torch.sym_max(a, b)


def floor(value: Scalar) -> Scalar:
    """Round down, and stay a floating number."""
    return to_real(math.floor(value))


def ceil(value: Scalar) -> Scalar:
    """Round up, and stay a floating number."""
    return to_real(math.ceil(value))


def root(value: Scalar) -> Scalar:
    """Return the square root."""
    return torch._sym_sqrt(value)  # type: ignore[attr-defined]


def to_real(value: Scalar) -> Scalar:
    """Turn a scalar into a floating number."""
    return torch.sym_float(value)


def to_whole(value: Scalar) -> Scalar:
    """Cut off a scalar's fraction."""
    return torch.sym_int(value)


def reduce_along(scalar: Callable[..., Any], array: np.ndarray, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """Fold a symbolic array along axes with a function of two scalars."""
    folded = objects(array)
    for axis in sorted((a % array.ndim for a in axes), reverse=True):
        folded = objects(np.frompyfunc(scalar, 2, 1).reduce(folded, axis=axis))
        folded = np.expand_dims(folded, axis) if keepdims else folded
    return folded
