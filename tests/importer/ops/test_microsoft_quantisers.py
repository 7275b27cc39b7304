"""Networks that ONNX Runtime's own quantisers wrote: the same answers, and the float network's gradients."""

from __future__ import annotations

import onnx
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

import onnxsal
from onnxsal.parity import verify
from tests.models_quantised import FORMATS, picture_network, pictures, quantise_pictures

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def float_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "float.onnx"
    onnx.save(picture_network(), path)
    return path


def _gradient(path):
    x = torch.from_numpy(pictures(4, 99)).requires_grad_()
    (y,) = onnxsal.load(path).torch()(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    return gradient.flatten()


@pytest.mark.parametrize(("form", "activations", "weights"), FORMATS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_static(float_file, tmp_path, form, activations, weights, per_channel):
    path = tmp_path / "int8.onnx"
    quantise_pictures(float_file, path, form, activations, weights, per_channel)
    parity = verify(onnxsal.load(path), {"x": pictures(16, 7)}, tolerance=2e-2)
    assert parity.ok, (parity.outputs, parity.first)
    quantised, real = _gradient(path), _gradient(float_file)
    assert torch.nn.functional.cosine_similarity(quantised, real, 0) > 0.95


def test_dynamic(float_file, tmp_path):
    path = tmp_path / "dynamic.onnx"
    quantize_dynamic(float_file, path, weight_type=QuantType.QUInt8)
    parity = verify(onnxsal.load(path), {"x": pictures(1, 7)}, tolerance=2e-2)
    assert parity.ok, (parity.outputs, parity.first)
    quantised, real = _gradient(path), _gradient(float_file)
    assert torch.nn.functional.cosine_similarity(quantised, real, 0) > 0.95
