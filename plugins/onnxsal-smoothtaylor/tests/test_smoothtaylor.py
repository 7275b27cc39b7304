"""What SmoothTaylor promises, on models whose gradient is known."""

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
    return onnxsal.explain(model, {"x": x}, method="smoothtaylor", **options).values["x"]


def test_a_linear_model_gives_its_weight_times_the_mean_way():
    first, second = explain(LINEAR, target=0), explain(LINEAR, target=1)
    assert np.abs(first).max() > 1e-3
    np.testing.assert_allclose(second, -first, rtol=1e-5)


def test_without_noise_there_is_no_way():
    np.testing.assert_array_equal(explain(CUBIC, target=2, noise=0.0, samples=3), 0 * X)


def test_it_is_the_mean_over_noisy_copies_one_by_one():
    class Cubic:
        def gradients(self, feeds):
            return {"x": 3 * feeds["x"] ** 2}

        def normal(self, feeds, draw=0):
            return {"x": torch.randn(feeds["x"].shape, generator=torch.Generator().manual_seed(draw)).double()}

    from onnxsal_smoothtaylor import explain as smoothtaylor

    score, x = Cubic(), torch.tensor(X, dtype=torch.float64)
    copies = []
    for draw in range(7):
        noise = score.normal({"x": x}, draw)["x"]
        noisy = torch.stack([row + 0.2 * (row.max() - row.min()) * n for row, n in zip(x, noise, strict=True)])
        copies.append((x - noisy) * 3 * noisy**2)
    expected = torch.stack(copies).mean(0)
    torch.testing.assert_close(smoothtaylor(score, {"x": x}, samples=7, noise=0.2)["x"], expected, rtol=1e-12, atol=0)


def test_the_seed_decides_and_the_batch_does_not():
    again, other = explain(CUBIC, target=2, seed=1), explain(CUBIC, target=2, seed=2)
    assert explain(CUBIC, target=2, seed=1).tobytes() == again.tobytes()
    assert np.abs(again - other).max() > 1e-3
    np.testing.assert_allclose(explain(CUBIC, X[1:], target=2, seed=1), again[1:], rtol=1e-6)


def test_no_samples_is_refused():
    with pytest.raises(UsageError, match="nothing to average"):
        explain(LINEAR, target=0, samples=0)
