from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, parser

from onnxsal.errors import ModelError
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests import models_for_tests as tiny


def test_initialisers_are_no_inputs() -> None:
    proto = tiny.linear()
    proto.graph.input.append(helper.make_tensor_value_info("weight", tiny.FLOAT, [3, 2]))
    graph = normalise(proto)
    assert [port.name for port in graph.inputs] == ["x"]
    assert set(graph.constants) == {"weight", "bias"}


def test_ports_keep_type_and_symbols() -> None:
    graph = normalise(tiny.linear())
    assert str(graph.inputs[0]) == "x: float32[N, 3]"
    assert str(graph.outputs[0]) == "logits: float32[N, 2]"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"value": numpy_helper.from_array(np.float64([1, 2]))}, np.float64([1, 2])),
        ({"value_float": 2.5}, np.float32(2.5)),
        ({"value_floats": [1.0, 2.0]}, np.float32([1, 2])),
        ({"value_int": 3}, np.int64(3)),
        ({"value_ints": [1, 2]}, np.int64([1, 2])),
        ({"value_string": "a"}, np.array("a", object)),
        ({"value_strings": ["a", "b"]}, np.array(["a", "b"], object)),
    ],
)
def test_constants_in_all_their_spellings(attributes: dict[str, object], expected: np.ndarray) -> None:
    nodes = [helper.make_node("Constant", [], ["c"], **attributes)]
    proto = tiny.model(nodes, [], [("c", TensorProto.FLOAT, None)])
    got = normalise(proto).constants["c"]
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


def test_sparse_initialisers_become_dense() -> None:
    proto = tiny.model([helper.make_node("Identity", ["s"], ["y"])], [], [("y", tiny.FLOAT, [2, 3])])
    values = numpy_helper.from_array(np.float32([5, 7]), "s")
    for indices in ([1, 5], [[0, 1], [1, 2]]):
        del proto.graph.sparse_initializer[:]
        positions = numpy_helper.from_array(np.array(indices), "indices")
        proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, positions, [2, 3]))
        np.testing.assert_array_equal(normalise(proto).constants["s"], [[0, 5, 0], [0, 0, 7]])


def test_node_names_become_unique() -> None:
    nodes = [helper.make_node("Relu", [a], [b], name="relu") for a, b in (("x", "y"), ("y", "z"))]
    graph = normalise(tiny.model(nodes, [("x", tiny.FLOAT, [1])], [("z", tiny.FLOAT, [1])]))
    assert [node.name for node in graph.nodes] == ["relu", "relu_1"]


FUNCTIONS = """
<ir_version: 8, opset_import: ["": 17, "local": 1]>
main (float[N, 2] x) => (float[N, 2] y, float[N, 2] z)
{
    y = local.scale_twice<factor: float = 3.0>(x)
    z = local.scale_twice<factor: float = 0.5>(y)
}
<domain: "local", opset_import: ["": 17, "local": 1]>
scale_twice <factor> (a) => (b)
{
    once = local.scale<factor: float = @factor>(a)
    b = local.scale<factor: float = @factor>(once)
}
<domain: "local", opset_import: ["": 17]>
scale <factor> (a) => (b)
{
    f = Constant<value_float: float = @factor>()
    b = Mul(a, f)
}
"""


def test_local_functions_are_inlined_with_their_attributes() -> None:
    graph = normalise(parser.parse_model(FUNCTIONS))
    assert [node.op_type for node in graph.nodes] == ["Mul"] * 4
    y, z = build(graph)(torch.ones(1, 2))
    assert y.tolist() == [[9.0, 9.0]]
    assert z.tolist() == [[2.25, 2.25]]


def test_a_function_keeps_its_own_opset() -> None:
    source = """
    <ir_version: 8, opset_import: ["": 17, "local": 1]>
    main (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = local.old(x) }
    <domain: "local", opset_import: ["": 11]>
    old (a) => (b) { b = Softmax(a) }
    """
    graph = normalise(parser.parse_model(source))
    assert graph.nodes[0].opset == 11
    (y,) = build(graph)(torch.zeros(2, 3, 4))
    assert y[0, 0, 0].item() == pytest.approx(1 / 12)


def test_a_function_that_hands_its_input_back() -> None:
    source = """
    <ir_version: 8, opset_import: ["": 17, "local": 1]>
    main (float[2] x) => (float[2] y) { y = local.same(x) }
    <domain: "local", opset_import: ["": 17]>
    same (a) => (a) { unused = Relu(a) }
    """
    (y,) = build(normalise(parser.parse_model(source)))(torch.tensor([-1.0, 1.0]))
    assert y.tolist() == [-1, 1]


def test_a_function_that_calls_itself_is_refused() -> None:
    source = """
    <ir_version: 8, opset_import: ["": 17, "local": 1]>
    main (float[2] x) => (float[2] y) { y = local.again(x) }
    <domain: "local", opset_import: ["": 17, "local": 1]>
    again (a) => (b) { b = local.again(a) }
    """
    with pytest.raises(ModelError, match="calls itself"):
        normalise(parser.parse_model(source))


def test_a_cycle_is_refused() -> None:
    nodes = [
        helper.make_node("Relu", ["b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
    ]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, [1])], [("b", tiny.FLOAT, [1])])
    with pytest.raises(ModelError, match=r"'first'.*reads 'b'.*\n.*cycle"):
        normalise(proto)


def test_an_output_nobody_makes_is_refused() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"])]
    with pytest.raises(ModelError, match="output 'z' is made by no node"):
        normalise(tiny.model(nodes, [("x", tiny.FLOAT, [1])], [("z", tiny.FLOAT, [1])]))


def test_functions_nested_too_deep_are_refused() -> None:
    head = (
        '<ir_version: 8, opset_import: ["": 17, "local": 1]>\nmain (float[2] x) => (float[2] y) { y = local.f0(x) }\n'
    )
    body = '<domain: "local", opset_import: ["": 17, "local": 1]>\nf{} (a) => (b) {{ b = local.f{}(a) }}\n'
    with pytest.raises(ModelError, match="nest deeper than"):
        normalise(parser.parse_model(head + "".join(body.format(i, i + 1) for i in range(200))))


def test_captured_values_are_found_through_nested_subgraphs() -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["x", "k"], ["s"])], "inner", [], [helper.make_empty_tensor_value_info("s")]
    )
    middle = helper.make_graph(
        [helper.make_node("If", ["c"], ["t"], then_branch=inner, else_branch=inner)],
        "middle",
        [],
        [helper.make_empty_tensor_value_info("t")],
    )
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=middle, else_branch=middle)]
    proto = tiny.model(
        nodes, [("x", tiny.FLOAT, [1]), ("c", TensorProto.BOOL, [])], [("y", tiny.FLOAT, [1])], {"k": np.float32([2])}
    )
    graph = normalise(proto)
    assert set(graph.nodes[0].attributes["then_branch"].captures()) == {"c", "x", "k"}
    assert len(list(graph.walk())) == 7


def test_a_model_is_not_changed() -> None:
    proto = parser.parse_model(FUNCTIONS)
    before = proto.SerializeToString(deterministic=True)
    normalise(proto)
    assert proto.SerializeToString(deterministic=True) == before
    assert onnx.checker.check_model(proto) is None
