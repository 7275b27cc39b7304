from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from onnxsal.importer.ops import activations
from tests.importer.ops.support import check, node_model

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32) * 2
EXTREMES = np.array([-np.inf, -88, -1e-30, -0.0, 0.0, 1e-30, 20, 88, np.inf, np.nan], np.float32)

PLAIN = [
    ("Relu", {}, (7, 13, 14)),
    ("LeakyRelu", {}, (7, 16)),
    ("LeakyRelu", {"alpha": 0.3}, (7,)),
    ("Elu", {"alpha": 0.7}, (7, 22)),
    ("Selu", {}, (7, 22)),
    ("Selu", {"alpha": 2.0, "gamma": 0.5}, (7,)),
    ("Celu", {"alpha": 1.7}, (12,)),
    ("ThresholdedRelu", {"alpha": 0.4}, (10, 22)),
    ("Sigmoid", {}, (7, 13)),
    ("HardSigmoid", {}, (7, 22)),
    ("HardSigmoid", {"alpha": 0.5, "beta": 0.3}, (7,)),
    ("HardSwish", {}, (14, 22)),
    ("Softplus", {}, (7, 22)),
    ("Softsign", {}, (7, 22)),
    ("Tanh", {}, (7, 13)),
    ("Gelu", {}, (20,)),
    ("Gelu", {"approximate": "tanh"}, (20,)),
    ("Mish", {}, (18, 22)),
    ("Erf", {}, (9, 13)),
    ("Shrink", {"bias": 0.4, "lambd": 0.9}, (9,)),
]


@pytest.mark.parametrize(
    ("name", "attributes", "opset"), [(name, a, opset) for name, a, opsets in PLAIN for opset in opsets]
)
def test_like_onnxruntime(name: str, attributes: dict[str, float], opset: int) -> None:
    check(name, [X], opset=opset, gradient=True, trace=True, **attributes)


@pytest.mark.parametrize("name", ["Relu", "LeakyRelu", "Elu", "Sigmoid", "Softplus", "Softsign", "Tanh", "Erf"])
def test_extremes(name: str) -> None:
    check(name, [EXTREMES], opset=13)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_widths(dtype: type) -> None:
    check("Relu", [X.astype(dtype)], opset=14, rtol=1e-3)
    check("Clip", [X.astype(dtype), np.array(-0.5, dtype), np.array(1, dtype)], opset=13, rtol=1e-3)
    expected = X.astype(dtype) / (1 + np.exp(-X.astype(dtype)))
    check("Swish", [X.astype(dtype)], opset=24, rtol=4e-3, atol=1e-3, expected=[expected])


def test_swish_scales_inside() -> None:
    check("Swish", [X], opset=24, alpha=1.7, gradient=True, expected=[X / (1 + np.exp(-1.7 * X))])


@pytest.mark.parametrize("alpha", [1.0, 0.6])
def test_swiglu(alpha: float) -> None:
    expected = X / (1 + np.exp(-alpha * X)) * (X + 1)
    check("SwiGLU", [X, X + 1], opset=28, alpha=alpha, gradient=True, trace=True, expected=[expected])


def test_selu_had_rounded_constants() -> None:
    below = 1.0507 * 1.6732 * (np.exp(X) - 1)
    check("Selu", [X], opset=1, expected=[np.where(X > 0, 1.0507 * X, below).astype(np.float32)])


@pytest.mark.parametrize("slope", [(1,), (4,), (3, 1), (2, 3, 4)])
@pytest.mark.parametrize("opset", [7, 9, 16])
def test_prelu(slope: tuple[int, ...], opset: int) -> None:
    weights = np.random.default_rng(1).uniform(0.1, 1, slope).astype(np.float32)
    check("PRelu", [X, weights], opset=opset, gradient=True, trace=True)


def test_prelu_once_had_one_slope_a_channel() -> None:
    slope = np.array([0.1, 0.2, 0.3], np.float32)
    check("PRelu", [X, slope], opset=6, expected=[np.where(X > 0, X, X * slope[:, None])])


def test_prelu_of_integers() -> None:
    x = np.array([-3, 2, -5], np.int32)
    check("PRelu", [x, np.array([2], np.int32)], opset=16, expected=[np.array([-6, 2, -10], np.int32)])
    big = np.array([2**63 + 1, 4], np.uint64)
    check("PRelu", [big, np.array([2], np.uint64)], opset=16, expected=[big])


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize(
    ("opset", "attributes"),
    [(7, {}), (11, {"axis": 0}), (11, {"axis": 2}), (12, {"axis": -1}), (13, {}), (13, {"axis": 1})],
)
def test_along_axes(name: str, opset: int, attributes: dict[str, int]) -> None:
    check(name, [X], opset=opset, gradient=name != "Hardmax", trace=True, **attributes)


def test_hardmax_takes_the_first_of_equals() -> None:
    check("Hardmax", [np.array([[1, 3, 3], [2, 2, 2]], np.float32)], opset=13)


RANGES = [(-0.5, 1.0), (None, 0.3), (-0.2, None), (None, None), (0.0, 6.0), (0.0, None), (2.0, -2.0)]


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("opset", [11, 13])
def test_clip(low: float | None, high: float | None, constant: bool, opset: int) -> None:
    ends = [None if end is None else np.array(end, np.float32) for end in (low, high)]
    given = [i for i, end in enumerate(ends, 1) if end is not None]
    check("Clip", [X, *ends], opset=opset, constants=given if constant else (), gradient=constant, trace=True)


def test_clip_by_attributes() -> None:
    check("Clip", [X], opset=6, expected=[X.clip(-0.5, 1)], min=-0.5, max=1.0)
    check("Clip", [X], opset=7, min=-0.5)
    check("Clip", [EXTREMES], opset=10)
    check("Clip", [X], opset=1, max=0.5, expected=[X.clip(max=0.5)])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_clip_of_integers(dtype: type) -> None:
    x = np.array([0, 3, 100, np.iinfo(dtype).max], dtype)
    check("Clip", [x, np.array(2, dtype), np.array(101, dtype)], opset=13)
    check("Clip", [x, np.array(2, dtype), np.array(101, dtype)], opset=13, constants=(1, 2))


@pytest.mark.parametrize("constant", [False, True])
def test_no_gradient_flows_through_the_rim_of_clip(constant: bool) -> None:
    ends = [np.array(0, np.float32), np.array(6, np.float32)]
    model = node_model("Clip", [X, *ends], opset=13, constants=(1, 2) if constant else ())
    x = torch.tensor([-1.0, 0.0, 3.0, 6.0, 7.0], requires_grad=True)
    module = build(normalise(model))
    fed = (x,) if constant else (x, *map(torch.from_numpy, ends))
    module(*fed)[0].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("ends", "kind"), [((0.0, 6.0), nn.ReLU6), ((0.0, None), nn.ReLU), ((-1.0, 1.0), activations.Clamp)]
)
def test_clip_becomes_a_native_layer(ends: tuple[float | None, ...], kind: type) -> None:
    arrays = [None if end is None else np.array(end, np.float32) for end in ends]
    given = [i for i, end in enumerate(arrays, 1) if end is not None]
    module = build(normalise(node_model("Clip", [X, *arrays], opset=13, constants=given)))
    assert kind in {type(m) for m in module.modules()}


def test_consumed_inputs_mean_nothing() -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"], consumed_inputs=[0])
    port = onnx.helper.make_tensor_value_info("x", 1, [2])
    graph = onnx.helper.make_graph([node], "g", [port], [onnx.ValueInfoProto(name="y")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 1)])
    assert build(normalise(model))(torch.tensor([-1.0, 2.0]))[0].tolist() == [0, 2]
