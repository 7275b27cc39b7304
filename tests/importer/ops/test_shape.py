"""Operators that only look at or change shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxsal.errors import OnnxsalError
from tests.importer.ops.support import check

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
TEXT = np.array([["a", "b", "c"], ["d", "e", "f"]], object)
EVERY_TYPE = ["float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64"]
EVERY_TYPE += ["uint8", "uint16", "uint32", "uint64"]


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(("start", "end"), [(0, None), (1, None), (-1, None), (0, -1), (1, 2), (-5, 9), (2, 1)])
def test_shape(start: int, end: int | None) -> None:
    check("Shape", [X], opset=15, start=start, **({} if end is None else {"end": end}))


def test_shape_and_size_of_old_opsets_and_text() -> None:
    check("Shape", [X], opset=7)
    check("Size", [X], opset=7)
    check("Shape", [TEXT], opset=13)
    check("Size", [TEXT], opset=13)


def test_reshape_by_attribute() -> None:
    check("Reshape", [X], opset=1, shape=[0, -1], expected=[X.reshape(2, 12)])


@pytest.mark.parametrize("constants", [(), (1,)])
@pytest.mark.parametrize("sizes", [(4, 6), (0, -1), (0, 0, 2, 2), (-1,), (2, -1, 1), (1, 0, 8)])
def test_reshape(sizes: tuple[int, ...], constants: tuple[int, ...]) -> None:
    check("Reshape", [X, i64(*sizes)], opset=13, constants=constants, gradient=True)


def test_reshape_allows_zero() -> None:
    check("Reshape", [np.zeros((0, 3), np.float32), i64(3, 0)], opset=14, allowzero=1)


def test_reshape_of_text() -> None:
    check("Reshape", [TEXT, i64(3, -1)], opset=13)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -3])
def test_flatten(axis: int) -> None:
    check("Flatten", [X], opset=13, axis=axis, trace=True)


@pytest.mark.parametrize("perm", [None, [0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_transpose(perm: list[int] | None) -> None:
    given: dict[str, Any] = {} if perm is None else {"perm": perm}
    check("Transpose", [X], opset=7, gradient=True, **given)
    check("Transpose", [TEXT], opset=13)


@pytest.mark.parametrize("dtype", EVERY_TYPE)
def test_every_type_is_moved(dtype: str) -> None:
    x = X.astype(dtype)
    check("Transpose", [x], opset=13)
    check("Expand", [x[:1], i64(2, 3, 4)], opset=13)
    check("Unsqueeze", [x, i64(0, -1)], opset=13)
    if dtype != "float16":
        check("Tile", [x, i64(1, 2, 2)], opset=13)


@pytest.mark.parametrize("axes", [None, [0], [2], [0, 2], [-2], [0, -2]])
def test_squeeze(axes: list[int] | None) -> None:
    x = np.ones((1, 3, 1, 4), np.float32)
    positive = axes and [axis % 4 for axis in axes]
    check("Squeeze", [x], opset=7, **({} if positive is None else {"axes": positive}))
    check("Squeeze", [x] if axes is None else [x, i64(*axes)], opset=13)


def test_squeeze_refuses_a_dimension_that_is_not_one() -> None:
    with pytest.raises(OnnxsalError, match="is not 1"):
        check("Squeeze", [X, i64(1)], opset=13, expected=[X])


@pytest.mark.parametrize("axes", [[0], [2], [0, 4], [-1], [-1, 0], [3, 1]])
def test_unsqueeze(axes: list[int]) -> None:
    rank = 3 + len(axes)
    check("Unsqueeze", [X], opset=7, axes=[axis % rank for axis in axes])
    check("Unsqueeze", [X, i64(*axes)], opset=13, constants=(1,), gradient=True)


@pytest.mark.parametrize("sizes", [(2, 3, 4), (1,), (1, 1, 1), (5, 1, 3, 1), (3, 4), ()])
def test_expand(sizes: tuple[int, ...]) -> None:
    check("Expand", [X[:, :, :1], i64(*sizes[:-1], 1)], opset=8)
    check("Expand", [X, i64(*sizes)], opset=13, gradient=True)


def test_tile() -> None:
    check("Tile", [X, i64(2, 1, 3)], opset=6, gradient=True)
    check("Tile", [X, i64(0, 1, 1)], opset=13)
    check("Tile", [X, np.array(2, np.float32), np.array(1, np.float32)], opset=1, expected=[np.tile(X, (1, 2, 1))])


def test_identity() -> None:
    check("Identity", [X], opset=7, gradient=True)
    check("Identity", [TEXT], opset=16)
    check("Identity", [[X, X]], opset=16)
