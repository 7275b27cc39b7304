from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch.fx.experimental.proxy_tensor import make_fx

from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from onnxsal.importer.ops import arithmetic
from tests.importer.ops.support import check, node_model

RANDOM = np.random.default_rng(0)
A = RANDOM.uniform(0.5, 3, (2, 3, 4)).astype(np.float32)
B = RANDOM.uniform(0.5, 3, (3, 1)).astype(np.float32)
INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


@pytest.mark.parametrize("name", ["Add", "Sub", "Mul", "Div", "Pow"])
@pytest.mark.parametrize("opset", [7, 13, 14])
def test_binary(name: str, opset: int) -> None:
    check(name, [A, B], opset=opset, gradient=True, trace=True)


@pytest.mark.parametrize("name", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_binary_on_integers(name: str, dtype: type) -> None:
    highest = np.iinfo(dtype).max
    a = np.array([7, 100, highest, highest - 1, 3], dtype)
    b = np.array([2, 3, 2, highest, 3], dtype)
    with np.errstate(all="ignore"):
        expected = {"Add": a + b, "Sub": a - b, "Mul": a * b, "Div": a // b}[name]
    check(name, [a, b], opset=14, expected=[expected])
    check(name, [a, b], opset=14, expected=[expected], constants=(0, 1))


def test_integers_are_divided_towards_zero() -> None:
    a, b = np.array([-7, 7, -7, 7, -6]), np.array([2, -2, -2, 2, 2])
    check("Div", [a, b], opset=14, trace=True)
    check("Div", [a, b], opset=14, constants=(0, 1))


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("Neg", [-3.5, 0, 2]),
        ("Abs", [-3.5, 1, 2]),
        ("Sqrt", [0.25, 1, 7]),
        ("Reciprocal", [-3.5, 0.1, 2]),
        ("Exp", [-3.5, 0, 2]),
        ("Log", [0.1, 1, 20]),
        ("Sin", [-3.5, 0, 2]),
        ("Cos", [-3.5, 0, 2]),
        ("Tan", [-3.5, 0, 1]),
        ("Asin", [-0.9, 0, 0.3]),
        ("Acos", [-0.9, 0, 0.3]),
        ("Atan", [-9, 0, 0.3]),
        ("Sinh", [-3.5, 0, 2]),
        ("Cosh", [-3.5, 0, 2]),
        ("Asinh", [-3.5, 0, 2]),
        ("Acosh", [1.5, 20, 2]),
        ("Atanh", [-0.9, 0, 0.3]),
    ],
)
def test_unary(name: str, inputs: list[float]) -> None:
    x = np.array(inputs, np.float32)
    check(name, [x], opset=13, gradient=True, trace=True)
    check(name, [x], opset=13, constants=(0,))


@pytest.mark.parametrize("name", ["Floor", "Ceil", "Round", "Sign"])
@pytest.mark.parametrize("constants", [(), (0,)])
def test_steps(name: str, constants: tuple[int, ...]) -> None:
    check(name, [np.array([-2.5, -1.5, -0.4, 0.0, 0.5, 1.5, 2.5, 2.6], np.float32)], opset=13, constants=constants)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_signs_of_integers(dtype: type) -> None:
    x = np.array([0, 5, np.iinfo(dtype).max, np.iinfo(dtype).min + 1], dtype)
    check("Sign", [x], opset=13, expected=[np.sign(x)])
    check("Abs", [x], opset=13, expected=[np.abs(x)])
    if np.iinfo(dtype).min:
        check("Neg", [x], opset=13, expected=[-x])


@pytest.mark.parametrize("exponent", [2.0, 0.5, -1.0, 3.0, 0.0])
@pytest.mark.parametrize("constant", [False, True])
def test_power_of_a_number(exponent: float, constant: bool) -> None:
    inputs = [A, np.array(exponent, np.float32)]
    check("Pow", inputs, opset=13, constants=(1,) if constant else (), gradient=True, trace=True)


@pytest.mark.parametrize(("base", "exponent"), [("f4", "i8"), ("f4", "i4"), ("i4", "f4"), ("i8", "i8"), ("f8", "f4")])
@pytest.mark.parametrize("constants", [(), (1,), (0, 1)])
def test_power_has_the_type_of_its_base(base: str, exponent: str, constants: tuple[int, ...]) -> None:
    check("Pow", [np.array([2, 3, 1], base), np.array([3, 2, 5], exponent)], opset=13, constants=constants)
    check("Pow", [np.array([2, 3, 1], base), np.array(2, exponent)], opset=13, constants=constants)


def test_a_constant_exponent_is_a_native_layer() -> None:
    module = build(normalise(node_model("Pow", [A, np.array(2, np.float32)], opset=13, constants=(1,))))
    assert arithmetic.Power in {type(m) for m in module.modules()}


SIGNED = [np.int8, np.int32, np.int64]


@pytest.mark.parametrize("fmod", [0, 1])
@pytest.mark.parametrize("dtype", SIGNED)
@pytest.mark.parametrize("constants", [(), (0, 1)])
def test_mod_of_integers(fmod: int, dtype: type, constants: tuple[int, ...]) -> None:
    a, b = np.array([-7, 7, -7, 7, 6], dtype), np.array([3, -3, -3, 3, 3], dtype)
    check("Mod", [a, b], opset=13, constants=constants, fmod=fmod)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_mod_of_unsigned(dtype: type) -> None:
    highest = np.iinfo(dtype).max
    a, b = np.array([7, highest, highest, highest - 1], dtype), np.array([3, 10, highest - 1, highest], dtype)
    check("Mod", [a, b], opset=13, expected=[a % b])


def test_mod_of_floats() -> None:
    a, b = np.array([-4.3, 7.2, 5.0], np.float32), np.array([2.1, -3.4, 8.0], np.float32)
    check("Mod", [a, b], opset=13, fmod=1, gradient=True)
    check("Mod", [a, b], opset=28, expected=[np.mod(a, b)])


@pytest.mark.parametrize("name", ["Max", "Min", "Sum", "Mean"])
@pytest.mark.parametrize("opset", [8, 13])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_variadic(name: str, opset: int, count: int) -> None:
    check(name, [A, B, A[0] + 0.1][:count], opset=opset, gradient=True, trace=True)


@pytest.mark.parametrize("name", ["Max", "Min"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_extremes_of_integers(name: str, dtype: type) -> None:
    a, b = np.array([0, np.iinfo(dtype).max], dtype), np.array([3, 3], dtype)
    expected = np.maximum(a, b) if name == "Max" else np.minimum(a, b)
    check(name, [a, b], opset=13, expected=[expected])
    check(name, [a, b], opset=13, expected=[expected], constants=(0, 1))


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_bit_shift(direction: str, dtype: type) -> None:
    x, y = np.array([16, np.iinfo(dtype).max, 1, np.iinfo(dtype).max], dtype), np.array([1, 2, 0, 7], dtype)
    expected = x << y if direction == "LEFT" else x >> y
    check("BitShift", [x, y], opset=11, expected=[expected], direction=direction)


def test_bit_shift_over_the_edge() -> None:
    x = np.array([-5, 5, -5, 5], np.int32)
    by = np.array([32, 40, -1, -1], np.int32)
    check("BitShift", [x, by], opset=28, expected=[np.array([-1, 0, -1, 0], np.int32)], direction="RIGHT")
    check("BitShift", [x, by], opset=28, expected=[np.zeros(4, np.int32)], direction="LEFT")


def test_bit_shift_knows_two_directions() -> None:
    module = build(normalise(node_model("BitShift", [np.array([1], np.uint8)] * 2, opset=11, direction="UP")))
    with pytest.raises(ImportFault, match="UP"):
        module(*[torch.tensor([1], dtype=torch.uint8)] * 2)


@pytest.mark.parametrize("name", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_bitwise(name: str, dtype: type) -> None:
    a, b = np.array([12, np.iinfo(dtype).max, 1], dtype), np.array([10, 8, np.iinfo(dtype).max], dtype)
    check(name, [a, b], opset=18)
    check("BitwiseNot", [a], opset=18)


VALUES = [-np.inf, -1, 0, np.nan, np.inf]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_not_numbers_and_infinities(dtype: type) -> None:
    x = np.array(VALUES, dtype)
    check("IsNaN", [x], opset=13, expected=[np.isnan(x)])
    check("IsInf", [x], opset=20, expected=[np.isinf(x)])
    check("IsInf", [x], opset=20, expected=[np.isneginf(x)], detect_positive=0)
    check("IsInf", [x], opset=20, expected=[np.isposinf(x)], detect_negative=0)
    check("IsInf", [x], opset=20, expected=[np.zeros(5, bool)], detect_negative=0, detect_positive=0)


@pytest.mark.parametrize("opset", [1, 6])
@pytest.mark.parametrize(
    ("name", "expected"), [("Add", A + B), ("Sub", A - B), ("Mul", A * B), ("Div", A / B), ("Pow", A**B)]
)
def test_broadcasting_had_to_be_asked_for(name: str, expected: np.ndarray, opset: int) -> None:
    check(name, [A, B[:, 0]], opset=opset, expected=[expected], broadcast=1, axis=1)
    check(name, [A, B[:, 0]], opset=opset, expected=[expected], broadcast=1, axis=-2)


def test_broadcasting_aligned_last_dimensions_by_default() -> None:
    b = np.arange(4, dtype=np.float32)
    check("Add", [A, b], opset=6, expected=[A + b], broadcast=1)
    check("Add", [A, A], opset=6, expected=[A + A])


def _shape_model(op_type: str, *others: Any, cast: int | None = None) -> onnx.ModelProto:
    """Return a model that computes on the shape of its input."""
    nodes = [helper.make_node("Shape", ["x"], ["shape"])]
    if cast:
        nodes.append(helper.make_node("Cast", ["shape"], ["cast"], to=cast))
    weights = [onnx.numpy_helper.from_array(v, f"c{i}") for i, v in enumerate(others)]
    first = "cast" if cast else "shape"
    nodes.append(helper.make_node(op_type, [first, *(w.name for w in weights)], ["y"]))
    port = helper.make_tensor_value_info("x", 1, ["a", "b"])
    graph = helper.make_graph(nodes, "g", [port], [onnx.ValueInfoProto(name="y")], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


TWO, HALF = np.array([2, 2]), np.array([0.5, 0.5], np.float32)
FLOAT = int(onnx.TensorProto.FLOAT)


@pytest.mark.parametrize(
    ("name", "others", "cast", "expected"),
    [
        ("Add", [TWO], None, [9, 5]),
        ("Sub", [TWO], None, [5, 1]),
        ("Mul", [TWO], None, [14, 6]),
        ("Div", [TWO], None, [3, 1]),
        ("Div", [-TWO], None, [-3, -1]),
        ("Mod", [TWO], None, [1, 1]),
        ("Pow", [TWO], None, [49, 9]),
        ("Neg", [], None, [-7, -3]),
        ("Abs", [], None, [7, 3]),
        ("Min", [np.array([5, 5])], None, [5, 3]),
        ("Max", [np.array([5, 5])], None, [7, 5]),
        ("Mul", [HALF], FLOAT, [3.5, 1.5]),
        ("Div", [HALF], FLOAT, [14, 6]),
        ("Sqrt", [], FLOAT, [7**0.5, 3**0.5]),
        ("Floor", [], FLOAT, [7, 3]),
        ("Ceil", [], FLOAT, [7, 3]),
        ("Reciprocal", [], FLOAT, [1 / 7, 1 / 3]),
    ],
)
def test_shapes_are_computed_symbolically(
    name: str, others: list[Any], cast: int | None, expected: list[float]
) -> None:
    module = build(normalise(_shape_model(name, *others, cast=cast)))
    x = torch.zeros(7, 3)
    traced = make_fx(module, tracing_mode="symbolic")(x)
    wanted = torch.tensor(expected, dtype=torch.float32 if cast else torch.int64)
    torch.testing.assert_close(module(x)[0], wanted)
    torch.testing.assert_close(traced(x)[0], wanted)


def test_traced_shapes_stay_symbolic() -> None:
    module = build(normalise(_shape_model("Div", TWO)))
    traced = make_fx(module, tracing_mode="symbolic")(torch.zeros(7, 3))
    assert traced(torch.zeros(12, 9))[0].tolist() == [6, 4]
