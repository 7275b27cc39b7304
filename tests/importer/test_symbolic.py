from __future__ import annotations

import operator

import numpy as np
import pytest

from onnxsal.importer import symbolic
from onnxsal.importer.symbolic import by_element, elementwise, objects, reduce_along


def _symbols(*values: int) -> np.ndarray:
    """An object array, as one with symbolic dimensions is."""
    return np.array(values, object)


@pytest.mark.parametrize(("a", "b"), [(7, 2), (-7, 2), (7, -2), (-7, -2), (-6, 2), (0, 3)])
def test_integers_are_divided_towards_zero(a: int, b: int) -> None:
    assert symbolic.divide(a, b) == int(a / b)
    assert symbolic.divide_arrays(np.array(a), np.array(b)) == int(a / b)


def test_floats_are_divided_exactly() -> None:
    assert symbolic.divide(7.0, 2) == 3.5
    assert symbolic.divide_arrays(np.array(7.0), np.array(2.0)) == 3.5


def test_the_scalar_function_is_for_symbols_only() -> None:
    body = elementwise(np.add, lambda a, b: a * b)
    assert body(np.array([3]), np.array([4])).tolist() == [7]
    assert body(_symbols(3), np.array([4])).tolist() == [12]


def test_symbols_without_a_scalar_function_are_left_to_torch() -> None:
    assert elementwise(np.exp)(_symbols(3)) is NotImplemented


def test_a_lone_symbol_stays_an_array() -> None:
    assert objects(5).shape == ()
    assert by_element(operator.add, np.array(2, object), np.array(3)).shape == ()


def test_rounding_keeps_floats() -> None:
    assert [symbolic.floor(2.5), symbolic.ceil(2.5)] == [2.0, 3.0]
    assert all(isinstance(v, float) for v in (symbolic.floor(2.5), symbolic.ceil(2.5)))


@pytest.mark.parametrize(("keepdims", "shape"), [(True, (1, 3)), (False, (3,))])
def test_folding_along_an_axis(keepdims: bool, shape: tuple[int, ...]) -> None:
    folded = reduce_along(operator.mul, _symbols(1, 2, 3, 4, 5, 6).reshape(2, 3), (0,), keepdims)
    assert folded.shape == shape
    assert folded.ravel().tolist() == [4, 10, 18]
