"""Numpy arrays from files that are not trusted."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from onnxsal.errors import InputError
from onnxsal.readers.npy import decode, read_npy

from .support import npy, port

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    np.array(3, dtype=np.int64),
    np.zeros((0, 4), np.uint8),
    np.arange(4, dtype=">i4"),
    np.array(["ä", "bc"]),
    np.array([True, False]),
    np.array([1 + 2j]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_array_comes_back(array: np.ndarray) -> None:
    back = decode(npy(array))
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.flags.writeable
    assert back.flags.c_contiguous


def test_feeds_the_one_port() -> None:
    array = np.ones((1, 3, 8, 8), np.float32)
    readings = read_npy(npy(array), [port("pixel/values:0")])
    assert list(readings) == ["pixel/values:0"]
    np.testing.assert_array_equal(readings["pixel/values:0"].array, array)


def test_one_file_for_several_ports_is_refused() -> None:
    with pytest.raises(InputError, match="waits for 2: a, b"):
        read_npy(npy(np.zeros(3)), [port("a"), port("b")])


class Bomb:
    """Unpickling it fails the test."""

    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("it was unpickled",)


def test_pickles_are_never_opened() -> None:
    data = npy(np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickled"):
        decode(data)
    with pytest.raises(InputError, match=r"not an \.npy"):
        decode(pickle.dumps(Bomb()))


def header(shape: str, descr: str = "<f4") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(9223372036854775807, 9223372036854775807)", "(-1,)", "(-2, -3)"]
)
def test_declared_size_is_not_trusted(shape: str) -> None:
    with pytest.raises(InputError, match="truncated"):
        decode(header(shape) + b"\0" * 64)


@pytest.mark.parametrize(
    "data",
    [
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x09\x00" + b"\0" * 20,
        header("(2,)", "<q9") + b"\0" * 8,
        header("__import__('os')") + b"\0" * 8,
        header("('a',)"),
    ],
)
def test_damaged_header(data: bytes) -> None:
    with pytest.raises(InputError, match="damaged"):
        decode(data)


def test_every_truncation_is_noticed() -> None:
    data = npy(np.arange(8, dtype=np.float32))
    for length in range(len(data)):
        with pytest.raises(InputError):
            decode(data[:length])
