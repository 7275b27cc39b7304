"""Stored weights that become floats once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import onnxsal
from onnxsal.importer.fold import fold
from onnxsal.importer.lookup import default_lookup
from onnxsal.importer.normalise import normalise
from tests import models_for_tests as tiny
from tests import models_quantised as quantised


def test_dequantised_weights_make_a_native_layer_and_keep_their_name() -> None:
    model = onnxsal.load(quantised.qdq_linear())
    module = model.torch()
    assert isinstance(module.get_submodule("gemm"), nn.Linear)
    assert "weights" not in {n.meta["onnx"].name for n in module.graph.nodes if "onnx" in n.meta}
    graph = fold(model.graph, default_lookup())
    assert graph.constants["wd"].dtype == np.float32
    assert {"w", "w_scale", "w_zero"}.isdisjoint(graph.constants)
    assert {"scale", "zero"} <= set(graph.constants)
    assert "w" in model.graph.constants  # what the file holds stays what it is


def test_weights_of_a_convolution_are_dequantised_by_channel() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"], name="weights", axis=0),
        helper.make_node("Conv", ["x", "wd"], ["y"], name="conv"),
    ]
    weight = np.arange(-8, 8, dtype=np.int8).reshape(2, 2, 2, 2)
    constants = {"w": weight, "s": np.float32([0.5, 2]), "z": np.int8([1, -1])}
    proto = tiny.model(nodes, [("x", tiny.FLOAT, ["N", 2, 4, 4])], [("y", tiny.FLOAT, ["N", 2, 3, 3])], constants)
    layer = onnxsal.load(proto).torch().get_submodule("conv")
    assert isinstance(layer, nn.Conv2d)
    expected = (weight - np.int8([1, -1]).reshape(-1, 1, 1, 1)) * np.float32([0.5, 2]).reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(layer.weight.numpy(), expected)
    assert onnxsal.parity.verify(onnxsal.load(proto)).ok


def test_halves_that_are_cast_up_share_one_tensor() -> None:
    nodes = [
        helper.make_node("Cast", ["h"], ["w"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="second"),
    ]
    proto = tiny.model(
        nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 3])], {"h": np.eye(3, dtype=np.float16) * 2}
    )
    module = onnxsal.load(proto).torch()
    assert len({p.untyped_storage().data_ptr() for p in module.parameters()}) == 1
    assert module(torch.ones(1, 3))[0].tolist() == [[4, 4, 4]]


@pytest.mark.parametrize("to", [TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL])
def test_a_cast_to_anything_else_stays(to: int) -> None:
    nodes = [helper.make_node("Cast", ["k"], ["y"], name="cast", to=to)]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, [3])], [("y", to, [3])], {"k": np.float32([1, 2, 3])})
    graph = normalise(proto)
    assert fold(graph, default_lookup()) is graph


@pytest.mark.parametrize(
    ("x", "scale", "attributes"),
    [
        (np.int8([[1] * 9]), np.ones(9, np.float32), {"axis": 0}),  # would grow to 9 by 9
        (np.int8([1, 2]), np.ones(1, np.float32), {"axis": 0, "block_size": 2**40}),
        (np.int8([1, 2]), np.ones((9, 1), np.float32), {}),
        (np.int8([1, 2]), np.ones(2, np.float32), {"axis": 5}),
    ],
)
def test_scales_that_do_not_fit_make_nothing_grow_at_import(x: np.ndarray, scale: np.ndarray, attributes: dict) -> None:
    nodes = [helper.make_node("DequantizeLinear", ["k", "s"], ["y"], name="weights", **attributes)]
    proto = tiny.model(nodes, [], [("y", tiny.FLOAT, None)], {"k": x, "s": scale}, opset=21)
    graph = normalise(proto)
    folded = fold(graph, default_lookup())
    assert folded is graph or folded.constants["y"].size == x.size
