from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch.fx.experimental.proxy_tensor import make_fx

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check

A = np.array([[1.0, 2.0, np.nan], [-1.0, np.inf, 3.0]], np.float32)
B = np.array([1.0, 1.0, 3.0], np.float32)
YES = np.array([[True, False], [True, False]])
NO = np.array([True, True])
NUMPY = {
    "Equal": np.equal,
    "Less": np.less,
    "Greater": np.greater,
    "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
}
NUMERIC = [name for name in NUMPY if name not in {"And", "Or", "Xor"}]


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("opset", [12, 13, 19])
@pytest.mark.parametrize("constants", [(), (1,), (0, 1)])
def test_comparison(name: str, opset: int, constants: tuple[int, ...]) -> None:
    check(name, [A, B], opset=opset, constants=constants, trace=not constants)


@pytest.mark.parametrize("name", ["Less", "Greater"])
def test_comparison_of_opset_7(name: str) -> None:
    check(name, [A, B], opset=7)


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f8"])
def test_comparison_of_other_types(name: str, dtype: str) -> None:
    highest = 1000 if dtype[0] == "f" else np.iinfo(dtype).max
    a, b = np.array([0, highest, 3, highest], dtype), np.array([3, 3, 3, highest - 1], dtype)
    check(name, [a, b], opset=19, expected=[NUMPY[name](a, b)])


@pytest.mark.parametrize("name", ["And", "Or", "Xor"])
@pytest.mark.parametrize("constants", [(), (0, 1)])
def test_logic(name: str, constants: tuple[int, ...]) -> None:
    check(name, [YES, NO], opset=7, constants=constants)
    check("Equal", [YES, NO], opset=7, constants=constants)


@pytest.mark.parametrize("constants", [(), (0,)])
def test_not(constants: tuple[int, ...]) -> None:
    check("Not", [YES], opset=7, constants=constants)


@pytest.mark.parametrize("constants", [(), (1,)])
def test_text_can_be_equal(constants: tuple[int, ...]) -> None:
    a, b = np.array(["ab", "", "c d"], object), np.array(["ab", "x", "cd"], object)
    check("Equal", [a, b], opset=19, constants=constants)


@pytest.mark.parametrize("name", ["Equal", "Less", "Greater"])
def test_broadcasting_had_to_be_asked_for(name: str) -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1.0, 4.0], np.float32)
    check(name, [a, b], opset=1, expected=[NUMPY[name](a, b[:, None])], broadcast=1, axis=0)


@pytest.mark.parametrize("name", ["And", "Or", "Xor"])
def test_broadcasting_of_logic_had_to_be_asked_for(name: str) -> None:
    b = np.array([True, False])
    check(name, [YES, b], opset=1, expected=[NUMPY[name](YES, b[:, None])], broadcast=1, axis=0)


def test_shapes_are_compared_on_the_host() -> None:
    """What exporters write around Expand: where a dimension equals -1 take another one."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Equal", ["shape", "minus"], ["same"]),
        helper.make_node("Not", ["same"], ["y"]),
    ]
    minus = onnx.numpy_helper.from_array(np.array([-1, -1]), "minus")
    port = helper.make_tensor_value_info("x", 1, ["a", "b"])
    graph = helper.make_graph(nodes, "g", [port], [onnx.ValueInfoProto(name="y")], [minus])
    module = build(normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])))
    traced = make_fx(module, tracing_mode="symbolic")(torch.zeros(7, 3))
    assert traced(torch.zeros(5, 2))[0].tolist() == [True, True]
