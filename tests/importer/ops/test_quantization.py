"""Quantised arithmetic: the numbers of ONNX Runtime exactly, and gradients that pass through the rounding."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check, run_onnxruntime


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def codes(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


def f32(*values: float) -> np.ndarray:
    return np.array(values[0] if len(values) == 1 else values, np.float32)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("opset", [10, 13, 19, 21, 23])
@pytest.mark.parametrize("constants", [(), (1, 2)])
def test_quantize_and_back(dtype: str, opset: int, constants: tuple[int, ...]) -> None:
    x, scale, shift = floats(3, 4) * 20, f32(0.1), np.array(3, dtype)
    check("QuantizeLinear", [x, scale, shift], opset=opset, constants=constants, rtol=0, atol=0)
    check("DequantizeLinear", [codes(dtype, 3, 4), scale, shift], opset=opset, constants=constants, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_sixteen_bits(dtype: str) -> None:
    x, scale, shift = floats(3, 4) * 2000, f32(0.01), np.array(7, dtype)
    check("QuantizeLinear", [x, scale, shift], opset=21, rtol=0, atol=0)
    check("DequantizeLinear", [codes(dtype, 3, 4), scale, shift], opset=21, rtol=0, atol=0)


def test_halves_are_rounded_to_even_and_what_lies_outside_saturates() -> None:
    x = f32(-1.5, -0.5, 0.5, 1.5, 2.5, 300, -300, np.inf, -np.inf)
    (y,) = check("QuantizeLinear", [x, f32(1), np.array(1, np.uint8)], opset=13, rtol=0, atol=0)
    assert y.tolist() == [0, 1, 1, 3, 3, 255, 0, 255, 0]


def test_without_a_zero_point() -> None:
    check("QuantizeLinear", [floats(5) * 100, f32(0.7)], opset=13, rtol=0, atol=0)
    check("DequantizeLinear", [codes("int32", 5), f32(0.7)], opset=13, rtol=0, atol=0)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_scale_for_every_slice(axis: int) -> None:
    x, n = floats(3, 4, 2) * 20, (3, 4, 2)[axis]
    scale, shift = np.abs(floats(n, seed=1)) + 0.1, codes("int8", n)
    check("QuantizeLinear", [x, scale, shift], opset=13, axis=axis, rtol=0, atol=0)
    check("DequantizeLinear", [codes("int8", 3, 4, 2), scale, shift], opset=13, axis=axis, rtol=0, atol=0)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_scale_for_every_block(axis: int) -> None:
    x = floats(6, 7) * 20
    shape = [6, 7]
    shape[axis] = -(-shape[axis] // 3)
    scale, shift = np.abs(floats(*shape, seed=1)) + 0.1, codes("int8", *shape)
    check("QuantizeLinear", [x, scale, shift], opset=21, axis=axis, block_size=3, rtol=0, atol=0)
    check("DequantizeLinear", [codes("int8", 6, 7), scale, shift], opset=21, axis=axis, block_size=3, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["int4", "uint4"])
def test_four_bits(name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    x, scale, shift = floats(4, 4) * 5, f32(0.5), np.array(1).astype(dtype)
    info = ml_dtypes.iinfo(dtype)
    whole = (np.rint(x / scale) + 1).clip(info.min, info.max)
    carried = whole.astype(np.int8 if name == "int4" else np.uint8)  # torch has no type of four bits
    check("QuantizeLinear", [x, scale, shift], opset=21, constants=(2,), expected=[carried])
    element = helper.np_dtype_to_tensor_dtype(dtype)
    options: dict[str, Any] = {"output_dtype": element}
    check(
        "QuantizeLinear", [x, scale, None], opset=21, expected=[_unshifted(x / scale, info, carried.dtype)], **options
    )
    check("DequantizeLinear", [whole.astype(dtype), scale, shift], opset=21, expected=[((whole - 1) * scale)])


def _unshifted(scaled: np.ndarray, info: Any, dtype: Any) -> np.ndarray:
    return np.rint(scaled).clip(info.min, info.max).astype(dtype)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"])
@pytest.mark.parametrize("saturate", [0, 1])
def test_eight_bit_floats(name: str, saturate: int) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    # between the largest number and twice it ONNX Runtime is not of one mind; those are left out
    x = np.concatenate([floats(40) * 3, np.sign(floats(20)) * np.geomspace(1e5, 1e9, 20)]).astype(np.float32)
    shift = np.array(0).astype(dtype)
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], saturate=saturate),
                helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", 1, [60])],
            [helper.make_tensor_value_info("y", 1, [60])],
            [onnx.numpy_helper.from_array(f32(0.5), "s"), onnx.numpy_helper.from_array(shift, "z")],
        ),
        opset_imports=[helper.make_opsetid("", 19)],
        ir_version=9,
    )
    (expected,) = run_onnxruntime(model, [x])
    (y,) = build(normalise(model))(torch.from_numpy(x))
    np.testing.assert_array_equal(y.numpy(), expected)


def test_dynamic_quantize_linear() -> None:
    for x in (floats(3, 4), np.abs(floats(5)) + 1, -np.abs(floats(5)) - 1, np.zeros(3, np.float32)):
        check("DynamicQuantizeLinear", [x], opset=11, n_outputs=3, trace=True)


@pytest.mark.parametrize(("x_type", "w_type"), [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")])
@pytest.mark.parametrize("attributes", [{}, {"pads": [1, 0, 1, 2], "strides": [2, 1]}, {"auto_pad": "SAME_UPPER"}])
def test_qlinear_conv(x_type: str, w_type: str, attributes: dict[str, Any]) -> None:
    x, w, b = codes(x_type, 2, 3, 6, 5), codes(w_type, 4, 3, 3, 3, seed=1), codes("int32", 4) // 2**18
    shift = [np.array(5, x_type), np.array(0 if w_type == "int8" else 120, w_type), np.array(9, x_type)]
    for w_scale in (f32(0.02), np.abs(floats(4)) / 50 + 0.01):
        w_shift = shift[1] if w_scale.ndim == 0 else np.full(4, shift[1])
        inputs = [x, f32(0.1), shift[0], w, w_scale, w_shift, f32(0.9), shift[2], b]
        check("QLinearConv", inputs, opset=10, rtol=0, atol=0, constants=(3, 4, 5, 8), **attributes)


def test_a_long_sum_stays_exact() -> None:
    x, w = np.full((1, 2000), 255, np.uint8), np.full((2000, 2), 255, np.uint8)
    w[0] = 254
    (y,) = check("MatMulInteger", [x, w], opset=10, rtol=0, atol=0)
    assert y.tolist() == [[255 * 255 * 2000 - 255] * 2]


@pytest.mark.parametrize("grouped", [1, 2])
def test_conv_integer(grouped: int) -> None:
    x, w = codes("uint8", 1, 4, 6, 6), codes("uint8", 4, 4 // grouped, 3, 3)
    inputs = [x, w, np.array(7, np.uint8), np.array(100, np.uint8)]
    check("ConvInteger", inputs, opset=10, group=grouped, pads=[1, 1, 1, 1], rtol=0, atol=0)
    check("ConvInteger", inputs[:2], opset=10, group=grouped, strides=[2, 1], rtol=0, atol=0)


def test_matmul_integer() -> None:
    a, b = codes("uint8", 2, 3, 4), codes("int8", 2, 4, 5)
    check("MatMulInteger", [a, b], opset=10, rtol=0, atol=0, trace=True)
    check("MatMulInteger", [a, b, np.array(3, np.uint8), np.array(-2, np.int8)], opset=10, rtol=0, atol=0)
    shifts = [np.array(3, np.uint8), codes("int8", 5)]
    check("MatMulInteger", [a[0], b[0], *shifts], opset=10, rtol=0, atol=0)


@pytest.mark.parametrize("opset", [10, 21])
def test_qlinear_matmul(opset: int) -> None:
    a, b = codes("uint8", 2, 3, 4), codes("int8", 4, 5)
    point = np.array(110, np.uint8)
    inputs = [a, f32(0.02), point, b, f32(0.03), np.array(3, np.int8), f32(0.05), point]
    check("QLinearMatMul", inputs, opset=opset, rtol=0, atol=0)
    columns = [a, f32(0.02), point, b, np.abs(floats(5)) / 30, codes("int8", 5), f32(0.05), point]
    check("QLinearMatMul", columns, opset=opset, rtol=0, atol=0, constants=(3, 4, 5))


def _network() -> onnx.ModelProto:
    """Return Quantize, MaxPool, QLinearConv, Reshape, Dequantize: a quantised network in small."""
    arrays = {"s": f32(0.1), "z": np.array(128, np.uint8), "w": codes("int8", 2, 1, 2, 2), "ws": f32(0.01)}
    arrays |= {"wz": np.array(0, np.int8), "ys": f32(0.2), "shape": np.array([1, -1])}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("MaxPool", ["q"], ["p"], kernel_shape=[2, 2]),
        helper.make_node("QLinearConv", ["p", "s", "z", "w", "ws", "wz", "ys", "z"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["r"]),
        helper.make_node("DequantizeLinear", ["r", "ys", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 1, 5, 5])],
        [helper.make_tensor_value_info("y", 1, [1, 18]), helper.make_tensor_value_info("c", 2, [1, 2, 3, 3])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_gradients_pass_a_quantised_network() -> None:
    model, x = _network(), floats(1, 1, 5, 5)
    module = build(normalise(model))
    feed = torch.from_numpy(x).requires_grad_()
    y, inner = module(feed)
    expected = run_onnxruntime(model, [x])
    np.testing.assert_array_equal(y.detach().numpy(), expected[0])
    np.testing.assert_array_equal(inner.numpy(), expected[1])  # an inner value handed out has the file's type
    y.sum().backward()
    weights = torch.from_numpy(codes("int8", 2, 1, 2, 2)).double() * 0.01
    smooth = torch.from_numpy(x).double().requires_grad_()
    pooled = torch.nn.functional.max_pool2d(smooth, 2, 1)
    torch.nn.functional.conv2d(pooled, weights).sum().backward()
    torch.testing.assert_close(feed.grad.double(), smooth.grad, rtol=1e-5, atol=1e-5)


def test_no_gradient_where_the_range_ends() -> None:
    x = torch.tensor([-13.0, -12.7, 0.0, 12.6, 13.0], requires_grad=True)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    arrays = {"s": f32(0.1), "z": np.array(127, np.uint8)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, [5])],
        [helper.make_tensor_value_info("y", 1, [5])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    (y,) = build(normalise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])))(x)
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]
    assert torch.allclose(y, torch.tensor([-12.7, -12.7, 0, 12.6, 12.8]))
