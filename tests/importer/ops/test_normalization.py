"""Normalisation against ONNX Runtime, and where it has no kernel against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from onnxsal.importer.ops.normalization import mean_variance_normalization
from tests.importer.ops.support import check, node_model


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def statistics(*shape: int) -> list[np.ndarray]:
    return [
        floats(*shape, seed=1),
        floats(*shape, seed=2),
        floats(*shape, seed=3),
        np.abs(floats(*shape, seed=4)) + 0.1,
    ]


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 2, 3)])
def test_batch_normalization(opset: int, shape: tuple[int, ...]) -> None:
    inputs = [floats(*shape), *statistics(3)]
    check("BatchNormalization", inputs, opset=opset, epsilon=1e-3, trace=True)
    check("BatchNormalization", inputs, opset=opset, constants=(1, 2, 3, 4))


def test_batch_normalization_has_the_right_gradient() -> None:
    check("BatchNormalization", [floats(2, 3, 2), *statistics(3)], opset=15, gradient=True)
    check("BatchNormalization", [floats(2, 3, 2), *statistics(3)], opset=15, constants=(1, 2, 3, 4), gradient=True)


def test_batch_normalization_of_single_features() -> None:
    check("BatchNormalization", [floats(4, 3, 2), *statistics(3, 2)], opset=7, spatial=0)


def test_batch_normalization_before_opset_7() -> None:
    x, (scale, b, mean, var) = floats(2, 3, 4), statistics(3)
    (expected,) = check("BatchNormalization", [x, scale, b, mean, var], opset=7)
    inputs = [x, scale, b, mean, var]
    check("BatchNormalization", inputs, opset=6, is_test=1, expected=[expected])
    check("BatchNormalization", inputs, opset=1, is_test=1, consumed_inputs=[0, 0, 0, 1, 1], expected=[expected])
    now = x.mean((0, 2), keepdims=True), x.var((0, 2), keepdims=True)
    trained = (x - now[0]) / np.sqrt(now[1] + 1e-5) * scale[:, None] + b[:, None]
    check("BatchNormalization", inputs, opset=6, expected=[trained])


def test_batch_normalization_in_training() -> None:
    x, (scale, b, mean, var) = floats(5, 3, 4), statistics(3)
    now = x.mean((0, 2)), x.var((0, 2))
    y = (x - now[0][:, None]) / np.sqrt(now[1][:, None] + 1e-5) * scale[:, None] + b[:, None]
    running = [old * 0.7 + new * np.float32(0.3) for old, new in zip((mean, var), now, strict=True)]
    options: dict[str, Any] = {"momentum": 0.7}
    inputs = [x, scale, b, mean, var]
    check("BatchNormalization", inputs, opset=14, n_outputs=3, training_mode=1, expected=[y, *running], **options)
    check("BatchNormalization", inputs, opset=9, n_outputs=5, expected=[y, *running, *now], **options)


def test_constant_statistics_become_a_layer() -> None:
    model = node_model("BatchNormalization", [floats(2, 3, 4, 4), *statistics(3)], opset=15, constants=(1, 2, 3, 4))
    (layer,) = build(normalise(model)).children()
    assert isinstance(layer, nn.BatchNorm2d)
    assert not layer.training
    assert layer.running_var.min() > 0.1


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_batch_normalization_keeps_the_type(dtype: str) -> None:
    x = floats(2, 3, 4).astype(dtype)
    parameters = [s.astype(dtype) for s in statistics(3)]
    (expected,) = check("BatchNormalization", [floats(2, 3, 4), *statistics(3)], opset=15)
    check("BatchNormalization", [x, *parameters], opset=15, expected=[expected.astype(dtype)], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (1, 3, 2, 2, 2)])
def test_instance_normalization(shape: tuple[int, ...]) -> None:
    x, scale, b = floats(*shape), floats(3, seed=1), floats(3, seed=2)
    check("InstanceNormalization", [x, scale, b], opset=6, epsilon=1e-2, gradient=True, trace=True)
    (expected,) = check("InstanceNormalization", [x, scale, b], opset=22)
    check("InstanceNormalization", [x, scale, b], opset=1, expected=[expected])


def test_instance_normalization_of_single_elements() -> None:
    check("InstanceNormalization", [floats(2, 3, 1, 1), floats(3), floats(3)], opset=6)


def test_group_normalization() -> None:
    x = floats(2, 6, 4, 3)
    check("GroupNormalization", [x, floats(6), floats(6)], opset=21, num_groups=3, gradient=True, trace=True)
    groups = [floats(3, seed=1), floats(3, seed=2)]
    channels = [np.repeat(g, 2) for g in groups]
    expected = check("GroupNormalization", [x, *channels], opset=21, num_groups=3)
    check("GroupNormalization", [x, *groups], opset=18, num_groups=3, expected=expected, gradient=True)


@pytest.mark.parametrize("axis", [-1, 1, 2, -2])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_layer_normalization(axis: int, n_outputs: int) -> None:
    x = floats(2, 3, 4)
    shape = x.shape[axis:]
    inputs = [x, floats(*shape, seed=1), floats(*shape, seed=2)]
    options: dict[str, Any] = {"axis": axis, "n_outputs": n_outputs}
    check("LayerNormalization", inputs, opset=17, gradient=True, trace=True, **options)
    check("LayerNormalization", inputs, opset=17, constants=(1, 2), **options)
    check("LayerNormalization", inputs[:2], opset=17, constants=(1,), **options)


def test_layer_normalization_with_constant_scale_becomes_a_layer() -> None:
    model = node_model("LayerNormalization", [floats(2, 3, 4), floats(4), floats(4)], opset=17, constants=(1, 2))
    (layer,) = build(normalise(model)).children()
    assert isinstance(layer, nn.LayerNorm)


def test_layer_normalization_with_a_broadcast_scale() -> None:
    x, scale = floats(2, 3, 4), floats(1, 4)
    normal = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    check("LayerNormalization", [x, scale], opset=17, axis=1, expected=[normal * scale])
    check("LayerNormalization", [x, scale], opset=17, axis=1, constants=(1,), expected=[normal * scale])


@pytest.mark.parametrize("axis", [-1, 1])
def test_rms_normalization(axis: int) -> None:
    x = floats(2, 3, 4)
    scale = floats(*x.shape[axis:], seed=1)
    check("RMSNormalization", [x, scale], opset=23, axis=axis, epsilon=1e-3, gradient=True, trace=True)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_lp_normalization(p: int, axis: int) -> None:
    x = floats(3, 4, 2)
    check("LpNormalization", [x], opset=1, p=p, axis=axis, gradient=True, trace=True)
    x[:, 0] = 0
    x[0] = 0
    check("LpNormalization", [x], opset=1, p=p, axis=axis)


@pytest.mark.parametrize("size", [1, 3, 4, 5])
def test_lrn(size: int) -> None:
    options: dict[str, Any] = {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 2.0}
    if size % 2:  # ONNX Runtime takes no other
        check("LRN", [floats(2, 7, 3, 3)], opset=13, trace=True, **options)
    x = floats(1, 4, 2)
    neighbours = [x[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1] for c in range(4)]
    energy = np.stack([np.square(n).sum(1) for n in neighbours], 1)
    expected = x / (2.0 + 0.3 / size * energy) ** 0.6
    check("LRN", [x], opset=1, expected=[expected.astype(np.float32)], gradient=True, **options)


@pytest.mark.parametrize("opset", [9, 13])
def test_mean_variance_normalization(opset: int) -> None:
    check("MeanVarianceNormalization", [floats(2, 3, 4, 5)], opset=opset, trace=True)
    check("MeanVarianceNormalization", [floats(2, 3, 4)], opset=opset, axes=[1, -1], gradient=True)


def test_mean_variance_normalization_of_what_does_not_vary() -> None:
    x = torch.full((2, 3, 4, 5), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad((mean_variance_normalization(x) * torch.rand(2, 3, 4, 5)).sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("opset", [7, 10, 12, 13, 22])
def test_dropout_does_nothing_in_inference(opset: int) -> None:
    x = floats(3, 4)
    mask = np.ones_like(x, np.float32 if opset < 10 else bool)
    check("Dropout", [x], opset=opset, n_outputs=2, expected=[x, mask], gradient=True)
    check("Dropout", [x], opset=opset)


def test_dropout_before_opset_7() -> None:
    x = floats(3, 4)
    check("Dropout", [x], opset=1, is_test=1, expected=[x])
    check("Dropout", [x], opset=6, is_test=1, n_outputs=2, expected=[x, np.ones_like(x)])


def test_dropout_in_training_drops_its_share_and_keeps_the_mean() -> None:
    x = np.ones((100, 100), np.float32)
    inputs = [x, np.array(0.25, np.float32), np.array(True)]
    kept = np.random.RandomState(7).uniform(size=x.shape) >= 0.25
    check("Dropout", inputs, opset=13, n_outputs=2, constants=(1, 2), seed=7, expected=[kept / np.float32(0.75), kept])
