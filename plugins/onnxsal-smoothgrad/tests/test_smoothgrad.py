"""What SmoothGrad promises, on models whose gradient is known."""

import numpy as np
import onnx
import pytest
import torch

import onnxsal
from onnxsal.errors import UsageError

LINEAR = """
    <ir_version: 8, opset_import: ["" : 17]>
    linear (float[n, 3] x) => (float[n, 2] y) <float[3, 2] w = {1, -1, 2, -2, 3, -3}> { y = MatMul(x, w) }
"""
CUBIC = """
    <ir_version: 8, opset_import: ["" : 17]>
    cubic (float[n, 3] x) => (float[n, 3] y) { square = Mul(x, x) y = Mul(square, x) }
"""
X = np.array([[1, 2, 3], [0.5, -1, 4]], dtype=np.float32)


def explain(text, x=X, **options):
    model = onnx.parser.parse_model(text)
    return onnxsal.explain(model, {"x": x}, method="smoothgrad", **options).values["x"]


def test_a_linear_models_gradient_stays_what_it_is():
    np.testing.assert_allclose(explain(LINEAR, target=0), [[1, 2, 3], [1, 2, 3]], rtol=1e-6)


def test_without_noise_it_is_the_gradient():
    model = onnx.parser.parse_model(CUBIC)
    gradient = onnxsal.explain(model, {"x": X}, method="saliency", target=2, abs=False)
    np.testing.assert_allclose(explain(CUBIC, target=2, noise=0.0, samples=3), gradient.values["x"], rtol=1e-6)


def test_it_is_the_mean_over_noisy_copies_one_by_one():
    class Cubic:
        def gradients(self, feeds):
            return {"x": 3 * feeds["x"] ** 2}

        def normal(self, feeds, draw=0):
            return {"x": torch.randn(feeds["x"].shape, generator=torch.Generator().manual_seed(draw)).double()}

    from onnxsal_smoothgrad import explain as smoothgrad

    score, x = Cubic(), torch.tensor(X, dtype=torch.float64)
    copies = []
    for draw in range(7):
        noise = score.normal({"x": x}, draw)["x"]
        rows = zip(x, noise, strict=True)
        copies.append(torch.stack([3 * (row + 0.2 * (row.max() - row.min()) * n) ** 2 for row, n in rows]))
    expected = torch.stack(copies).mean(0)
    torch.testing.assert_close(smoothgrad(score, {"x": x}, samples=7, noise=0.2)["x"], expected, rtol=1e-12, atol=0)


def test_the_seed_decides_and_the_batch_does_not():
    again, other = explain(CUBIC, target=2, seed=1), explain(CUBIC, target=2, seed=2)
    assert explain(CUBIC, target=2, seed=1).tobytes() == again.tobytes()
    assert np.abs(again - other).max() > 1e-3
    np.testing.assert_allclose(explain(CUBIC, X[1:], target=2, seed=1), again[1:], rtol=1e-6)


def test_no_samples_is_refused():
    with pytest.raises(UsageError, match="nothing to average"):
        explain(LINEAR, target=0, samples=0)
