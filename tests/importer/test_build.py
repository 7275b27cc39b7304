from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import onnxsal
from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests import models_for_tests as tiny

X = torch.tensor([[1.0, 2.0, 3.0]])


def test_outputs_may_be_inputs_or_constants() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    ports = [(name, tiny.FLOAT, None) for name in ("y", "x", "k", "x")]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], ports[:3], {"k": np.float32([1, 2])})
    y, x, k = build(normalise(proto))(X)
    assert torch.equal(y, X)
    assert torch.equal(x, X)
    assert k.tolist() == [1, 2]


def test_constants_are_shared_with_the_array_and_between_nodes() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="a"),
        helper.make_node("Add", ["a", "w"], ["b"], name="b"),
        helper.make_node("Mul", ["b", "w"], ["y"], name="c"),
    ]
    weight = np.arange(9, dtype=np.float32).reshape(3, 3)
    graph = normalise(tiny.model(nodes, [("x", tiny.FLOAT, [3, 3])], [("y", tiny.FLOAT, [3, 3])], {"w": weight}))
    module = build(graph)
    storages = {p.untyped_storage().data_ptr() for p in module.parameters()}
    assert storages == {graph.constants["w"].__array_interface__["data"][0]}


def test_a_weight_tied_by_identity_is_held_once() -> None:
    nodes = [
        helper.make_node("Identity", ["w"], ["w2"]),
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "w2"], ["y"]),
    ]
    proto = tiny.model(
        nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 3])], {"w": np.eye(3, dtype=np.float32) * 2}
    )
    module = build(normalise(proto))
    assert len({p.untyped_storage().data_ptr() for p in module.parameters()}) == 1
    assert module(X)[0].tolist() == [[4, 8, 12]]


def test_parameters_are_frozen_and_the_module_is_in_eval_mode() -> None:
    module = onnxsal.load(tiny.linear()).torch()
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())


def test_constant_weights_make_native_layers_under_the_nodes_name() -> None:
    module = onnxsal.load(tiny.linear()).torch()
    assert isinstance(module.get_submodule("gemm"), nn.Linear)


def test_every_onnx_name_is_kept() -> None:
    graph = normalise(tiny.two_inputs())
    module = build(graph)
    kept = {name for node in module.graph.nodes for name in node.meta.get("onnx_outputs", ())}
    assert {"a", "gate", "ids", "gated", "embedded", "y", "table"} <= kept
    assert {node.meta["onnx"].name for node in module.graph.nodes if "onnx" in node.meta} == {"mul", "gather", "add"}


@pytest.mark.parametrize("name", ["a.b", "a:0", "scope/x::y", '{"json": 1}', "1st", "class", "Ünïcode", "self", "x y"])
def test_any_name_is_allowed(name: str) -> None:
    nodes = [helper.make_node("Relu", [name], [name + "'"], name=name)]
    proto = tiny.model(nodes, [(name, tiny.FLOAT, ["N", 3])], [(name + "'", tiny.FLOAT, ["N", 3])])
    a = onnxsal.explain(proto, {name: X}, target=2, abs=False)
    assert a.values[name].tolist() == [[0, 0, 1]]


def test_names_that_differ_only_in_punctuation_do_not_collide() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "k.1"], ["a.1"], name="n.1"),
        helper.make_node("Add", ["a.1", "k/1"], ["a/1"], name="n/1"),
    ]
    constants = {"k.1": np.full(300, 2, np.float32), "k/1": np.full(300, 5, np.float32)}
    proto = tiny.model(nodes, [("x", tiny.FLOAT, [300])], [("a/1", tiny.FLOAT, [300])], constants)
    assert set(build(normalise(proto))(torch.ones(300))[0].tolist()) == {7.0}


def test_all_unsupported_operators_are_named_at_once() -> None:
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["a"], name="first"),
        helper.make_node("Relux", ["a"], ["y"], name="second"),
        helper.make_node("Relux", ["a"], ["z"], name="third"),
    ]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, [1])], [("y", tiny.FLOAT, [1])])
    with pytest.raises(ImportFault) as fault:
        build(normalise(proto))
    message = str(fault.value)
    assert "2 unsupported operator(s)" in message
    assert "'first'" in message
    assert "'second'" in message
    assert "did you mean 'Relu'" in message


def test_an_attribute_the_operator_does_not_know_is_refused() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="relu", slope=0.1)]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, [1])], [("y", tiny.FLOAT, [1])])
    with pytest.raises(ImportFault, match=r"'relu'.*attribute 'slope'"):
        build(normalise(proto))


@pytest.mark.parametrize("inputs", [["x", "x"], []])
def test_a_wrong_number_of_inputs_is_refused(inputs: list[str]) -> None:
    proto = tiny.model(
        [helper.make_node("Relu", inputs, ["y"], name="relu")], [("x", tiny.FLOAT, [1])], [("y", tiny.FLOAT, [1])]
    )
    with pytest.raises(ImportFault, match=rf"'relu'.*has {len(inputs)} inputs"):
        build(normalise(proto))


def test_shape_arithmetic_stays_on_the_host() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "minus"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {"zero": np.array([0]), "minus": np.array([-1])}
    proto = tiny.model(
        nodes, [("x", tiny.FLOAT, ["N", 2, 3])], [("y", tiny.FLOAT, ["N", 6]), ("target", tiny.INT64, [2])], constants
    )
    module = build(normalise(proto))
    y, target = module(torch.ones(5, 2, 3))
    assert y.shape == (5, 6)
    assert isinstance(target, torch.Tensor)
    assert target.tolist() == [5, -1]
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda x: module(x)[0], tracing_mode="symbolic")(
        torch.ones(5, 2, 3)
    )
    assert not any("gather" in str(node.target) or "index" in str(node.target) for node in graph.graph.nodes)


def test_branches_read_outer_values_and_carry_gradients() -> None:
    def branch(name: str, op_type: str) -> object:
        node = helper.make_node(op_type, ["x", "k"], [name])
        return helper.make_graph([node], name, [], [helper.make_empty_tensor_value_info(name)])

    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=branch("t", "Mul"), else_branch=branch("e", "Add"), name="if")
    ]
    proto = tiny.model(
        nodes,
        [("c", TensorProto.BOOL, []), ("x", tiny.FLOAT, ["N", 3])],
        [("y", tiny.FLOAT, ["N", 3])],
        {"k": np.float32([[5, 6, 7]])},
    )
    for condition, expected in ((True, 6.0), (False, 1.0)):
        a = onnxsal.explain(proto, {"c": np.array(condition), "x": X}, target=1, abs=False)
        assert a.values["x"].tolist() == [[0, expected, 0]]
