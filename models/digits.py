"""Handwritten digits, 8 x 8: a small convolutional network, and the same network with 8-bit weights and activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from onnxruntime import quantization
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from models.exporting import annotate, fit, seed, write_onnx

LABELS = [str(digit) for digit in range(10)]


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return pictures [N,1,8,8] from 0 to 1 and classes: to train on, then held out."""
    digits = load_digits()
    pictures = (digits.images / 16).astype(np.float32)[:, None]
    train, held_out, classes, held_out_classes = train_test_split(
        pictures, digits.target, test_size=0.2, random_state=0, stratify=digits.target
    )
    return train, classes, held_out, held_out_classes


def network() -> nn.Module:
    """Return the untrained network."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32 * 4 * 4, 10),
    )


def make(folder: Path) -> None:
    """Train, then write both models and their samples."""
    pictures, classes, held_out, held_out_classes = data()
    seed()
    trained = network()
    fit(trained, torch.tensor(pictures), torch.tensor(classes), epochs=25, rate=5e-3, batch=64)
    path = folder / "digits_cnn.onnx"
    write_onnx(trained, torch.tensor(pictures[:2]), path, inputs="image", axes={0: "batch"})
    annotate(path, labels=LABELS)
    quantise(path, folder / "digits_cnn_int8.onnx", pictures[:256])
    write_samples(folder / "samples", held_out, held_out_classes)


def quantise(source: Path, target: Path, pictures: np.ndarray) -> None:
    """Write the model with 8-bit weights and activations (QuantizeLinear, DequantizeLinear), calibrated on pictures."""

    class Pictures(quantization.CalibrationDataReader):
        batches = iter(np.split(pictures, 8))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch}

    quantization.quantize_static(source, target, Pictures(), per_channel=True)
    annotate(target, labels=LABELS)


def write_samples(folder: Path, pictures: np.ndarray, classes: np.ndarray) -> None:
    """Write the first held-out picture of each digit as an array, and three of them as PNG."""
    firsts = [int(np.flatnonzero(classes == digit)[0]) for digit in range(10)]
    np.savez(folder / "digits.npz", image=pictures[firsts])
    for digit in (3, 5, 8):
        grey = np.rint(pictures[firsts[digit], 0] * 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"digit-{digit}.png")
