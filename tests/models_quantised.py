"""Tiny quantised models, written by hand: QDQ, integer arithmetic, half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tests import models_for_tests as tiny

WEIGHT = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -1.0]], np.float32)
WEIGHT_SCALE = np.array(3 / 127, np.float32)
SCALE = np.array(0.25, np.float32)
"""The step of the activations."""


def qdq_linear() -> onnx.ModelProto:
    """``logits = x @ WEIGHTᵀ``, both rounded: ``x`` to steps of 0.25 from -4 on."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], name="dequantize"),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"], name="weights"),
        helper.make_node("Gemm", ["d", "wd"], ["logits"], name="gemm", transB=1),
    ]
    constants = {
        "scale": SCALE,
        "zero": np.array(16, np.uint8),
        "w": np.round(WEIGHT / WEIGHT_SCALE).astype(np.int8),
        "w_scale": WEIGHT_SCALE,
        "w_zero": np.array(0, np.int8),
    }
    return tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], [("logits", tiny.FLOAT, ["N", 2])], constants)


def dynamic_linear() -> onnx.ModelProto:
    """The same product in integers, the activations rounded to the range they have."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"], name="quantize"),
        helper.make_node("MatMulInteger", ["q", "w", "zero", "w_zero"], ["sums"], name="matmul"),
        helper.make_node("Cast", ["sums"], ["real"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["scale", "w_scale"], ["factor"], name="factor"),
        helper.make_node("Mul", ["real", "factor"], ["logits"], name="scale"),
    ]
    constants = {
        "w": np.round(WEIGHT.T / WEIGHT_SCALE).astype(np.int8),
        "w_scale": WEIGHT_SCALE,
        "w_zero": np.array(0, np.int8),
    }
    return tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], [("logits", tiny.FLOAT, ["N", 2])], constants)


def half_overflow() -> onnx.ModelProto:
    """``y = (300 x)² / 1000``, in half precision all the way: beyond 65,504 where x is 1."""
    half = TensorProto.FLOAT16
    nodes = [
        helper.make_node("Mul", ["x", "k"], ["scaled"], name="scaled"),
        helper.make_node("Mul", ["scaled", "scaled"], ["squared"], name="squared"),
        helper.make_node("Mul", ["squared", "small"], ["y"], name="y"),
    ]
    constants = {"k": np.array([300], np.float16), "small": np.array([1e-3], np.float16)}
    return tiny.model(nodes, [("x", half, ["N", 3])], [("y", half, ["N", 3])], constants)


class Pictures(CalibrationDataReader):  # type: ignore[misc]
    """A few random pictures to find the ranges with."""

    def __init__(self) -> None:
        self.rest = iter(pictures(8, seed) for seed in range(4))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next feeds, or None."""
        pictures = next(self.rest, None)
        return None if pictures is None else {"x": pictures}


def pictures(count: int, seed: int) -> np.ndarray:
    """Return random pictures."""
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype(np.float32)


def picture_network() -> onnx.ModelProto:
    """Return a small network of what quantisers know: convolutions, a shortcut, joining, pooling, a product."""

    random = np.random.default_rng(29)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = random.standard_normal(shape) / np.sqrt(max(1, int(np.prod(shape[1:]))))
        return numpy_helper.from_array(values.astype(np.float32), name)

    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 8, 3, 3), "b2": (8,), "w3": (5, 16), "b3": (5,)}
    weights = [weight(name, *shape) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], name="first"),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1], name="second"),
        helper.make_node("LeakyRelu", ["c2"], ["l2"], alpha=0.2, name="leaky"),
        helper.make_node("Add", ["r1", "l2"], ["s"], name="add"),
        helper.make_node("MaxPool", ["s"], ["p"], kernel_shape=[2, 2], strides=[2, 2], name="max"),
        helper.make_node("AveragePool", ["p"], ["a"], kernel_shape=[2, 2], strides=[2, 2], name="average"),
        helper.make_node("Sigmoid", ["a"], ["g"], name="gate"),
        helper.make_node("Mul", ["a", "g"], ["m"], name="mul"),
        helper.make_node("Concat", ["a", "m"], ["j"], axis=1, name="join"),
        helper.make_node("GlobalAveragePool", ["j"], ["v"], name="whole"),
        helper.make_node("Flatten", ["v"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], transB=1, name="last"),
    ]
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])]
    graph = helper.make_graph(nodes, "graph", ports, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


FORMATS = [
    ("QOperator", "QUInt8", "QInt8"),
    ("QOperator", "QUInt8", "QUInt8"),
    ("QOperator", "QInt8", "QInt8"),
    ("QDQ", "QUInt8", "QInt8"),
    ("QDQ", "QInt8", "QInt8"),
    ("QDQ", "QUInt16", "QInt8"),
]
"""How ONNX Runtime's quantiser writes a graph: the form, and the types of activations and weights."""


def quantise_pictures(
    source: Path, path: Path, form: str, activations: str, weights: str, per_channel: bool = False
) -> None:
    """Write the network with its numbers in few bits."""
    quantize_static(
        source, path, Pictures(), quant_format=QuantFormat[form], activation_type=QuantType[activations],
        weight_type=QuantType[weights], per_channel=per_channel,
    )  # fmt: skip
