from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.importer.ops.support import check

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
TIES = np.array([[3, 1, 3, 2], [0, 0, 0, 0], [5, 6, 7, 5]], np.float32)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("options", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}])
@pytest.mark.parametrize("opset", [11, 14])
def test_cum_sum(axis: int, options: dict[str, int], opset: int) -> None:
    check("CumSum", [X, np.array(axis)], opset=opset, constants=(1,), gradient=True, trace=True, **options)


@pytest.mark.parametrize("options", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}])
def test_cum_prod(options: dict[str, int]) -> None:
    forwards = X[:, ::-1] if options.get("reverse") else X
    product = np.cumprod(forwards, 1)
    if options.get("exclusive"):
        product = np.concatenate([np.ones_like(X[:, :1]), product[:, :-1]], 1)
    expected = product[:, ::-1] if options.get("reverse") else product
    check("CumProd", [X, np.array(1)], opset=26, constants=(1,), gradient=True, expected=[expected], **options)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64, np.float64])
def test_sums_keep_their_type(dtype: type) -> None:
    x = np.array([3, 0, 7, 2], dtype)
    check("CumSum", [x, np.array(0)], opset=14, expected=[np.cumsum(x, dtype=dtype)])


def test_sum_of_nothing() -> None:
    check("CumSum", [np.zeros((2, 0), np.float32), np.array(1)], opset=14, exclusive=1)


@pytest.mark.parametrize("constants", [(), (1,)])
@pytest.mark.parametrize("options", [{}, {"axis": 0}, {"axis": 1, "largest": 0}, {"largest": 0}])
@pytest.mark.parametrize("opset", [11])
def test_top_k(constants: tuple[int, ...], options: dict[str, int], opset: int) -> None:
    distinct = X[0]
    inputs = [distinct, np.array([2])]
    trace = bool(constants)
    check("TopK", inputs, opset=opset, n_outputs=2, constants=constants, gradient=trace, trace=trace, **options)
    check("TopK", [TIES, np.array([2])], opset=opset, n_outputs=2, constants=constants, **options)


def test_top_k_of_old_opsets() -> None:
    check("TopK", [TIES, np.array([3])], opset=10, n_outputs=2, axis=1)
    expected = [np.array([[3, 3], [0, 0], [7, 6]], np.float32), np.array([[0, 2], [0, 1], [2, 1]])]
    check("TopK", [TIES], opset=1, n_outputs=2, axis=1, k=2, expected=expected)


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.uint16, np.uint32, np.uint64, np.float16])
def test_top_k_of_other_types(dtype: type) -> None:
    big = 1000 if dtype == np.float16 else np.iinfo(dtype).max
    x = np.array([3, big, 0, 5], dtype)
    expected = [np.array([big, 5], dtype), np.array([1, 3])]
    check("TopK", [x, np.array([2])], opset=24, n_outputs=2, expected=expected)
    expected = [np.array([0, 3], dtype), np.array([2, 0])]
    check("TopK", [x, np.array([2])], opset=24, n_outputs=2, largest=0, expected=expected)


def test_top_none() -> None:
    check("TopK", [TIES, np.array([0])], opset=11, n_outputs=2)


@pytest.mark.parametrize("options", [{}, {"sorted": 0}, {"axis": 0}, {"axis": 1}, {"axis": -1, "sorted": 0}])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8, np.float64])
def test_unique(options: dict[str, Any], dtype: type) -> None:
    x = np.array([[2, 1, 1, 2], [0, 3, 3, 0], [2, 1, 1, 2]], dtype)
    check("Unique", [x], opset=11, n_outputs=4, **options)


@pytest.mark.parametrize("options", [{}, {"sorted": 0}])
def test_unique_of_text(options: dict[str, Any]) -> None:
    x = np.array(["b", "a", "b", "c", "a"], object)
    check("Unique", [x], opset=11, n_outputs=4, **options)


def test_unique_of_large_unsigned() -> None:
    x = np.array([2**64 - 1, 3, 2**64 - 1], np.uint64)
    expected = [np.array([3, 2**64 - 1], np.uint64), np.array([1, 0]), np.array([1, 0, 1]), np.array([1, 2])]
    check("Unique", [x], opset=11, n_outputs=4, expected=expected)


@pytest.mark.parametrize("values", [[2, 1, 1, 3, 4, 3], [2, np.nan, 1, np.nan], []])
def test_unique_in_order(values: list[float]) -> None:
    check("Unique", [np.array(values, np.float32)], opset=1, domain="com.microsoft", n_outputs=3)
