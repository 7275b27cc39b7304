"""Tensors made from little."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.importer.ops.support import check

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("bounds", [(0, 5, 1), (3, 10, 3), (10, 3, -2), (5, 5, 1), (5, 0, 1), (0, 3000, 1)])
def test_range(bounds: tuple[int, int, int], dtype: str) -> None:
    check("Range", [np.array(v, dtype) for v in bounds], opset=11, rtol=0, atol=0)


@pytest.mark.parametrize("bounds", [(0, 100, 0.1), (-1.5, 7.25, 0.3), (1, -1, -0.01)])
def test_range_adds_up_as_the_runtime_does(bounds: tuple[float, float, float]) -> None:
    check("Range", [np.array(v, np.float32) for v in bounds], opset=11, rtol=0, atol=0)


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "bool", "int8", "int64", "uint8", "uint16", "uint64"]
)
@pytest.mark.parametrize("sizes", [(2, 3), (0,), (), (40, 50)])
def test_constant_of_shape(sizes: tuple[int, ...], dtype: str) -> None:
    value = onnx.numpy_helper.from_array(np.array([1], dtype))
    check("ConstantOfShape", [i64(*sizes)], opset=9, value=value)


def test_constant_of_shape_is_zero_by_default() -> None:
    check("ConstantOfShape", [i64(2, 3)], opset=20)


@pytest.mark.parametrize("k", [0, 1, -1, 5])
@pytest.mark.parametrize("dtype", [None, 1, 6, 7, 9, 11, 12])
def test_eye_like(dtype: int | None, k: int) -> None:
    given: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    expected = np.eye(3, 4, k, np.float32 if dtype is None else onnx.helper.tensor_dtype_to_np_dtype(dtype))
    check("EyeLike", [X], opset=9, k=k, expected=[expected], trace=True, **given)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, 0, 1, -2, 7, -7])
def test_trilu(k: int | None, upper: int) -> None:
    inputs = [np.stack([X, X + 20]), None if k is None else np.array(k)]
    check("Trilu", inputs, opset=14, upper=upper, gradient=True)
    check("Trilu", [inputs[0].astype(np.int64), inputs[1]], opset=14, upper=upper)


def test_trilu_of_booleans() -> None:
    check("Trilu", [np.ones((3, 3), bool)], opset=14, upper=0, trace=True)
