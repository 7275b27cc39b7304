"""Single tensors in ONNX's own encoding, as its test data hold them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from onnxsal.entries import Reader
from onnxsal.errors import InputError, ModelError
from onnxsal.hookspecs import hookimpl
from onnxsal.readers._ports import only
from onnxsal.types import Port, Reading

if TYPE_CHECKING:
    import numpy as np


def read_pb(data: bytes, ports: Sequence[Port]) -> dict[str, Reading]:
    """Read an ONNX TensorProto (`input_0.pb`); data kept in other files are refused."""
    return {only(ports, "a .pb file").name: Reading(decode(data))}


def decode(data: bytes) -> np.ndarray:
    """Return the array in a serialised TensorProto.

    Raises:
        InputError: not a tensor, damaged, or one that points to another file.
    """
    import onnx
    from google.protobuf.message import DecodeError

    from onnxsal.importer.read import read_array

    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(data)
    except DecodeError as error:
        raise InputError("not an ONNX tensor, or a truncated one", hint="write it with onnx.numpy_helper") from error
    if tensor.data_type == onnx.TensorProto.UNDEFINED:
        raise InputError("no tensor in this file", hint="sequences and optionals go into an .npz")
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise InputError("the tensor points to another file, which is not opened", hint="save it with its values")
    try:
        return read_array(tensor, None)
    except ModelError as error:
        raise InputError(error.what, where=error.where, hint=error.hint) from error


@hookimpl
def onnxsal_readers() -> Iterable[Reader]:
    """Yield the reader of ONNX tensors."""
    yield Reader("pb", read_pb, suffixes=(".pb",))
