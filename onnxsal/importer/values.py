"""The two kinds of value, and how one becomes the other.

Data lives in torch tensors. What is known before the run, and the arithmetic of shapes, lives on the *host* as numpy
arrays (dtype ``object`` where a dimension is symbolic), so that shape code costs no device round trip and traces with
symbolic dimensions. Strings are host values too. Sequences are lists, an absent optional is ``None``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

Value: TypeAlias = Any
"""A tensor, a host array, a list of values (sequence) or None (absent)."""

_REINTERPRETED = {
    np.dtype(ml_dtypes.bfloat16): (np.uint16, torch.bfloat16),
    np.dtype(ml_dtypes.float8_e4m3fn): (np.uint8, torch.float8_e4m3fn),
    np.dtype(ml_dtypes.float8_e4m3fnuz): (np.uint8, torch.float8_e4m3fnuz),
    np.dtype(ml_dtypes.float8_e5m2): (np.uint8, torch.float8_e5m2),
    np.dtype(ml_dtypes.float8_e5m2fnuz): (np.uint8, torch.float8_e5m2fnuz),
    np.dtype(ml_dtypes.float8_e8m0fnu): (np.uint8, torch.float8_e8m0fnu),
}
_REINTERPRETED_BACK = {torch_dtype: (carrier, numpy) for numpy, (carrier, torch_dtype) in _REINTERPRETED.items()}
_WIDENED = {np.dtype(ml_dtypes.int4): np.int8, np.dtype(ml_dtypes.uint4): np.uint8}
_WIDENED |= {np.dtype(getattr(ml_dtypes, "int2", ml_dtypes.int4)): np.int8}
_WIDENED |= {np.dtype(getattr(ml_dtypes, "uint2", ml_dtypes.uint4)): np.uint8}
_WIDENED |= {np.dtype(ml_dtypes.float4_e2m1fn): np.float32}


def is_text(array: np.ndarray) -> bool:
    """Say whether a host array holds strings."""
    return array.dtype.kind in "US" or (array.dtype.kind == "O" and array.size > 0 and isinstance(array.flat[0], str))


def is_symbolic(array: np.ndarray) -> bool:
    """Say whether a host array holds symbolic dimensions."""
    return array.dtype.kind == "O" and not is_text(array)


def to_tensor(array: np.ndarray, device: torch.device | None = None) -> Tensor:
    """Return a tensor over the array's own memory where the device allows it.

    Types torch lacks are carried by the nearest wider one (int4 as int8, float4 as float32).
    """
    if is_symbolic(array):
        return _symbolic_tensor(array, device)
    if array.dtype in _REINTERPRETED:
        carrier, dtype = _REINTERPRETED[array.dtype]
        tensor = _from_numpy(array.view(carrier)).view(dtype)
    else:
        tensor = _from_numpy(array.astype(_WIDENED[array.dtype]) if array.dtype in _WIDENED else array)
    return tensor if device is None or device.type == "cpu" else tensor.to(device)


def to_parameter(array: np.ndarray) -> Tensor:
    """Return a tensor over the memory of a constant, also of one that is read-only: nobody writes to a constant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        if array.dtype in _REINTERPRETED:
            carrier, dtype = _REINTERPRETED[array.dtype]
            return torch.from_numpy(array.view(carrier)).view(dtype)
        shared = array.dtype.kind in "fiubc" and array.dtype.isnative and array.dtype not in _WIDENED
        return torch.from_numpy(array) if shared else to_tensor(array)


def _from_numpy(array: np.ndarray) -> Tensor:
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(np.asarray(array, dtype=array.dtype.newbyteorder("=")))


def _symbolic_tensor(array: np.ndarray, device: torch.device | None) -> Tensor:
    dtype = torch.float32 if any(isinstance(v, (float, torch.SymFloat)) for v in array.flat) else torch.int64
    scalars = [torch.full((), v, dtype=dtype, device=device) for v in array.flat]
    return torch.stack(scalars).reshape(array.shape) if scalars else torch.zeros(array.shape, dtype=dtype)


def to_host(value: Value) -> np.ndarray:
    """Return the value as a host array; a tensor is copied from its device."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        if value.dtype in _REINTERPRETED_BACK:
            carrier, dtype = _REINTERPRETED_BACK[value.dtype]
            value = value.contiguous().view(getattr(torch, np.dtype(carrier).name))
            return np.asarray(value.numpy()).view(dtype)
        return np.asarray(value.numpy())
    return np.asarray(value)


def device_of(values: Sequence[Value]) -> torch.device | None:
    """Return the accelerator a tensor among the values lies on, else the CPU, or None without tensors."""
    devices = [v.device for v in values if isinstance(v, Tensor)]
    return next((d for d in devices if d.type != "cpu"), devices[0] if devices else None)


def on_device(value: Value, device: torch.device | None) -> Value:
    """Bring a value to where tensors are computed: host arrays become tensors, strings and lists stay."""
    if isinstance(value, np.ndarray):
        return value if is_text(value) else to_tensor(value, device)
    if isinstance(value, Tensor) and device is not None and value.device != device:
        return value.to(device)
    return value


def as_tensor(value: Value) -> Value:
    """Turn a host value into a tensor; lists element by element; strings and None stay as they are."""
    if isinstance(value, list):
        return [as_tensor(v) for v in value]
    return on_device(value, None)


def as_table(value: Value) -> Value:
    """Return a list of maps from class to score, one an example, as a tensor of rows; other values as they are."""
    if not (isinstance(value, list) and value and all(isinstance(row, dict) and row for row in value)):
        return value
    if any(list(row) != list(value[0]) for row in value) or any(isinstance(v, str) for v in value[0].values()):
        return value
    return torch.stack([torch.stack([torch.as_tensor(v) for v in row.values()]) for row in value])


def ints(value: Value) -> list[int]:
    """Return a host value or an attribute as a plain list of (possibly symbolic) integers."""
    array = to_host(value)
    return list(array.ravel()) if is_symbolic(array) else [int(v) for v in array.ravel()]
