from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

import onnxsal
from tests import models_for_tests as tiny

X = np.float32([[4.0, 0.0, 1.0]])


def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    return tiny.model(list(nodes), [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 3])])


def test_an_infinite_slope_is_named_with_its_node() -> None:
    proto = model(
        helper.make_node("Mul", ["x", "x"], ["power"], name="square"),
        helper.make_node("Sqrt", ["power"], ["magnitude"], name="magnitude"),
        helper.make_node("Relu", ["magnitude"], ["y"], name="relu"),
    )
    a = onnxsal.explain(proto, {"x": X}, target="y.sum()")
    (note,) = a.provenance.notes
    assert "1 of 3 attributions of input 'x' are not finite" in note
    assert "node 'magnitude' (Sqrt" in note
    assert "infinite at 0" in note
    assert "noise" in note


def test_an_overflow_in_half_precision_is_told_apart() -> None:
    proto = model(
        helper.make_node("Cast", ["x"], ["half"], name="down", to=onnx.TensorProto.FLOAT16),
        helper.make_node("Mul", ["half", "half"], ["square"], name="square"),
        helper.make_node("Mul", ["square", "square"], ["fourth"], name="fourth"),
        helper.make_node("Sqrt", ["fourth"], ["root"], name="root"),
        helper.make_node("Cast", ["root"], ["y"], name="up", to=1),
    )
    a = onnxsal.explain(proto, {"x": np.float32([[1, 2, 3]]) * 10}, target="y.sum()", verify=False)
    assert "the score is not finite; at node 'fourth' (Mul" in a.provenance.notes[0]
    assert "float32" in a.provenance.notes[0]


def test_a_finite_gradient_is_no_fault() -> None:
    assert onnxsal.explain(model(helper.make_node("Exp", ["x"], ["y"])), {"x": X}, target=0).provenance.notes == ()
