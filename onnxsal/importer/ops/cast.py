"""Conversion between element types, text included."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from onnxsal.errors import ImportFault
from onnxsal.importer import symbolic
from onnxsal.importer.dtypes import FLOAT8, element_type, numpy_dtype, torch_dtype
from onnxsal.importer.operator import on_host, op
from onnxsal.importer.unsigned import widen
from onnxsal.importer.values import is_symbolic, is_text, to_host

_BITS: dict[int, tuple[int, bool]] = {
    TensorProto.INT4: (4, True),
    TensorProto.UINT4: (4, False),
    TensorProto.INT2: (2, True),
    TensorProto.UINT2: (2, False),
}
"""The integers narrower than a byte, which a byte carries: width and whether they have a sign."""


@op("Cast", since=24)
def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """Convert to another element type."""
    if to == TensorProto.STRING:
        return to_text(to_host(x))  # type: ignore[return-value]
    if to in _BITS:
        return _wrap(x, *_BITS[to])
    if to == TensorProto.FLOAT4E2M1:
        return _to_float4(x)
    return convert(x, torch_dtype(to), bool(saturate), round_mode)


@op("Cast", since=19)
def cast_19(x: Tensor, *, to: int, saturate: int = 1) -> Tensor:
    """Convert to another element type (opsets 19 to 23)."""
    return cast(x, to=to, saturate=saturate)


@op("Cast", since=6)
def cast_6(x: Tensor, *, to: int) -> Tensor:
    """Convert to another element type (opsets 6 to 18)."""
    return cast(x, to=to)


@op("Cast")
def cast_1(x: Tensor, *, to: str) -> Tensor:
    """Convert to an element type given by name (opsets below 6)."""
    return cast(x, to=element_type(to))


@op("CastLike", since=24)
def cast_like(x: Tensor, target_type: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """Convert to the element type of another value."""
    if isinstance(target_type, np.ndarray):  # text
        return to_text(to_host(x))  # type: ignore[return-value]
    return convert(x, target_type.dtype, bool(saturate), round_mode)


@op("CastLike", since=19)
def cast_like_19(x: Tensor, target_type: Tensor, *, saturate: int = 1) -> Tensor:
    """Convert to the element type of another value (opsets 19 to 23)."""
    return cast_like(x, target_type, saturate=saturate)


@op("CastLike", since=15)
def cast_like_15(x: Tensor, target_type: Tensor) -> Tensor:
    """Convert to the element type of another value (opsets 15 to 18)."""
    return cast_like(x, target_type)


def convert(x: Tensor, dtype: torch.dtype, saturate: bool = True, round_mode: str = "up") -> Tensor:
    """Return the tensor in another type; ``saturate`` and ``round_mode`` matter for 8-bit floats only."""
    if x.dtype == dtype:
        return x
    if dtype in FLOAT8:
        return _to_float8(x, dtype, saturate)
    if dtype == torch.float8_e8m0fnu:
        return _to_power_of_two(x.float(), saturate, round_mode)
    if x.dtype == torch.uint64 and dtype.is_floating_point:
        return _float_of_uint64(x).to(dtype)
    return x.to(dtype)


def _float_of_uint64(x: Tensor) -> Tensor:
    bits, half = widen(x), 0xFFFFFFFF
    return ((bits >> 32) & half).double() * 2.0**32 + (bits & half).double()


def _to_float8(x: Tensor, dtype: torch.dtype, saturate: bool) -> Tensor:
    x = x if x.is_floating_point() and x.element_size() > 1 else x.float()
    largest = torch.finfo(dtype).max
    if saturate:
        return x.clamp(-largest, largest).to(dtype)
    if dtype == torch.float8_e4m3fn:  # no infinity: what rounds beyond the largest is no number
        x = torch.where(x.abs() > _E4M3FN_TIE, math.nan, x)
    return x.to(dtype)


_E4M3FN_TIE = 464.0  # halfway between the largest float8_e4m3fn and what would come next


def _to_power_of_two(x: Tensor, saturate: bool, round_mode: str) -> Tensor:
    """Return the exponent of a float32, rounded by its mantissa, as a type that is all exponent."""
    bits = x.view(torch.int32)
    exponent, mantissa = (bits >> 23) & 255, bits & 0x7FFFFF
    if round_mode == "up":
        upwards = mantissa > 0
    elif round_mode == "nearest":  # a tie goes up, but from the smallest exponent it goes down
        upwards = (mantissa > 0x400000) | ((mantissa == 0x400000) & (exponent > 0))
    elif round_mode == "down":
        upwards = torch.zeros_like(mantissa, dtype=torch.bool)
    else:
        raise ImportFault(f"round_mode is {round_mode!r}", hint="up, down and nearest are known")
    limit = 254 if saturate else 255
    rounded = torch.where(exponent == 255, 255, (exponent + upwards.to(torch.int32)).clamp(max=limit))
    return rounded.to(torch.uint8).view(torch.float8_e8m0fnu)


def _to_float4(x: Tensor) -> Tensor:
    """Round to what a float4 can hold: a sign and 0, 0.5, 1, 1.5, 2, 3, 4 or 6; a float32 carries it."""
    x = torch.where(x.isnan(), -0.0, x.float())  # it has no NaN either
    size = x.abs().clamp(max=6)
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    return torch.copysign(torch.round(size / step) * step, x)


def _wrap(x: Tensor, bits: int, signed: bool) -> Tensor:
    """Cut an integer down to its lowest bits."""
    half, mask = 1 << (bits - 1), (1 << bits) - 1
    lowest = (widen(x) if not x.is_floating_point() else x.float()).to(torch.int64) & mask
    return ((lowest ^ half) - half).to(torch.int8) if signed else lowest.to(torch.uint8)


def to_text(array: np.ndarray) -> np.ndarray:
    """Return numbers as text, written as ONNX Runtime writes them."""
    if is_text(array):
        return array
    write = _write_integer if array.dtype.kind in "iub" else _write_float
    text = np.empty(array.shape, object)
    text[...] = np.reshape([write(v) for v in array.ravel()], array.shape) if array.size else text
    return text


def _write_integer(value: int) -> str:
    return str(int(value))


def _write_float(value: float) -> str:
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "INF" if value > 0 else "-INF"
    return f"{float(value):.8g}"


def from_text(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return text as numbers."""
    read: Callable[[str], float] = (lambda v: int(float(v)) if "." in v else int(v)) if dtype.kind in "iub" else float
    return np.array([read(str(v)) for v in array.ravel()]).astype(dtype).reshape(array.shape)


def _cast_on_host(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "O":
        return to_text(array)
    if is_text(array):
        return from_text(array, dtype)
    if is_symbolic(array):
        return _cast_symbols(array, dtype)
    if dtype.kind not in "fiub" or array.dtype.kind not in "fiub":
        return NotImplemented  # type: ignore[no-any-return]  # ml_dtypes' own rounding is not ONNX's
    with np.errstate(all="ignore"):
        return array.astype(dtype)


def _cast_symbols(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "b":
        return np.array([bool(v != 0) for v in array.flat], bool).reshape(array.shape)
    scalar = symbolic.to_whole if dtype.kind in "iu" else symbolic.to_real
    return symbolic.by_element(scalar, array)


@on_host(cast)
@on_host(cast_19)
@on_host(cast_6)
def cast_on_host(x: np.ndarray, *, to: int, saturate: int = 1, round_mode: str = "up") -> np.ndarray:
    """Convert to another element type; the attributes are for types that are left to torch."""
    del saturate, round_mode
    return _cast_on_host(x, numpy_dtype(to))


@on_host(cast_1)
def cast_1_on_host(x: np.ndarray, *, to: str) -> np.ndarray:
    """Convert to an element type given by name."""
    return _cast_on_host(x, numpy_dtype(element_type(to)))


@on_host(cast_like)
@on_host(cast_like_19)
@on_host(cast_like_15)
def cast_like_on_host(
    x: np.ndarray, target_type: np.ndarray, *, saturate: int = 1, round_mode: str = "up"
) -> np.ndarray:
    """Convert to the element type of another value."""
    del saturate, round_mode
    if is_symbolic(target_type):
        return _cast_on_host(x, np.dtype(np.float32 if any(map(symbolic.is_real, target_type.flat)) else np.int64))
    return _cast_on_host(x, target_type.dtype if not is_text(target_type) else np.dtype(object))


@op("BitCast", since=26, gradient=False)
def bit_cast(x: Tensor, *, to: int) -> Tensor:
    """Read the same bits as another element type of the same size."""
    dtype = torch_dtype(to)
    if to in _BITS or to == TensorProto.FLOAT4E2M1 or dtype.itemsize != x.element_size():
        raise ImportFault(f"{x.dtype} has not the size of {dtype}", hint="BitCast keeps every bit")
    return x.view(dtype)
