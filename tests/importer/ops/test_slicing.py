"""Concat, Split, Slice and Compress in every opset's way of saying it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.importer.ops.support import check

X = np.arange(60, dtype=np.float32).reshape(5, 4, 3)
TEXT = np.array([["a", "b", "c"], ["d", "e", "f"]], object)
FAR = 2**63 - 1


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_concat() -> None:
    check("Concat", [X, X], opset=1, expected=[np.concatenate([X, X], 1)])
    check("Concat", [X, X[:2], X], opset=7, axis=0, gradient=True)
    check("Concat", [X, X[..., :1]], opset=13, axis=-1)
    check("Concat", [TEXT, TEXT], opset=13, axis=1)


@pytest.mark.parametrize("dtype", ["float16", "bool", "int8", "int64", "uint16", "uint32", "uint64"])
def test_every_type_is_cut_and_joined(dtype: str) -> None:
    x = X.astype(dtype)
    check("Concat", [x, x], opset=13, axis=0)
    check("Slice", [x, i64(4), i64(0), i64(0), i64(-2)], opset=13)
    check("Compress", [x, np.array([True, False, True])], opset=11, axis=0)


def test_split_by_attribute() -> None:
    check("Split", [X], opset=2, n_outputs=2, axis=1)
    check("Split", [X], opset=7, n_outputs=3, axis=0, split=[1, 3, 1], gradient=True)
    check("Split", [X], opset=11, n_outputs=2, axis=-2, split=[1, 3])


def test_split_of_the_first_opset() -> None:
    expected = [X[:2], X[2:]]
    check("Split", [X], opset=1, n_outputs=2, axis=0, split=[2, 3], expected=expected)
    check("Split", [X, i64(2, 3)], opset=1, n_outputs=2, expected=expected)


def test_split_by_input() -> None:
    check("Split", [X, i64(2, 2)], opset=13, n_outputs=2, axis=1)
    check("Split", [X, i64(1, 4)], opset=13, n_outputs=2, constants=(1,))
    check("Split", [X], opset=13, n_outputs=4, axis=1, trace=True)


@pytest.mark.parametrize(("size", "count"), [(6, 3), (7, 3), (5, 2), (7, 4)])
def test_split_into_parts_of_which_the_last_is_smaller(size: int, count: int) -> None:
    check("Split", [np.arange(size, dtype=np.float32)], opset=18, n_outputs=count, num_outputs=count)


def test_slice_by_attribute() -> None:
    check("Slice", [X], opset=1, starts=[1, 0], ends=[3, 2], expected=[X[1:3, :2]])
    check("Slice", [X], opset=7, starts=[-2, 1], ends=[1000, -1], axes=[0, 2], gradient=True)


BOUNDS = [(0, 3), (1, 100), (-2, FAR), (-100, 2), (3, 1), (-1, -4), (1, -1), (100, 0), (-1, -FAR), (FAR, -FAR - 1)]
BOUNDS += [(-100, -101), (-6, -7), (4, 0), (0, 0), (-1, 2**31 - 1), (3, FAR)]


@pytest.mark.parametrize("step", [1, 2, 5, -1, -2, -5])
@pytest.mark.parametrize(("start", "end"), BOUNDS)
def test_slice_by_input(start: int, end: int, step: int) -> None:
    check("Slice", [X, i64(start), i64(end), i64(0), i64(step)], opset=10, constants=(1, 2, 3, 4))
    check("Slice", [TEXT, i64(start), i64(end), i64(1), i64(step)], opset=13)


def test_slice_of_several_axes() -> None:
    bounds = [i64(3, -1), i64(0, -FAR), i64(0, -1), i64(-2, -1)]
    check("Slice", [X, *bounds], opset=13, gradient=True, trace=False)
    check("Slice", [X, i64(1, 1), i64(3, 3)], opset=13)
    check("Slice", [X, np.array([1], np.int32), np.array([3], np.int32), np.array([-1], np.int32)], opset=13)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_compress(axis: int | None) -> None:
    given: dict[str, Any] = {} if axis is None else {"axis": axis}
    check("Compress", [X, np.array([True, False, True])], opset=11, gradient=True, **given)
    check("Compress", [TEXT, np.array([False, True])], opset=9, **({} if axis is None else {"axis": axis % 2}))
