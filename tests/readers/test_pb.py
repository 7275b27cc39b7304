"""ONNX tensors as inputs."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxsal.errors import InputError
from onnxsal.readers.pb import decode, read_pb

from .support import port


@pytest.mark.parametrize(
    "array",
    [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(3), np.array([1.5], ml_dtypes.bfloat16), np.zeros((0, 2))],
    ids=str,
)
def test_array_comes_back(array: np.ndarray) -> None:
    data = numpy_helper.from_array(array).SerializeToString()
    np.testing.assert_array_equal(read_pb(data, [port()])["input"].array, array)
    assert decode(data).dtype == array.dtype


def test_texts() -> None:
    tensor = onnx.helper.make_tensor("t", onnx.TensorProto.STRING, [2], ["ä", "b"])
    assert decode(tensor.SerializeToString()).tolist() == ["ä", "b"]


def test_other_files_stay_closed() -> None:
    tensor = numpy_helper.from_array(np.ones(2, np.float32))
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    tensor.ClearField("raw_data")
    with pytest.raises(InputError, match="another file"):
        decode(tensor.SerializeToString())


def test_values_that_do_not_fill_the_shape() -> None:
    tensor = numpy_helper.from_array(np.ones(2, np.float32))
    tensor.dims[0] = 1 << 40
    with pytest.raises(InputError, match="do not fit"):
        decode(tensor.SerializeToString())


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"", b"\x08\x03"])
def test_damaged(data: bytes) -> None:
    with pytest.raises(InputError):
        decode(data)
