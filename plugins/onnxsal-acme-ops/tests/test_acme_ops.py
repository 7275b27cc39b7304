"""Acme's operators, in models that hold them."""

import numpy as np
import onnx
import pytest

import onnxsal
from onnxsal.inspection import inspect

PRIVATE = """
    <ir_version: 8, opset_import: ["" : 17, "com.acme" : 1]>
    private (float[n, 3] x) => (float[n, 3] y) { y = com.acme.ScaledTanh <alpha = 2.0, beta = 0.5> (x) }
"""
ROUNDED = """
    <ir_version: 8, opset_import: ["" : 17]>
    rounded (float[n, 3] x) => (float[n, 3] y) { whole = Round(x) y = Mul(whole, x) }
"""
X = np.array([[0.5, -1.2, 2.6]], dtype=np.float32)


def model(text):
    return onnxsal.load(onnx.parser.parse_model(text))


def test_the_private_operator_is_explained():
    # ONNX Runtime does not know it, so there is nothing to compare the import with
    a = onnxsal.explain(model(PRIVATE), {"x": X}, target=0, abs=False, verify=False)
    assert a.score == pytest.approx(2 * np.tanh(0.25), rel=1e-6)
    np.testing.assert_allclose(a.values["x"], [[1 - np.tanh(0.25) ** 2, 0, 0]], rtol=1e-6)


def test_the_file_may_leave_attributes_out():
    a = onnxsal.explain(model(PRIVATE.replace("<alpha = 2.0, beta = 0.5>", "")), {"x": X}, target=1, verify=False)
    assert a.score == pytest.approx(np.tanh(-1.2), rel=1e-6)


def test_round_answers_what_it_did_and_lets_the_gradient_through():
    a = onnxsal.explain(model(ROUNDED), {"x": X}, target=2, abs=False)  # proved against ONNX Runtime
    assert a.score == pytest.approx(3 * 2.6, rel=1e-6)
    np.testing.assert_allclose(a.values["x"], [[0, 0, 3 + 2.6]], rtol=1e-6)


def test_inspection_says_who_serves_what():
    served = {use.full_name: use.provider for text in (PRIVATE, ROUNDED) for use in inspect(model(text)).operators}
    assert served["com.acme.ScaledTanh"].startswith("onnxsal-acme-ops")
    assert served["Round"].startswith("onnxsal-acme-ops")
    assert served["Mul"].startswith("onnxsal ")
