"""One node as a model of its own."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.excerpt import excerpt
from onnxsal.parity import statistics, verify
from tests import models_for_tests as tiny

X = np.float32([[1, -2, 3]])


def test_weights_and_fed_values_come_with_it() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "weight", "bias"], ["y"], name="gemm", alpha=2.0),
    ]
    constants = {"weight": tiny.WEIGHT, "bias": tiny.BIAS}
    model = onnxsal.load(tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 2])], constants))
    proto, feeds = excerpt(model, {"x": X}, "gemm")
    assert [tensor.name for tensor in proto.graph.initializer] == ["weight", "bias"]
    assert feeds["r"].tolist() == [[1, 0, 3]]
    alone = onnxsal.load(proto)
    onnx.checker.check_model(proto)
    np.testing.assert_array_equal(alone.session().run(None, feeds)[0], model.session().run(None, {"x": X})[0])
    assert verify(alone, feeds).ok
    first, feeds = excerpt(model, {"x": X}, "relu")
    assert list(feeds) == ["x"]
    assert verify(onnxsal.load(first), feeds).ok
    with pytest.raises(UsageError, match="did you mean 'gemm'"):
        excerpt(model, {"x": X}, "gem")


def test_what_a_branch_captures_is_fed() -> None:
    def branch(name: str, op_type: str) -> onnx.GraphProto:
        node = helper.make_node(op_type, ["r", "k"], [name])
        return helper.make_graph([node], name, [], [helper.make_empty_tensor_value_info(name)])

    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="relu"),
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch("t", "Mul"), else_branch=branch("e", "Add")),
    ]
    proto = tiny.model(
        nodes,
        [("c", TensorProto.BOOL, []), ("x", tiny.FLOAT, ["N", 3])],
        [("y", tiny.FLOAT, ["N", 3])],
        {"k": np.float32([[5, 6, 7]])},
    )
    model = onnxsal.load(proto)
    part, feeds = excerpt(model, {"c": np.array(True), "x": X}, "if")
    assert set(feeds) == {"c", "r"}
    assert onnxsal.load(part).session().run(None, feeds)[0].tolist() == [[5, 0, 21]]


def test_a_node_of_a_function_is_written_anew() -> None:
    proto = tiny.model(
        [helper.make_node("F", ["x"], ["y"], name="call", domain="f")],
        [("x", tiny.FLOAT, ["N", 3])],
        [("y", tiny.FLOAT, ["N", 3])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    proto.opset_import.append(opsets[1])
    body = [helper.make_node("LeakyRelu", ["a"], ["b"], name="leaky", alpha=0.5)]
    proto.functions.append(helper.make_function("f", "F", ["a"], ["b"], body, opsets[:1]))
    model = onnxsal.load(proto)
    part, feeds = excerpt(model, {"x": X}, model.graph.nodes[0].name)
    assert onnxsal.load(part).session().run(None, feeds)[0].tolist() == [[1, -1, 3]]


def test_statistics_leave_out_what_is_not_finite() -> None:
    found = statistics(np.float32([[1, np.nan, 3, np.inf]]))
    assert (found.shape, found.least, found.mean, found.largest, found.not_finite) == ((1, 4), 1, 2, 3, 2)
    assert str(found) == "[1, 4] from 1 to 3, mean 2, 2 not finite"
    assert statistics(["text"]) is None
