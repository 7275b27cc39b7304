"""Files made to harm: each is refused in bounded time and memory, with the sentence that says what is wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxsal
from onnxsal.errors import ModelError
from onnxsal.importer import normalise, read, wire
from onnxsal.parity import draw
from tests import models_for_tests as tiny

SECONDS = 60.0
"""What a refusal may take on a busy machine; what these files would take otherwise has no end."""


@pytest.fixture(autouse=True)
def bounded_time() -> Iterator[None]:
    started = time.perf_counter()
    yield
    assert time.perf_counter() - started < SECONDS


@pytest.fixture
def few_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit, to refuse sooner."""
    monkeypatch.setattr(normalise, "MAX_NODES", 2_000)


def refused(proto: onnx.ModelProto, says: str) -> None:
    with pytest.raises(ModelError, match=says) as fault:
        onnxsal.load(proto.SerializeToString())
    assert fault.value.exit_code == 3
    assert len(str(fault.value)) < 2000


def with_weight(tensor: TensorProto) -> onnx.ModelProto:
    proto = tiny.model(
        [helper.make_node("Add", ["x", tensor.name], ["y"])], [("x", tiny.FLOAT, [2])], [("y", tiny.FLOAT, [2])]
    )
    proto.graph.initializer.append(tensor)
    return proto


# values that two readers would read differently


def twice(**more: list) -> TensorProto:
    tensor = numpy_helper.from_array(np.float32([1, 2]), "w")
    for name, values in more.items():
        getattr(tensor, name).extend(values)
    return tensor


def typed_twice() -> TensorProto:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [2], [1, 2])
    tensor.double_data.extend([3, 4])
    return tensor


def inside_and_outside() -> TensorProto:
    tensor = twice()
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (twice(float_data=[3, 4]), "in raw_data and in float_data"),
        (twice(int64_data=[3]), "in raw_data and in int64_data"),
        (typed_twice(), "in float_data and in double_data"),
        (inside_and_outside(), "in raw_data and in external data"),
    ],
)
def test_values_in_two_places(tensor: TensorProto, says: str) -> None:
    refused(with_weight(tensor), says)


# shapes


def declared(*dims: int, data_type: int = TensorProto.FLOAT, raw: bytes = b"\0" * 8) -> TensorProto:
    return TensorProto(name="w", data_type=data_type, dims=dims, raw_data=raw)


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (declared(2**62, 2**62), "do not fit the declared shape"),
        (declared(0, 2**62, 2**62, raw=b""), "do not fit the declared shape"),
        (declared(-2, -1), "is no shape"),
        (declared(*[1] * 100_000), r"\(100000 axes\) is no shape"),
        (declared(2, data_type=999), "do not fit the declared shape"),
        (TensorProto(name="w", data_type=TensorProto.STRING, dims=[2**40]), "do not fit the declared shape"),
        (TensorProto(name="w", data_type=TensorProto.INT4, dims=[2**40]), "do not fit the declared shape"),
    ],
)
def test_shapes_that_the_values_do_not_fill(tensor: TensorProto, says: str) -> None:
    refused(with_weight(tensor), says)


def sparse(dims: list[int], indices: np.ndarray) -> onnx.ModelProto:
    proto = tiny.model([helper.make_node("Add", ["x", "w"], ["y"])], [("x", tiny.FLOAT, [2])], [("y", tiny.FLOAT, [2])])
    values = numpy_helper.from_array(np.float32([1]), "w")
    made = onnx.SparseTensorProto(values=values, indices=numpy_helper.from_array(indices), dims=dims)
    proto.graph.sparse_initializer.append(made)
    return proto


@pytest.mark.parametrize(
    ("dims", "indices", "says"),
    [
        ([2**40], np.array([0]), "too large to be written out"),
        ([2**62, 2**62], np.array([[0, 0]]), "too large to be written out"),
        ([-4], np.array([0]), "too large to be written out"),
        ([4], np.array([4]), "no places in the shape"),
        ([4], np.array([-1]), "no places in the shape"),
        ([2, 2], np.array([[0, 2]]), "no places in the shape"),
        ([2, 2], np.array([[0, 0, 0]]), "no places in the shape"),
        ([4], np.array([0.0]), "no places in the shape"),
    ],
)
def test_sparse_tensors_that_would_fill_the_machine_or_write_elsewhere(
    dims: list[int], indices: np.ndarray, says: str
) -> None:
    refused(sparse(dims, indices), says)


@pytest.mark.parametrize("dims", [[2**40, 2**40], [-4], [2**63 - 1]])
def test_external_data_of_a_giant_shape(dims: list[int], tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    path = tiny.save(with_weight(tensor), tmp_path)
    with pytest.raises(ModelError, match=r"ends beyond w\.bin|is no shape"):
        onnxsal.load(path)


def test_an_input_of_a_giant_shape_is_not_drawn() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, [1, 2**40])], [("y", tiny.FLOAT, [1, 2**40])])
    with pytest.raises(ModelError, match=r"input 'x'.*declares 4,398,046,511,104 bytes"):
        draw(onnxsal.load(proto))


# graphs


def chain(count: int) -> onnx.ModelProto:
    proto = tiny.model([], [("x", tiny.FLOAT, [2])], [("y", tiny.FLOAT, [2])])
    node = helper.make_node("Relu", ["x"], ["x"], name="same").SerializeToString()
    proto.graph.MergeFromString(field(1, node) * count)
    return proto


def test_a_million_nodes() -> None:
    refused(chain(1_000_000), "more than 2,000,000 nodes, attributes and names")
    refused(chain(300_000), "more than 250,000 nodes")


def test_many_nodes_of_one_name_are_told_apart_in_no_time() -> None:
    proto = chain(20_000)
    proto.graph.output[0].name = "x"
    assert len({node.name for node in onnxsal.load(proto).graph.nodes}) == 20_000


def test_a_cycle() -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], name="first"), helper.make_node("Relu", ["a"], ["b"])]
    refused(tiny.model(nodes, [("x", tiny.FLOAT, [2])], [("b", tiny.FLOAT, [2])]), r"'first'.*reads 'b'")


def nested(depth: int) -> onnx.ModelProto:
    """Return an If in an If in an If …"""
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [onnx.ValueInfoProto(name="y")])
    for _ in range(depth):
        node = helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name="y")])
    return tiny.model(list(graph.node), [("c", TensorProto.BOOL, []), ("x", tiny.FLOAT, [2])], [("y", tiny.FLOAT, [2])])


def test_sub_graphs_in_sub_graphs(few_nodes: None) -> None:
    refused(nested(12), "more than 2,000 nodes")  # two branches each


def field(number: int, data: bytes) -> bytes:
    """Return a message's field as it is written in a file."""
    length, size = b"", len(data)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def deep(depth: int) -> bytes:
    """Return a model in which each graph holds a node that holds a graph, by hand: the library refuses to write it."""

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


def test_sub_graphs_nested_deeper_than_the_parser_goes() -> None:
    with pytest.raises(ModelError, match="sub-graphs nest too deeply"):
        onnxsal.load(deep(5_000))


def calling(levels: int, calls: int, body: list[onnx.NodeProto]) -> onnx.ModelProto:
    """Return a model of functions that each call the next several times."""
    proto = tiny.model(
        [helper.make_node("F0", ["x"], ["y"], domain="f")], [("x", tiny.FLOAT, [2])], [("y", tiny.FLOAT, [2])]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    proto.opset_import.append(opsets[1])
    for level in range(levels):
        again = [helper.make_node(f"F{level + 1}", ["x"], ["y"], domain="f") for _ in range(calls)]
        nodes = again if level + 1 < levels else body
        proto.functions.append(helper.make_function("f", f"F{level}", ["x"], ["y"], nodes, opsets))
    return proto


@pytest.mark.parametrize("body", [[helper.make_node("Relu", ["x"], ["y"])], []])
def test_functions_that_call_functions_twice_each(body: list[onnx.NodeProto], few_nodes: None) -> None:
    refused(calling(40, 2, body), "more than 2,000 nodes")


def test_functions_that_bring_their_constants_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalise, "MAX_BODY_BYTES", 2**24)
    constant = numpy_helper.from_array(np.zeros(2**18, np.float32))
    body = [helper.make_node("Constant", [], ["k"], value=constant), helper.make_node("Add", ["x", "k"], ["y"])]
    refused(calling(6, 2, body), "take more than 16,777,216 bytes")


def test_functions_that_call_themselves() -> None:
    proto = calling(1, 1, [helper.make_node("F0", ["x"], ["y"], domain="f")])
    refused(proto, "calls itself, or functions nest deeper than 64")


# names and texts


@pytest.mark.parametrize("field", ["name", "op_type", "domain"])
def test_a_giant_name(field: str) -> None:
    proto = tiny.linear()
    setattr(proto.graph.node[0], field, "a" * 10_000_000)
    refused(proto, "a name of 10,000,000 characters")


def test_a_giant_text_in_an_attribute_does_not_fill_the_message() -> None:
    nodes = [helper.make_node("Resize", ["x", "", "s"], ["y"], name="resize", mode="a" * 10_000_000)]
    proto = tiny.model(
        nodes, [("x", tiny.FLOAT, [1, 1, 2, 2])], [("y", tiny.FLOAT, None)], {"s": np.float32([1, 1, 2, 2])}
    )
    with pytest.raises(Exception, match="characters") as fault:
        onnxsal.explain(proto, {"x": np.ones((1, 1, 2, 2), np.float32)}, verify=False)
    assert len(str(fault.value)) < 25_000


# bombs: two bytes in the file, a hundred in memory


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x0a\x00" * 2**24,  # nodes that say nothing, in the graph
        b"\x0a\x80\x80\x80\x10" + b"\x2a\x00" * 2**24,  # attributes of one node
    ],
)
def test_a_file_of_empty_messages(bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FIELDS", 200_000)
    data = field(7, bomb)
    with pytest.raises(ModelError, match="more than 200,000 nodes, attributes and names"):
        read.read_proto(data)


def test_large_weights_are_stepped_over() -> None:
    proto = tiny.linear()
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(2**23, np.float32), "large"))
    data = proto.SerializeToString()
    started = time.perf_counter()
    wire.check_size(data, onnx.ModelProto.DESCRIPTOR, "model")
    assert time.perf_counter() - started < 0.1


REFUSED: dict[str, Callable[[], bytes]] = {
    "nodes": lambda: chain(1_000_000).SerializeToString(),
    "calls": lambda: calling(40, 2, []).SerializeToString(),
    "deep": lambda: deep(5_000),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_the_command_refuses_in_bounded_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.onnx"
    path.write_bytes(REFUSED[name]())
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({8 * 2**30}, {8 * 2**30}))\n"
    script = (
        limited
        + "import sys; from onnxsal.cli import main; sys.argv = ['onnxsal', 'inspect', sys.argv[1]]; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
