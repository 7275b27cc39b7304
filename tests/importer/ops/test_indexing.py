"""Picking by index and putting back: negative indices, batches, reductions, every type."""

from __future__ import annotations

import numpy as np
import pytest

from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from onnxsal.importer.ops.indexing import Select
from tests.importer.ops.support import check, node_model

X = np.random.default_rng(5).normal(size=(4, 3, 5)).astype(np.float32)
TEXT = np.array([["a", "b", "c"], ["d", "e", "f"]], object)
EVERY_TYPE = ["float16", "float64", "bool", "int8", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_where() -> None:
    check("Where", [X > 0, X, X[:1] * 2], opset=9, gradient=True)
    check("Where", [np.array([True, False, True]), TEXT, TEXT[:1]], opset=16)


@pytest.mark.parametrize("dtype", EVERY_TYPE)
def test_every_type_is_picked(dtype: str) -> None:
    x = (X * 3).astype(dtype)
    check("Where", [X > 0, x, x[::-1].copy()], opset=16, expected=[np.where(X > 0, x, x[::-1])])
    check("Gather", [x, i64(1, -1)], opset=13, axis=1)
    check("GatherElements", [x, np.zeros((2, 3, 5), np.int64)], opset=13)
    check("GatherND", [x, i64(1, -1)], opset=13)
    check("ScatterElements", [x, np.zeros((1, 3, 5), np.int64), x[1:2]], opset=13)
    check("ScatterND", [x, np.array([[1], [3]]), x[:2]], opset=13)


@pytest.mark.parametrize("constants", [(), (1,)])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(
    "indices", [np.array(1), np.array(-1), i64(2, 0, -3, 2), np.array([[0, 1], [-1, 2]], np.int32)]
)
def test_gather(indices: np.ndarray, axis: int, constants: tuple[int, ...]) -> None:
    check("Gather", [X, indices], opset=11, axis=axis, constants=constants, gradient=True, trace=True)


def test_gather_of_text() -> None:
    check("Gather", [TEXT, i64(1, -1)], opset=13, axis=1)


def test_gather_of_one_known_slice_is_a_view() -> None:
    module = build(normalise(node_model("Gather", [X, np.array(2)], opset=13, constants=(1,))))
    assert any(isinstance(m, Select) for m in module.modules())


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements(axis: int) -> None:
    indices = np.random.default_rng(0).integers(-3, 3, (4, 3, 5))
    indices = indices if axis != -1 else indices[..., :2]
    check("GatherElements", [X, indices], opset=11, axis=axis, gradient=True, trace=True)


@pytest.mark.parametrize("batch_dims", [0, 1, 2])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gather_nd(depth: int, batch_dims: int) -> None:
    if depth + batch_dims > 3:
        pytest.skip("more indices than dimensions")
    indices = np.random.default_rng(0).integers(-3, 3, (4, 3, 2, depth))
    indices = indices if batch_dims else indices[0]
    check("GatherND", [X, indices], opset=12, batch_dims=batch_dims, gradient=True, trace=True)


def test_gather_nd_of_text() -> None:
    check("GatherND", [TEXT, np.array([[1, 0], [0, -1]])], opset=13)
    check("GatherND", [TEXT, np.array([[1], [-1]])], opset=13, batch_dims=1)


REDUCTIONS = ["none", "add", "mul", "max", "min"]


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_scatter_elements(reduction: str, axis: int) -> None:
    rng = np.random.default_rng(1)
    indices = np.stack([rng.permutation(3) - 2 for _ in range(6)]).reshape(2, 3, 3)
    indices = indices.transpose(2, 1, 0) if axis == 0 else indices
    updates = rng.normal(size=indices.shape).astype(np.float32)
    inputs = [X, indices, updates]
    check("ScatterElements", inputs, opset=18, axis=axis, reduction=reduction, gradient=True, trace=True)


@pytest.mark.parametrize("reduction", REDUCTIONS[1:])
def test_scatter_elements_adds_up_what_meets(reduction: str) -> None:
    indices = np.array([[1, 1, -1, 1]])
    inputs = [X[:1, 0], indices, X[1:2, 1, :4]]
    check("ScatterElements", inputs, opset=18, axis=1, reduction=reduction, gradient=True)


def test_scatter_of_old_opsets() -> None:
    check("Scatter", [X, i64(2, 1, 0).reshape(1, 3, 1), X[:1, :, :1]], opset=9, axis=0)
    check("Scatter", [X, i64(2, 1, 0).reshape(1, 3, 1), X[:1, :, :1]], opset=10, axis=1)
    check("ScatterElements", [X, i64(2, -1, 0).reshape(1, 3, 1), X[:1, :, :1]], opset=11, axis=1)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_scatter_nd(reduction: str, depth: int) -> None:
    indices = np.array([[0, 1, 2], [-1, 2, 0], [1, -2, -1]])[:, :depth]
    updates = np.random.default_rng(2).normal(size=(3, *X.shape[depth:])).astype(np.float32)
    check("ScatterND", [X, indices, updates], opset=18, reduction=reduction, gradient=True, trace=True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_unsigned_numbers_are_combined_beyond_the_signed_range(reduction: str, dtype: str) -> None:
    largest = np.iinfo(dtype).max
    data, updates = np.array([largest, 3, 5], dtype), np.array([2, largest, 1], dtype)
    with np.errstate(over="ignore"):
        combined = {"none": updates, "add": data + updates, "mul": data * updates}
    combined |= {"max": np.maximum(data, updates), "min": np.minimum(data, updates)}
    expected = [combined[reduction]]
    check("ScatterElements", [data, i64(0, 1, 2), updates], opset=18, reduction=reduction, expected=expected)
    check("ScatterND", [data, i64(0, 1, 2)[:, None], updates], opset=18, reduction=reduction, expected=expected)


def test_scatter_refuses_an_unknown_reduction() -> None:
    with pytest.raises(ImportFault, match="reduction 'mean'"):
        check("ScatterND", [X, np.array([[0]]), X[:1]], opset=18, reduction="mean", expected=[X])


def test_non_zero() -> None:
    check("NonZero", [np.round(X)], opset=9)
    check("NonZero", [np.array([[True, False], [True, True]])], opset=13)
    check("NonZero", [np.zeros((2, 2), np.int64)], opset=13)
    check("NonZero", [np.array(3.0, np.float32)], opset=13)


@pytest.mark.parametrize("axis", [-1, 0, 1, -2])
def test_one_hot(axis: int) -> None:
    values = np.array([-1.5, 2.5], np.float32)
    indices = np.array([[1, 9], [-1, 4]])
    check("OneHot", [indices, np.array(5), values], opset=11, axis=axis, trace=False)
    check("OneHot", [indices.astype(np.float32), np.array([5.0], np.float32), values], opset=11, axis=axis)


def test_one_hot_of_the_first_opset_knows_no_negative_index() -> None:
    off_on = np.array([0, 1], np.int64)
    expected = [np.array([[0, 1, 0], [0, 0, 0]], np.int64)]
    check("OneHot", [i64(1, -1), np.array(3), off_on], opset=9, expected=expected)


@pytest.mark.parametrize(("batch_axis", "time_axis"), [(0, 1), (1, 0)])
def test_reverse_sequence(batch_axis: int, time_axis: int) -> None:
    lengths = i64(1, 3, 0, 2)[: X.shape[batch_axis]]
    inputs = [X, lengths]
    check("ReverseSequence", inputs, opset=10, batch_axis=batch_axis, time_axis=time_axis, gradient=True, trace=True)


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode: str) -> None:
    cache, update = X.reshape(4, 1, 3, 5), X[:, :2].reshape(4, 1, 2, 5) + 10
    starts = i64(0, 1, 1, 0) if mode == "linear" else i64(2, 1, 0, 2)
    expected = cache.copy()
    for example, start in enumerate(starts):
        for step in range(2):
            expected[example, :, (start + step) % 3] = update[example, :, step]
    check("TensorScatter", [cache, update, starts], opset=24, mode=mode, expected=[expected], gradient=True)
