"""What a model is made of, and where its gradient goes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

import onnxsal
from onnxsal.inspection import Inspection, inspect
from tests import models_for_tests as tiny


def look(nodes, outputs, constants=None, inputs=(("x", tiny.FLOAT, ["n", 4]),), **metadata) -> Inspection:
    ports = [(name, tiny.FLOAT, None) for name in outputs]
    return inspect(onnxsal.load(tiny.model(nodes, inputs, ports, constants, **metadata)))


def node(op_type, inputs, outputs, **attributes):
    return helper.make_node(op_type, inputs.split(), outputs.split(), name=f"the {op_type}", **attributes)


def test_facts_of_the_file():
    proto = tiny.linear(labels="a,b")
    proto.producer_name, proto.producer_version = "maker", "3"
    found = inspect(onnxsal.load(proto))
    assert found.size == len(proto.SerializeToString())
    assert found.producer == "maker 3"
    assert found.metadata == {"labels": "a,b"}
    assert (found.parameters, found.parameter_bytes) == (8, 32)


def test_shapes_are_no_parameters():
    found = look([node("Reshape", "x shape", "y")], ["y"], {"shape": np.array([4, -1])})
    assert found.parameters == 0


def test_shared_weights_count_once():
    nodes = [node("Add", "x w", "h"), helper.make_node("Mul", ["h", "w"], ["y"])]
    assert look(nodes, ["y"], {"w": np.ones(4, np.float32)}).parameters == 4


def test_operators_are_counted_with_who_serves_them():
    nodes = [node("Relu", "x", "a"), helper.make_node("Relu", ["a"], ["b"]), node("Softmax", "b", "y")]
    relu, softmax = look(nodes, ["y"]).operators
    assert (relu.name, len(relu.nodes), relu.provider) == ("Relu", 2, f"onnxsal {onnxsal.__version__}")
    assert (softmax.since, softmax.opset, softmax.function) == (13, 17, "activations.softmax")
    assert relu.gradient


def test_a_gradient_is_followed_from_each_output_to_each_input():
    nodes = [node("Add", "x b", "y"), node("Neg", "c", "z"), node("ArgMax", "y", "label")]
    inputs = [(name, tiny.FLOAT, ["n", 4]) for name in "xbc"]
    found = look(nodes, ["y", "z", "label"], inputs=inputs)
    assert [(g.output, g.reaches, g.cut) for g in found.gradients] == [
        ("y", ("x", "b"), None),
        ("z", ("c",), None),
        ("label", (), "node 'the ArgMax' (ArgMax, opset 17)"),
    ]
    assert found.carrying == ("the Add", "the Neg")
    assert found.cutting == ("the ArgMax",)


def test_why_a_gradient_ends_is_told_by_what_comes_out_and_what_is_done():
    nodes = [
        node("ArgMax", "x", "place"),
        node("Greater", "x x", "truth"),
        node("Floor", "x", "whole"),
        helper.make_node("Floor", ["x"], ["again"], name="once more"),
        helper.make_node("Cast", ["x"], ["text"], name="write", to=TensorProto.STRING),
        helper.make_node("Cast", ["x"], ["int"], name="round off", to=TensorProto.INT8),
        helper.make_node("Whirl", ["x"], ["turned"], name="turn", domain="com.example"),
    ]
    found = look(nodes, ["place", "truth", "whole", "again", "text", "int", "turned"])
    assert [(cut.operator, cut.nodes, cut.why) for cut in found.cuts] == [
        (
            "ArgMax",
            ("the ArgMax",),
            "gives whole numbers, with nothing between: say where along an axis the largest value is",
        ),
        ("Greater", ("the Greater",), "answers yes or no, with nothing between: say where the first value is larger"),
        ("Floor", ("the Floor", "once more"), "stays where it is when its input moves a little: round down"),
        ("Cast", ("write",), "gives text: convert to another element type"),
        ("Cast", ("round off",), "gives whole numbers, with nothing between: convert to another element type"),
        ("com.example.Whirl", ("turn",), "is served by nobody, so that its slope is unknown"),
    ]
    assert found.gradients[0].why == found.cuts[0].why


def test_a_node_with_graphs_that_all_cut_says_so():
    def branch(name):
        graph_output = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Floor", ["x"], ["inner"])], name, [], [graph_output])

    fork = node("If", "which", "y", then_branch=branch("a"), else_branch=branch("b"))
    found = look([fork], ["y"], {"which": np.array(True)})
    assert [(cut.operator, cut.why) for cut in found.cuts] == [("If", "holds graphs of which none hands a gradient on")]


def test_shapes_carry_and_cut_nothing():
    nodes = [
        node("Shape", "x", "shape"),
        node("Exp", "x", "h"),
        node("Reshape", "h shape", "y"),
        node("ConstantOfShape", "shape", "zeros"),
        node("Sub", "y zeros", "z"),
    ]
    found = look(nodes, ["z"])
    assert found.carrying == ("the Exp", "the Reshape", "the Sub")
    assert found.cutting == ()


def test_a_cast_to_whole_numbers_cuts_one_between_floats_does_not():
    nodes = [
        node("Cast", "x", "wide", to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["wide"], ["whole"], name="round off", to=TensorProto.INT64),
        helper.make_node("Cast", ["whole"], ["y"], to=TensorProto.FLOAT),
    ]
    found = look(nodes, ["wide", "y"])
    assert [g.reaches for g in found.gradients] == [("x",), ()]
    assert found.cutting == ("round off",)


def test_nodes_that_no_output_needs_do_not_count():
    found = look([node("Exp", "x", "y"), node("Floor", "x", "unused")], ["y"])
    assert (found.carrying, found.cutting) == (("the Exp",), ())


def test_a_gradient_goes_through_branches():
    def branch(op_type):
        graph_output = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op_type, ["x"], ["inner"])], op_type, [], [graph_output])

    def look_at(then):
        fork = node("If", "which", "y", then_branch=branch(then), else_branch=branch("Floor"))
        return look([fork], ["y"], {"which": np.array(True)})

    assert look_at("Exp").gradients[0].reaches == ("x",)
    assert look_at("Ceil").gradients[0].reaches == ()
    assert {use.name for use in look_at("Exp").operators} == {"If", "Exp", "Floor"}


def test_what_nobody_serves_is_a_fact():
    nodes = [node("Exp", "x", "h"), helper.make_node("Whirl", ["h"], ["y"], name="turn", domain="com.example")]
    found = look(nodes, ["y"])
    assert [use.full_name for use in found.missing] == ["com.example.Whirl"]
    assert found.gradients[0].cut == "node 'turn' (com.example.Whirl, opset 1)"
    assert found.meta["supported"] is False
    assert found.meta["hint"]


def test_the_facts_are_plain():
    import json

    found = look([node("Relu", "x", "y")], ["y"])
    assert json.loads(json.dumps(found.meta))["nodes_in_all"] == 1


def test_a_model_of_a_file_counts_its_external_data(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(tiny.linear(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    size = path.stat().st_size + (tmp_path / "weights.bin").stat().st_size
    assert inspect(onnxsal.load(path)).size == size
