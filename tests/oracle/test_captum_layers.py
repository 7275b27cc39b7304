"""Layers and neurons of the exported file against Captum's on the torch module, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from captum import attr
from torch import Tensor, nn

import onnxsal
from tests.oracle.exports import write
from tests.oracle.networks import SCRIPT
from tests.oracle.test_captum import ALL as NETWORKS
from tests.oracle.test_captum import CASES, STEPS, drawn, original

LAYERS = {
    "cnn": (
        ("see.2", "/see/see.2/Relu"),
        ("see.4", "/see/see.4/Conv_output_0"),
        ("judge.1", "/judge/judge.1/AveragePool"),
    ),
    "mlp": (("0", "/0/Gemm"), ("1", "/1/BatchNormalization_output_0"), ("3", "/3/Gemm")),
}
"""Modules of a network, and the nodes or values that they became."""

PLACES = [(name, module, value) for name, pairs in LAYERS.items() for module, value in pairs]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], onnxsal.Model]:
    folder: Path = tmp_path_factory.mktemp("layers")

    @cache
    def load(name: str) -> onnxsal.Model:
        return onnxsal.load(write(NETWORKS[name].in_double(), SCRIPT[-1], folder / f"{name}.onnx", original(name)))

    return load


def by_onnxsal(model: onnxsal.Model, name: str, method: str, **options: Any) -> np.ndarray:
    feeds = dict(zip(NETWORKS[name].names, drawn(name), strict=True))
    result = onnxsal.explain(model, feeds, method=method, device="cpu", verify=False, **options)
    (values,) = result.values.values()
    return values


def module_of(name: str, path: str) -> nn.Module:
    return original(name).get_submodule(path)


def same(got: np.ndarray, expected: Tensor) -> None:
    scale = float(expected.detach().abs().max())
    assert scale > 0
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-5, atol=1e-7 * scale)


@pytest.mark.parametrize(("name", "module", "value"), PLACES, ids=str)
def test_gradient_times_activation(exported, name: str, module: str, value: str):
    got = by_onnxsal(exported(name), name, "input_x_gradient", layer=value, target=CASES[name])
    found = attr.LayerGradientXActivation(original(name), module_of(name, module))
    same(got, found.attribute(drawn(name), target=CASES[name]))


@pytest.mark.parametrize(("name", "module", "value"), PLACES, ids=str)
def test_integrated_gradients_of_a_layer(exported, name: str, module: str, value: str):
    got = by_onnxsal(exported(name), name, "integrated_gradients", layer=[value], target=CASES[name], steps=STEPS)
    found = attr.LayerIntegratedGradients(original(name), module_of(name, module))
    same(got, found.attribute(drawn(name), target=CASES[name], n_steps=STEPS))


def neuron(model: onnxsal.Model, name: str, value: str) -> tuple[int, ...]:
    """Return the index of a layer's livest number."""
    feeds = dict(zip(NETWORKS[name].names, drawn(name), strict=True))
    result = onnxsal.explain(model, feeds, method="saliency", layer=value, target=CASES[name], verify=False)
    (activations,) = (result.inputs[layer] for layer in result.layer)
    place = np.abs(activations).sum(0)
    return tuple(int(i) for i in np.unravel_index(place.argmax(), place.shape))


@pytest.mark.parametrize(("name", "module", "value"), PLACES, ids=str)
def test_neurons(exported, name: str, module: str, value: str):
    model = exported(name)
    index = neuron(model, name, value)
    said = f"{value}[{','.join(map(str, index))}]"
    gradient = attr.NeuronGradient(original(name), module_of(name, module)).attribute(drawn(name), index)
    same(by_onnxsal(model, name, "saliency", neuron=said, abs=False), gradient[0])
    path = attr.NeuronIntegratedGradients(original(name), module_of(name, module))
    expected = path.attribute(drawn(name), index, n_steps=STEPS)
    same(by_onnxsal(model, name, "integrated_gradients", neuron=said, steps=STEPS), expected[0])
