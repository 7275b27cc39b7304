"""Networks that ONNX Runtime's own quantisers wrote: the same answers, and the float network's gradients."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

import onnxsal
from onnxsal.parity import verify

pytestmark = pytest.mark.filterwarnings("ignore")
RANDOM = np.random.default_rng(29)


class Examples(CalibrationDataReader):
    """A few random pictures to find the ranges with."""

    def __init__(self):
        self.rest = iter(_pictures(8, seed) for seed in range(4))

    def get_next(self):
        """Return the next feeds, or None."""
        pictures = next(self.rest, None)
        return None if pictures is None else {"x": pictures}


def _pictures(count, seed):
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype(np.float32)


def _network():
    """Return a small network of what quantisers know: convolutions, a shortcut, joining, pooling, a product."""

    def weight(name, *shape):
        values = RANDOM.standard_normal(shape) / np.sqrt(max(1, int(np.prod(shape[1:]))))
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


@pytest.fixture(scope="module")
def float_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "float.onnx"
    onnx.save(_network(), path)
    return path


def _gradient(path):
    x = torch.from_numpy(_pictures(4, 99)).requires_grad_()
    (y,) = onnxsal.load(path).torch()(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    return gradient.flatten()


FORMATS = [
    ("QOperator", "QUInt8", "QInt8"),
    ("QOperator", "QUInt8", "QUInt8"),
    ("QOperator", "QInt8", "QInt8"),
    ("QDQ", "QUInt8", "QInt8"),
    ("QDQ", "QInt8", "QInt8"),
    ("QDQ", "QUInt16", "QInt8"),
]


@pytest.mark.parametrize(("form", "activations", "weights"), FORMATS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_static(float_file, tmp_path, form, activations, weights, per_channel):
    path = tmp_path / "int8.onnx"
    quantize_static(
        float_file, path, Examples(), quant_format=QuantFormat[form], activation_type=QuantType[activations],
        weight_type=QuantType[weights], per_channel=per_channel,
    )  # fmt: skip
    parity = verify(onnxsal.load(path), {"x": _pictures(16, 7)}, tolerance=2e-2)
    assert parity.ok, (parity.outputs, parity.first)
    quantised, real = _gradient(path), _gradient(float_file)
    assert torch.nn.functional.cosine_similarity(quantised, real, 0) > 0.95


def test_dynamic(float_file, tmp_path):
    path = tmp_path / "dynamic.onnx"
    quantize_dynamic(float_file, path, weight_type=QuantType.QUInt8)
    parity = verify(onnxsal.load(path), {"x": _pictures(1, 7)}, tolerance=2e-2)
    assert parity.ok, (parity.outputs, parity.first)
    quantised, real = _gradient(path), _gradient(float_file)
    assert torch.nn.functional.cosine_similarity(quantised, real, 0) > 0.95
