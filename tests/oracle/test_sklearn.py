"""Neural networks of scikit-learn, behind a scaler, as skl2onnx writes them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import onnxsal
from tests.oracle.agreement import Agreement

DTYPES = (np.float32, np.float64)


def _table() -> tuple[np.ndarray, np.ndarray]:
    """Draw columns of very different scales, and three classes of rows."""
    rows = np.random.default_rng(0).standard_normal((60, 4)) * [1, 10, 100, 0.1] + [0, 5, 50, 1]
    return rows, (rows[:, 0] > 0) * 1 + (rows[:, 1] > 5) * 1


def _agreement(estimator: Any, dtype: type, **options: Any) -> Agreement:
    from skl2onnx import to_onnx
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, classes = _table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few iterations do not converge, and need not
        pipeline = make_pipeline(StandardScaler(), estimator).fit(rows, classes)
        proto = to_onnx(pipeline, rows[:1].astype(dtype), options=options or None)
    return Agreement(onnxsal.load(proto), {"X": rows[:7].astype(dtype)})


def _check(agreement: Agreement) -> None:
    assert agreement.parity() < 1e-4
    gradient = agreement.gradients()["X"]
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
    measured, promised = agreement.difference("X", 0)
    assert promised == pytest.approx(measured, rel=1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["logistic", "tanh", "relu"])
def test_a_classifier(activation: str, dtype: type):
    from sklearn.neural_network import MLPClassifier

    estimator = MLPClassifier(hidden_layer_sizes=(8, 8), activation=activation, max_iter=30, random_state=0)
    agreement = _agreement(estimator, dtype, zipmap=False)
    assert [port.name for port in agreement.model.outputs] == ["label", "probabilities"]
    _check(agreement)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_regressor(activation: str, dtype: type):
    from sklearn.neural_network import MLPRegressor

    _check(_agreement(MLPRegressor(hidden_layer_sizes=(8,), activation=activation, max_iter=30, random_state=0), dtype))
