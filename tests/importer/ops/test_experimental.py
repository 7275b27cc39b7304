"""Operators that ONNX took back, against ONNX Runtime."""

import numpy as np
import pytest

from tests.importer.ops.support import check

RANDOM = np.random.default_rng(17)
X = RANDOM.standard_normal((2, 3, 6, 5)).astype(np.float32)


@pytest.mark.parametrize("op_type", ["Affine", "ScaledTanh", "ParametricSoftplus"])
def test_elementwise(op_type):
    check(op_type, [X[0, 0]], opset=1, alpha=0.7, beta=-0.4, gradient=True)


def test_image_scaler():
    check("ImageScaler", [X], opset=1, scale=0.5, bias=[0.1, -0.2, 0.3], gradient=True)


def test_crop():
    check("Crop", [X], opset=1, border=[1, 0, 2, 1])
    check("Crop", [X], opset=1, border=[1, 2, 1, 1], scale=[2, 3])


def test_scale():
    check("Scale", [RANDOM.standard_normal(3).astype(np.float32)], opset=7, scale=2.5, gradient=True, trace=True)


@pytest.mark.parametrize("axes", [None, [1, 0], [-1, 0]])
def test_dynamic_slice(axes):
    inputs = [RANDOM.standard_normal((3, 4)).astype(np.float32), np.array([1, 0]), np.array([3, -1])]
    inputs += [] if axes is None else [np.array(axes)]
    check("DynamicSlice", inputs, opset=7, constants=range(1, len(inputs)), gradient=True)
