"""Padding and cropping against ONNX Runtime and numpy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.importer.ops.support import check

X = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


PADS = [(0, 0, 1, 2, 0, 0, 2, 1), (1, 0, 0, 2, 0, 1, 3, 0), (0, 0, -1, 1, 0, 0, 0, -2)]


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("pads", PADS)
@pytest.mark.parametrize("opset", [2, 11, 13, 18, 19, 21])
def test_pad(mode: str, pads: tuple[int, ...], opset: int) -> None:
    if opset == 2:
        check("Pad", [X], opset=opset, mode=mode, pads=list(pads), value=1.5)
    else:
        check("Pad", [X, i64(*pads), np.array(1.5, np.float32)], opset=opset, mode=mode)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad_has_the_right_gradient(mode: str) -> None:
    for pads in ((0, 0, 1, 1, 0, 0, 2, 1), (1, 1, 0, 0, 0, 0, 1, 0), (0, 0, -1, 1, 0, 0, 0, -1)):
        check("Pad", [X[:, :, :3, :3], i64(*pads)], opset=19, constants=(1,), mode=mode, gradient=True, trace=True)


def test_pad_of_the_first_opset() -> None:
    expected = np.pad(X, [(0, 0), (0, 0), (1, 2), (0, 1)], constant_values=0.5)
    check("Pad", [X], opset=1, paddings=[0, 0, 1, 0, 0, 0, 2, 1], value=0.5, expected=[expected])


@pytest.mark.parametrize("mode", ["reflect", "wrap"])
def test_pads_wider_than_the_axis(mode: str) -> None:
    expected = np.pad(X, [(0, 0), (0, 0), (7, 0), (0, 11)], mode=mode)
    check("Pad", [X, i64(0, 0, 7, 0, 0, 0, 0, 11)], opset=19, mode=mode, expected=[expected])


def test_pad_of_chosen_axes() -> None:
    check("Pad", [X, i64(1, 2, 0, 1), None, i64(-1, 1)], opset=18)
    check("Pad", [X, i64(1, 1), None, i64(2)], opset=19, mode="wrap")


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", "float16", "float64", "uint64"])
def test_pad_of_every_type(dtype: str) -> None:
    x = (np.abs(X) * 10).astype(dtype)
    check("Pad", [x, i64(0, 0, 1, 2, 0, 0, 2, 1), np.array(1, dtype)], opset=13)
    check("Pad", [x, i64(0, 0, 1, 2, 0, 0, 2, 1)], opset=13, mode="edge")


def test_a_large_unsigned_value_is_padded_whole() -> None:
    x, value = np.arange(3, dtype=np.uint64), np.array(2**64 - 2, np.uint64)
    check("Pad", [x, i64(1, 1), value], opset=13, expected=[np.pad(x, 1, constant_values=value)])


@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 2, 7), (4, 5, 2)])
def test_center_crop_pad(shape: tuple[int, ...]) -> None:
    check("CenterCropPad", [X[0], i64(*shape)], opset=18, gradient=True)
    check("CenterCropPad", [X[0], i64(*shape[1:])], opset=18, axes=[1, 2])
    check("CenterCropPad", [X[0], i64(shape[2])], opset=18, axes=[-2])
