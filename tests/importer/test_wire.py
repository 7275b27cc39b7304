"""What is left apart of a file while it is parsed, and that nothing a file holds is understood differently for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxsal
from onnxsal.errors import ModelError
from onnxsal.importer import read, wire
from onnxsal.importer.normalise import normalise
from tests import models_for_tests as tiny


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every file apart, and leave apart what has 16 bytes."""
    monkeypatch.setattr(wire, "LOOKED_AT_FROM", 0)
    monkeypatch.setattr(read, "LOOKED_AT_FROM", 0)
    monkeypatch.setattr(wire, "LARGE", 16)


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def everywhere(length: int = 4) -> onnx.ModelProto:
    """Return a model with weights in the graph, in constants, in both branches of an If, in a function, and sparse."""
    ports = [("x", tiny.FLOAT, [length])], [("y", tiny.FLOAT, [length])]
    branches = {
        f"{name}_branch": helper.make_graph(
            [
                helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(numbers(1, length))),
                helper.make_node("Add", ["k", name], ["z"]),
            ],
            name,
            [],
            [helper.make_tensor_value_info("z", tiny.FLOAT, [length])],
            [numpy_helper.from_array(numbers(len(name), length), name)],
        )
        for name in ("then", "else")
    }
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(numbers(2, length))),
        helper.make_node("Cast", ["flag"], ["b"], to=TensorProto.BOOL),
        helper.make_node("If", ["b"], ["i"], **branches),
        helper.make_node("F", ["i"], ["f"], domain="f"),
        helper.make_node("Sum", ["x", "w", "c", "f", "s", "typed"], ["y"]),
    ]
    constants = {"w": numbers(3, length), "flag": np.float32(1)}
    proto = tiny.model(nodes, *ports, constants)
    proto.graph.initializer.append(helper.make_tensor("typed", TensorProto.FLOAT, [length], numbers(4, length)))
    values, places = (numpy_helper.from_array(array) for array in (numbers(5, length), np.arange(length)))
    values.name = "s"
    proto.graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, indices=places, dims=[length]))
    body = [
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(numbers(6, length))),
        helper.make_node("Mul", ["a", "k"], ["r"]),
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    proto.opset_import.append(opsets[1])
    proto.functions.append(helper.make_function("f", "F", ["a"], ["r"], body, opsets))
    return proto


def tensors(message: Any) -> Iterator[TensorProto]:
    """Yield the tensors of a message, however deep they are in it."""
    if isinstance(message, TensorProto):
        yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from tensors(inner)


def put_back(proto: onnx.ModelProto, apart: read.Apart) -> onnx.ModelProto:
    for tensor in tensors(proto):
        if tensor.HasField("raw_data"):
            tensor.raw_data = bytes(apart.read(tensor.raw_data))
    return proto


def answer(data: bytes, whole: bool) -> bytes | str:
    """Return what is read of a file, or what is said against it."""
    try:
        proto = read.read_proto(data) if whole else put_back(*read.read_apart(data))
    except ModelError as error:
        return str(error)
    return proto.SerializeToString(deterministic=True)


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("length", [4, 31, 32, 33, 5_000])  # lengths that take one, two and three bytes to write
def test_the_rest_and_what_is_apart_are_the_file(length: int) -> None:
    data = everywhere(length).SerializeToString()
    proto, apart = read.read_apart(data)
    assert len(apart.places) == 9
    assert proto.ByteSize() < len(data) - 8 * 4 * length + 9 * 20
    assert put_back(proto, apart) == read.read_proto(data)


@pytest.mark.usefixtures("small_is_large")
def test_damaged_files_are_understood_as_the_parser_does_or_refused_with_the_same_words() -> None:
    """One byte is another, or the file ends early: whatever a length says then, nothing else is read."""
    data = everywhere().SerializeToString()
    kinds = set()
    for at in range(len(data)):
        changed = [data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :] for flip in (1, 4, 0x80, 0xFF)]
        for damaged in (*changed, data[:at]):
            got = answer(damaged, whole=False)
            assert got == answer(damaged, whole=True)
            kinds.add(type(got))
    assert kinds == {bytes, str}


@pytest.mark.usefixtures("small_is_large")
def test_a_file_cannot_hold_a_stand_in_of_its_own() -> None:
    data = everywhere().SerializeToString()
    (first, *_), (second, *_) = (read.read_apart(data)[1].places for _ in range(2))
    assert first != second
    assert len(first) == 20


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("on_disk", [True, False])
def test_arrays_are_the_same_in_step_and_held_once(on_disk: bool, tmp_path: Path) -> None:
    """The name before the weights moves them through the file: numbers of four bytes lie at any place there."""
    for length in range(5):
        proto = everywhere()
        proto.producer_name = "p" * length
        whole = normalise(proto)
        model = onnxsal.load(tiny.save(proto, tmp_path) if on_disk else proto)
        assert list(model.graph.constants) == list(whole.constants)
        for name, array in model.graph.constants.items():
            np.testing.assert_array_equal(array, whole.constants[name])
            assert array.dtype == whole.constants[name].dtype
        for name in ("w", "c"):
            array = model.graph.constants[name]
            address = array.__array_interface__["data"][0]
            assert address % 16 == 0
            assert not array.flags.writeable
            assert model.torch().get_parameter(f"weight_{name}").untyped_storage().data_ptr() == address


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("name", ["int4", "bfloat16", "float8_e4m3fn", "float16", "bool", "complex64"])
def test_types_of_all_widths(name: str, tmp_path: Path) -> None:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(getattr(TensorProto, name.upper(), None) or TensorProto.FLOAT)
    dtype = np.dtype(name) if name in {"bool", "complex64"} else dtype
    array = np.arange(64).reshape(8, 8).astype(np.float32).astype(dtype)
    constants = {"w": array}
    proto = tiny.model([helper.make_node("Identity", ["w"], ["y"])], [], [("y", 1, None)], constants)
    model = onnxsal.load(tiny.save(proto, tmp_path))
    got = model.graph.constants["w"]
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got.astype(np.complex64), array.astype(np.complex64))


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"float_data": [1.0] * 4}, "holds its values twice, in raw_data and in float_data"),
        ({"dims": [5]}, "do not fit the declared shape"),
        ({"dims": [2**40]}, "do not fit the declared shape"),
        ({"data_type": TensorProto.DOUBLE}, "do not fit the declared shape"),
        ({"raw_data": b"\0" * 17}, "do not fit the declared shape"),
    ],
)
def test_what_is_refused_of_a_whole_tensor_is_refused_of_one_apart(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    tensor = TensorProto(**{"name": "w", "data_type": TensorProto.FLOAT, "dims": [4], "raw_data": b"\0" * 16} | change)
    proto = tiny.model([helper.make_node("Add", ["x", "w"], ["y"])], [("x", 1, [4])], [("y", 1, [4])])
    proto.graph.initializer.append(tensor)
    with pytest.raises(ModelError, match=says):
        onnxsal.load(tiny.save(proto, tmp_path))


@pytest.mark.parametrize(
    ("filling", "says"),
    [
        (b"\xff", "not an ONNX model"),
        (b"\x80", "not an ONNX model"),
        (b"\x0b", "more than 2,000,000"),
        (b"\x0c", "more than 2,000,000"),
    ],
)
def test_bytes_that_are_no_message_take_no_time(filling: bytes, says: str) -> None:
    """Numbers without an end; groups that begin and never end, or end and never began."""
    started = time.perf_counter()
    with pytest.raises(ModelError, match=says):
        read.read_apart(filling * wire.LOOKED_AT_FROM)
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize("first", [b"\xa3\x06\xa4\x06", b"\x0f"])
def test_a_bomb_behind_what_the_parser_steps_over_or_stops_at_is_found(
    first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group of an unknown field comes first, or a byte that is no field comes last, which the parser meets late."""
    monkeypatch.setattr(wire, "MAX_FIELDS", 200_000)
    nodes = b"\x0a\x00" * 2**23
    graph = b"\x3a" + wire._number(len(nodes)) + nodes
    data = graph + first if first == b"\x0f" else first + graph
    with pytest.raises(ModelError, match="more than 200,000 nodes, attributes and names"):
        read.read_apart(data)
