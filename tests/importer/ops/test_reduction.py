from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch.fx.experimental.proxy_tensor import make_fx

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check

X = np.random.default_rng(0).uniform(0.2, 2, (2, 3, 4)).astype(np.float32)
NAMES = ["Sum", "Mean", "Prod", "Max", "Min", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]


def _axes_are_input(name: str, opset: int) -> bool:
    return opset >= (13 if name == "Sum" else 18)


def _check(name: str, x: np.ndarray, axes: list[int] | None, opset: int, **options: Any) -> None:
    if axes is None:
        check(f"Reduce{name}", [x], opset=opset, **options)
    elif _axes_are_input(name, opset):
        check(f"Reduce{name}", [x, np.array(axes, np.int64)], opset=opset, **options)
    else:
        check(f"Reduce{name}", [x], opset=opset, axes=axes, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axes", [None, [1], [0, 2], [-1], [-2, 0]])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("opset", [7, 11, 13, 18])
def test_like_onnxruntime(name: str, axes: list[int] | None, keepdims: int, opset: int) -> None:
    x = X if name not in {"L1", "L2"} else X - 1
    if opset == 18:
        constants = () if axes is None else (1,)
        _check(name, x, axes, opset, keepdims=keepdims, gradient=keepdims == 1, trace=True, constants=constants)
    else:
        _check(name, x, axes, opset, keepdims=keepdims)


@pytest.mark.parametrize("name", NAMES)
def test_axes_that_are_computed(name: str) -> None:
    check(f"Reduce{name}", [X, np.array([1])], opset=18)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("noop", [0, 1])
def test_no_axes_mean_all_or_none(name: str, noop: int) -> None:
    opset = 13 if name == "Sum" else 18
    each = {"L1": np.abs, "L2": np.abs, "SumSquare": np.square, "LogSum": np.log}.get(name, lambda v: v)
    expected = [each(X - 2 * (name in {"L1", "L2"}))] if noop else None
    x = X - 2 * (name in {"L1", "L2"})
    check(f"Reduce{name}", [x, np.zeros(0, np.int64)], opset=opset, noop_with_empty_axes=noop, expected=expected)
    check(f"Reduce{name}", [x], opset=opset, noop_with_empty_axes=noop, expected=expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_scalar(name: str) -> None:
    check(f"Reduce{name}", [np.array(1.5, np.float32)], opset=18, keepdims=0)


@pytest.mark.parametrize(
    ("name", "neutral"),
    [("Sum", 0), ("Prod", 1), ("Max", -np.inf), ("Min", np.inf), ("L1", 0), ("L2", 0), ("LogSum", -np.inf)],
)
def test_nothing_reduces_to_the_neutral_element(name: str, neutral: float) -> None:
    opset = 13 if name == "Sum" else 20
    expected = [np.full((2, 1, 4), neutral, np.float32)]
    check(f"Reduce{name}", [np.zeros((2, 0, 4), np.float32), np.array([1])], opset=opset, expected=expected)


@pytest.mark.parametrize("name", ["Sum", "Prod", "Max", "Min", "L1", "SumSquare"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint32, np.uint64])
def test_integers_keep_their_type(name: str, dtype: type) -> None:
    x = np.array([[3, 1, 2], [4, 5, 1]], dtype)
    functions = {"Sum": np.sum, "Prod": np.prod, "Max": np.max, "Min": np.min, "L1": np.sum}
    values, function = (x * x, np.sum) if name == "SumSquare" else (x, functions[name])
    expected = function(values, axis=1, keepdims=True).astype(dtype)
    check(f"Reduce{name}", [x, np.array([1])], opset=20, expected=[expected])
    check(f"Reduce{name}", [x, np.array([1])], opset=20, expected=[expected], constants=(0, 1))


def test_large_unsigned_integers_are_ordered() -> None:
    x = np.array([[2**64 - 1, 5], [2**63, 2**63 - 1]], np.uint64)
    axes = np.array([1])
    check("ReduceMax", [x, axes], opset=20, expected=[x.max(1, keepdims=True)])
    check("ReduceMin", [x, axes], opset=20, expected=[x.min(1, keepdims=True)])
    check("ArgMax", [x], opset=13, axis=1, expected=[x.argmax(1)[:, None]])


@pytest.mark.parametrize("name", ["Mean", "L2", "LogSum", "LogSumExp"])
def test_integers_are_rounded_towards_zero(name: str) -> None:
    check(f"Reduce{name}", [np.array([[3, 1, 7], [4, 5, 1]], np.int32), np.array([1])], opset=18)


def test_truth_values_are_ordered() -> None:
    x = np.array([[True, False], [False, False]])
    check("ReduceMax", [x, np.array([1])], opset=20, keepdims=0, expected=[x.any(1)])
    check("ReduceMin", [x, np.array([1])], opset=20, keepdims=0, expected=[x.all(1)])


def test_the_norm_has_a_gradient_at_zero() -> None:
    from onnxsal.importer.ops.reduction import reduce_l2

    x = torch.zeros(2, 3, requires_grad=True)
    reduce_l2(x, np.array([1])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0] * 3] * 2


@pytest.mark.parametrize(("name", "expected"), [("Sum", 10), ("Prod", 21), ("Max", 7), ("Min", 3)])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_shapes_are_reduced_symbolically(name: str, expected: int, keepdims: int) -> None:
    axes = onnx.numpy_helper.from_array(np.array([0]), "axes")
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node(f"Reduce{name}", ["shape", "axes"], ["y"], keepdims=keepdims),
    ]
    port = helper.make_tensor_value_info("x", 1, ["a", "b"])
    graph = helper.make_graph(nodes, "g", [port], [onnx.ValueInfoProto(name="y")], [axes])
    module = build(normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])))
    traced = make_fx(module, tracing_mode="symbolic")(torch.zeros(5, 4))
    for run in (module, traced):
        assert run(torch.zeros(7, 3))[0].tolist() == ([expected] if keepdims else expected)


TIES = np.array([[2, 1, 2, 0], [3, 3, 0, 0]], np.float32)


@pytest.mark.parametrize("name", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("attributes", [{}, {"axis": 1}, {"axis": -1, "keepdims": 0}])
@pytest.mark.parametrize("opset", [7, 11, 13])
def test_position(name: str, attributes: dict[str, int], opset: int) -> None:
    check(name, [TIES], opset=opset, trace=True, **attributes)


@pytest.mark.parametrize("name", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_last_position(name: str, keepdims: int, axis: int) -> None:
    check(name, [TIES], opset=13, axis=axis, keepdims=keepdims, select_last_index=1, trace=True)
