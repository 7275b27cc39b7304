"""Benign or malignant, from thirty measurements of cell nuclei: scikit-learn's scaler and perceptron, by skl2onnx."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from models.exporting import annotate

LABELS = ["malignant", "benign"]


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return measurements [N,30] and classes: to train on, then held out."""
    table = load_breast_cancer()
    train, held_out, classes, held_out_classes = train_test_split(
        table.data.astype(np.float32), table.target, test_size=0.25, random_state=0, stratify=table.target
    )
    return train, classes, held_out, held_out_classes


def train(measurements: np.ndarray, classes: np.ndarray) -> Pipeline:
    """Return the fitted scaler and perceptron."""
    perceptron = MLPClassifier((16, 8), activation="tanh", alpha=1.0, max_iter=1000, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_pipeline(StandardScaler(), perceptron).fit(measurements, classes)


def make(folder: Path) -> None:
    """Train, then write the model and its samples."""
    from skl2onnx import to_onnx

    measurements, classes, held_out, held_out_classes = data()
    pipeline = train(measurements, classes)
    proto = to_onnx(
        pipeline, measurements[:1], name="tumours", options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3}
    )
    path = folder / "tumours_mlp.onnx"
    path.write_bytes(proto.SerializeToString())
    annotate(path, labels=LABELS, features=[str(name) for name in load_breast_cancer().feature_names])
    kinds = [np.flatnonzero(held_out_classes == kind)[:4] for kind in (0, 1)]
    np.savez(folder / "samples" / "tumours.npz", X=held_out[np.concatenate(kinds)])
