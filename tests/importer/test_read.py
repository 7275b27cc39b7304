from __future__ import annotations

import os
from mmap import mmap
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxsal
from onnxsal.errors import ModelError
from onnxsal.importer.read import read_array, read_proto
from tests import models_for_tests as tiny


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04 whatever this is", "a zip archive"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"<html>404</html>", "text (a web page?)"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"\x00\x01\x02\x03\x04", "not an ONNX model"),
        (tiny.linear().SerializeToString()[:-7], "truncated"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "no graph"),
    ],
)
def test_a_file_that_is_no_model_is_refused_with_a_guess(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as fault:
        onnxsal.load(path)
    assert says in str(fault.value)
    assert "model.onnx" in str(fault.value)
    assert fault.value.exit_code == 3


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    tiny.save(tiny.linear(), tmp_path, "other.onnx")
    with pytest.raises(ModelError, match=r"no such file\n.*other.onnx"):
        onnxsal.load(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="this is a folder"):
        onnxsal.load(tmp_path)


def test_a_model_without_opset_is_refused() -> None:
    proto = tiny.linear()
    del proto.opset_import[:]
    with pytest.raises(ModelError, match="declares no opset"):
        read_proto(proto.SerializeToString())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_arrays_come_back_as_they_were_written(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    got = read_array(numpy_helper.from_array(array), None)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


def test_typed_fields_are_read_too() -> None:
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [3], [1, 2, 3])
    assert not tensor.HasField("raw_data")
    np.testing.assert_array_equal(read_array(tensor, None), np.float32([1, 2, 3]))


def test_values_given_twice_are_refused() -> None:
    tensor = numpy_helper.from_array(np.float32([1, 2]), "weight")
    tensor.float_data.extend([3, 4])
    with pytest.raises(ModelError, match=r"'weight'.*raw_data and in float_data"):
        read_array(tensor, None)


def test_values_that_do_not_fill_the_shape_are_refused() -> None:
    tensor = numpy_helper.from_array(np.float32([1, 2]), "weight")
    tensor.dims[0] = 2**40
    with pytest.raises(ModelError, match="do not fit the declared shape"):
        read_array(tensor, None)


def external(folder: Path, location: str, **fields: int) -> TensorProto:
    """Return a tensor of four floats whose data lie elsewhere."""
    tensor = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **fields}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def is_mapped(array: np.ndarray) -> bool:
    """Say whether an array lies in a mapped file."""
    owner: object = array
    while isinstance(owner, (np.ndarray, memoryview)):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    return isinstance(owner, mmap)


def test_a_file_is_mapped_once_however_many_arrays_lie_in_it(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(16 * 200))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    arrays = [read_array(external(tmp_path, "data.bin", offset=16 * i, length=16), tmp_path) for i in range(200)]
    assert all(map(is_mapped, arrays))
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_external_data_is_mapped_at_its_offset(tmp_path: Path) -> None:
    np.arange(8, dtype=np.float32).tofile(tmp_path / "data.bin")
    got = read_array(external(tmp_path, "data.bin", offset=16, length=16), tmp_path)
    np.testing.assert_array_equal(got, np.float32([4, 5, 6, 7]))
    assert is_mapped(got)
    got[0] = -1  # a copy on write: the file stays as it is
    assert np.fromfile(tmp_path / "data.bin", np.float32)[4] == 4


def test_external_data_out_of_step_are_copied(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"\0" * 3 + np.arange(4, dtype=np.float32).tobytes())
    got = read_array(external(tmp_path, "data.bin", offset=3), tmp_path)
    np.testing.assert_array_equal(got, np.float32([0, 1, 2, 3]))
    assert got.flags.aligned


def test_external_data_stays_in_the_models_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    secret = tmp_path / "secret.bin"
    np.arange(4, dtype=np.float32).tofile(secret)
    os.symlink(secret, home / "link.bin")
    os.link(secret, home / "hard.bin")
    os.symlink(tmp_path, home / "up")
    for location in (
        "../secret.bin",
        str(secret),
        "link.bin",
        "hard.bin",
        "up/secret.bin",
        "home/../../secret.bin",
        "",
    ):
        with pytest.raises(ModelError, match="'weight'"):
            read_array(external(home, location), home)


@pytest.mark.parametrize(
    ("location", "fields", "says"),
    [
        ("missing.bin", {}, "is missing"),
        ("data.bin", {"offset": 8}, "ends beyond data.bin"),
        ("data.bin", {"offset": -4}, "must be non-negative"),
        ("data.bin", {"length": 15}, "has 15 bytes"),
    ],
)
def test_external_data_that_does_not_fit_is_refused(
    tmp_path: Path, location: str, fields: dict[str, int], says: str
) -> None:
    np.arange(4, dtype=np.float32).tofile(tmp_path / "data.bin")
    with pytest.raises(ModelError, match=says):
        read_array(external(tmp_path, location, **fields), tmp_path)


def test_external_data_of_a_model_without_a_folder_asks_for_the_path(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="given as bytes"):
        read_array(external(tmp_path, "data.bin"), None)


def test_a_model_with_external_data_is_explained_and_hashed_with_it(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(tiny.linear(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = onnxsal.load(path)
    a = onnxsal.explain(before, {"x": np.ones((1, 3), np.float32)}, target=0, abs=False)
    np.testing.assert_array_equal(a.values["x"], [tiny.WEIGHT[:, 0]])
    data = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(data[::-1])
    assert onnxsal.load(path).sha256 != before.sha256
