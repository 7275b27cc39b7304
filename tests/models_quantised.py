"""Tiny quantised models, written by hand: QDQ, integer arithmetic, half precision."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

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
