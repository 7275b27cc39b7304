from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.fx.experimental.proxy_tensor import make_fx

from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check, node_model

X = np.array([[-2.7, 0.0, 1.5], [3.9, 100.2, -0.4]], np.float32)
DTYPES = ["bool", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
UNSIGNED = ["uint8", "uint16", "uint32", "uint64"]


def _element(dtype: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
@pytest.mark.parametrize("opset", [7, 13, 19])
def test_between_numbers(source: str, to: str, opset: int) -> None:
    check("Cast", [X.astype(source)], opset=opset, to=_element(to), trace=opset == 13)


@pytest.mark.parametrize("to", UNSIGNED)
@pytest.mark.parametrize("source", [*DTYPES, *UNSIGNED])
@pytest.mark.parametrize("constants", [(), (0,)])
def test_to_unsigned(source: str, to: str, constants: tuple[int, ...]) -> None:
    check("Cast", [np.abs(X).astype(source)], opset=13, to=_element(to), constants=constants)


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("source", UNSIGNED)
def test_from_unsigned(source: str, to: str) -> None:
    x = np.array([0, 7, 100], source)
    check("Cast", [x], opset=13, to=_element(to))


def test_large_unsigned_to_floating() -> None:
    check("Cast", [np.array([2**64 - 2**12, 2**63, 5], np.uint64)], opset=13, to=TensorProto.DOUBLE)


def test_higher_bits_are_dropped() -> None:
    x = np.array([200, -200, 70000], np.int32)
    check("Cast", [x], opset=13, to=TensorProto.INT8)
    check("Cast", [x], opset=13, to=TensorProto.UINT16)
    check("Cast", [x], opset=13, to=TensorProto.UINT64)


def test_gradient_flows_between_floats() -> None:
    check("Cast", [X], opset=13, to=TensorProto.DOUBLE, gradient=True)


def test_types_had_names_once() -> None:
    check("Cast", [X], opset=1, to="INT32", expected=[X.astype(np.int32)])
    check("Cast", [X.astype(np.int32)], opset=1, to="float", expected=[X.astype(np.int32).astype(np.float32)])


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ImportFault, match="FLOTA"):
        build(normalise(node_model("Cast", [X], opset=1, to="FLOTA")))(torch.from_numpy(X))


HARD = np.array([0.0, -0.0, 0.3, 1.75, 463.0, 465.0, -3e5, 57344.0, 61441.0, np.inf, -np.inf, np.nan], np.float32)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"])
@pytest.mark.parametrize("source", [np.float32, np.float16])
def test_float8_saturates(dtype: str, source: type) -> None:
    with np.errstate(over="ignore"):
        x = HARD.astype(source)
    kind = np.dtype(getattr(ml_dtypes, dtype))
    largest = np.array(ml_dtypes.finfo(kind).max, np.float32)
    wide = x.astype(np.float32)
    clipped = np.where(np.isnan(wide), wide, np.clip(wide, -largest, largest)).astype(kind)
    check("Cast", [x], opset=19, to=_element(kind), expected=[clipped])
    check("Cast", [x], opset=19, to=_element(kind), saturate=0, expected=[wide.astype(kind)])


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "bfloat16"])
def test_from_small_floats(dtype: str) -> None:
    x = X.astype(getattr(ml_dtypes, dtype))
    check("Cast", [x], opset=19, to=TensorProto.FLOAT, expected=[x.astype(np.float32)])
    check("Cast", [x], opset=19, to=TensorProto.INT32, expected=[x.astype(np.int32)])


def test_bfloat16_rounds_to_even() -> None:
    x = np.array([1.00390625, 1.01171875, 3.1415927, 1e38], np.float32)
    check("Cast", [x], opset=13, to=TensorProto.BFLOAT16, expected=[x.astype(ml_dtypes.bfloat16)])


@pytest.mark.parametrize(
    ("round_mode", "exponents"), [("up", [1, 2, 2, 2]), ("down", [1, 1, 1, 1]), ("nearest", [1, 1, 2, 2])]
)
def test_powers_of_two(round_mode: str, exponents: list[int]) -> None:
    x = np.array([2.0, 2.9, 3.0, 3.5], np.float32)
    expected = np.array([2.0**e for e in exponents], np.float32).astype(ml_dtypes.float8_e8m0fnu)
    check("Cast", [x], opset=24, to=TensorProto.FLOAT8E8M0, round_mode=round_mode, expected=[expected])


def test_an_unknown_round_mode_is_refused() -> None:
    model = node_model("Cast", [X], opset=24, to=TensorProto.FLOAT8E8M0, round_mode="sideways")
    with pytest.raises(ImportFault, match="sideways"):
        build(normalise(model))(torch.from_numpy(X))


def test_float4() -> None:
    x = np.array([0.2, 0.25, 0.3, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0, -1e9, np.inf], np.float32)
    expected = x.astype(ml_dtypes.float4_e2m1fn).astype(np.float32)
    check("Cast", [x], opset=23, to=TensorProto.FLOAT4E2M1, expected=[expected])


@pytest.mark.parametrize(
    ("to", "expected"),
    [("INT4", [7, -8, -1, 3]), ("UINT4", [7, 8, 15, 3]), ("INT2", [-1, 0, -1, -1]), ("UINT2", [3, 0, 3, 3])],
)
def test_integers_narrower_than_a_byte(to: str, expected: list[int]) -> None:
    carrier = np.int8 if to.startswith("I") else np.uint8
    x = np.array([7, 8, -1, 19], np.int32)
    check("Cast", [x], opset=25, to=TensorProto.DataType.Value(to), expected=[np.array(expected, carrier)])


NUMBERS = np.array([0.5, -1.25, 3.1415927, 1e-7, 1e20, np.inf, -np.inf, np.nan, 7.0], np.float32)


@pytest.mark.parametrize("constants", [(), (0,)])
@pytest.mark.parametrize("x", [NUMBERS, NUMBERS.astype(np.float64), np.array([-3, 0, 2**40])], ids=["f4", "f8", "i8"])
def test_to_text(x: np.ndarray, constants: tuple[int, ...]) -> None:
    check("Cast", [x], opset=13, to=TensorProto.STRING, constants=constants)


@pytest.mark.parametrize("constants", [(), (0,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_from_text(dtype: type, constants: tuple[int, ...]) -> None:
    x = np.array([["0.5", "-1e-3"], ["INF", "-inf"], ["nan", "+7"]], object)
    check("Cast", [x], opset=13, to=_element(dtype), constants=constants, expected=[x.astype(dtype)])


def test_whole_numbers_from_text() -> None:
    check("Cast", [np.array(["3", "-12"], object)], opset=13, to=TensorProto.INT64)
    check("Cast", [np.array(["100.5"], object)], opset=13, to=TensorProto.INT32, expected=[np.array([100], np.int32)])


def test_what_follows_a_cast_to_text_sees_text() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["text"], to=TensorProto.STRING),
        helper.make_node("Equal", ["text", "seven"], ["y"]),
    ]
    seven = helper.make_tensor("seven", TensorProto.STRING, [1], [b"7"])
    port = helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])
    graph = helper.make_graph(nodes, "g", [port], [onnx.ValueInfoProto(name="y")], [seven])
    module = build(normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])))
    assert module(torch.tensor([7, 8]))[0].tolist() == [True, False]


@pytest.mark.parametrize("to", [*DTYPES, *UNSIGNED])
@pytest.mark.parametrize("opset", [15, 19])
def test_like(to: str, opset: int) -> None:
    target = np.zeros(1, to)
    check("CastLike", [np.abs(X), target], opset=opset, expected=[np.abs(X).astype(to)])
    check("CastLike", [np.abs(X), target], opset=opset, expected=[np.abs(X).astype(to)], constants=(0, 1))


def test_like_float8_saturates() -> None:
    target = np.zeros(1, ml_dtypes.float8_e4m3fn)
    x = np.array([500.0, 1.0], np.float32)
    check("CastLike", [x, target], opset=19, expected=[np.array([448, 1], ml_dtypes.float8_e4m3fn)])
    check("CastLike", [x, target], opset=19, saturate=0, expected=[np.array([np.nan, 1], ml_dtypes.float8_e4m3fn)])


def test_like_text() -> None:
    check("CastLike", [np.array([1, 2]), np.array(["a"], object)], opset=19, constants=(1,))


@pytest.mark.parametrize(("source", "to"), [("f4", "i4"), ("i8", "f8"), ("u2", "i2"), ("i1", "u1"), ("u8", "i8")])
def test_bits_are_read_anew(source: str, to: str) -> None:
    x = np.array([[1, 2, 3], [4, 5, 6]], source)
    check("BitCast", [x], opset=26, to=_element(to), expected=[x.view(to)])


def test_bits_of_another_size_are_refused() -> None:
    with pytest.raises(ImportFault, match="size"):
        build(normalise(node_model("BitCast", [X], opset=26, to=TensorProto.DOUBLE)))(torch.from_numpy(X))


@pytest.mark.parametrize("to", [TensorProto.FLOAT, TensorProto.INT32, TensorProto.BOOL])
def test_shapes_stay_symbolic(to: int) -> None:
    nodes = [helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Cast", ["shape"], ["y"], to=to)]
    port = helper.make_tensor_value_info("x", 1, ["a", "b"])
    graph = helper.make_graph(nodes, "g", [port], [onnx.ValueInfoProto(name="y")])
    module = build(normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])))
    traced = make_fx(module, tracing_mode="symbolic")(torch.zeros(5, 4))
    expected = [True, True] if to == TensorProto.BOOL else [7, 3]
    assert traced(torch.zeros(7, 3))[0].tolist() == expected
    assert module(torch.zeros(7, 3))[0].tolist() == expected


@pytest.mark.parametrize(("to", "expected"), [("int4", [7, -8, 3]), ("uint4", [7, 8, 3]), ("float4_e2m1fn", [6, 6, 6])])
@pytest.mark.parametrize("constants", [(), (1,)])
def test_like_a_type_that_torch_lacks(to: str, expected: list[int], constants: tuple[int, ...]) -> None:
    target = np.zeros(1, getattr(ml_dtypes, to))
    carrier = {"int4": np.int8, "uint4": np.uint8}.get(to, np.float32)
    x = np.array([7, 8, 19], np.float32)
    check("CastLike", [x, target], opset=23, constants=constants, expected=[np.array(expected, carrier)])


def test_like_text_that_is_an_input() -> None:
    check("CastLike", [np.array([1, 2]), np.array(["a"], object)], opset=19)
