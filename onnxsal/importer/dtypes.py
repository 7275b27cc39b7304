"""ONNX's element types (``TensorProto.DataType``) as torch and numpy types."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx import TensorProto

from onnxsal.errors import ImportFault
from onnxsal.importer.values import to_tensor


def numpy_dtype(element: int) -> np.dtype:
    """Return the numpy type of an ONNX element type; strings are objects.

    Raises:
        ImportFault: there is no such element type.
    """
    if element == TensorProto.STRING:
        return np.dtype(object)
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))
    except KeyError as error:
        raise ImportFault(f"element type {element} is unknown", hint="onnx.TensorProto.DataType names them") from error


def dtype_named(name: str) -> np.dtype:
    """Return the numpy type of a name, those that numpy itself lacks (bfloat16, int4, …) included."""
    return np.dtype(getattr(ml_dtypes, name, name))


def torch_dtype(element: int) -> torch.dtype:
    """Return the torch type that carries an ONNX element type (int4 is carried by int8, float4 by float32).

    Raises:
        ImportFault: torch has no type for it.
    """
    dtype = numpy_dtype(element)
    if dtype.kind == "O":
        raise ImportFault("strings are no tensors", hint="only Cast, Equal and the string operators make or take text")
    return to_tensor(np.zeros(0, dtype)).dtype


def element_type(name: str) -> int:
    """Return the number of an element type given by name, as opsets below 6 write it.

    Raises:
        ImportFault: there is no such element type.
    """
    if name.upper() not in TensorProto.DataType.keys():  # noqa: SIM118 (an enum wrapper, not a mapping)
        raise ImportFault(f"element type {name!r} is unknown", hint="onnx.TensorProto.DataType names them")
    return int(TensorProto.DataType.Value(name.upper()))


FLOAT8 = frozenset({torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz})
"""The 8-bit floats with sign and mantissa; torch stores and casts them, and computes nothing in them."""

TORCH_LACKS = {
    numpy_dtype(element).name: int(element)
    for element in (TensorProto.INT4, TensorProto.UINT4, TensorProto.INT2, TensorProto.UINT2, TensorProto.FLOAT4E2M1)
} | {"string": int(TensorProto.STRING), "object": int(TensorProto.STRING)}
"""Element types by name that no tensor's dtype can tell, since torch has none for them."""
