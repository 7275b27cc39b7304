"""Tiny ONNX models whose answers and gradients are known on paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64

Declared = tuple[str, int, Sequence[Any] | None]


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Declared],
    outputs: Sequence[Declared],
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    **metadata: str,
) -> onnx.ModelProto:
    """Return a model of these nodes; ports are (name, element type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(proto, metadata)
    return proto


WEIGHT = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -1.0]], np.float32).T
BIAS = np.array([0.5, -0.5], np.float32)


def linear(batch: int | str = "N", **metadata: str) -> onnx.ModelProto:
    """``logits = x @ WEIGHT + BIAS``: 3 features, 2 classes; the gradient of class c is column c of the weight."""
    nodes = [helper.make_node("Gemm", ["x", "weight", "bias"], ["logits"], name="gemm")]
    return model(
        nodes, [("x", FLOAT, [batch, 3])], [("logits", FLOAT, [batch, 2])], {"weight": WEIGHT, "bias": BIAS}, **metadata
    )


def square(batch: int | str = "N") -> onnx.ModelProto:
    """``y = sum over features of x²``: the gradient is 2x."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["squares"], name="mul"),
        helper.make_node("ReduceSum", ["squares", "axes"], ["y"], name="sum", keepdims=0),
    ]
    return model(nodes, [("x", FLOAT, [batch, 3])], [("y", FLOAT, [batch])], {"axes": np.array([1])})


def two_inputs() -> onnx.ModelProto:
    """``y = a * gate + table[ids]`` with a float input, a float gate and token ids, all per example."""
    nodes = [
        helper.make_node("Mul", ["a", "gate"], ["gated"], name="mul"),
        helper.make_node("Gather", ["table", "ids"], ["embedded"], name="gather"),
        helper.make_node("Add", ["gated", "embedded"], ["y"], name="add"),
    ]
    inputs = [("a", FLOAT, ["N", 2]), ("gate", FLOAT, ["N", 2]), ("ids", INT64, ["N"])]
    return model(nodes, inputs, [("y", FLOAT, ["N", 2])], {"table": np.arange(8, dtype=np.float32).reshape(4, 2)})


def save(proto: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Write the model into a folder and return its path."""
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path
