"""Captum on the original torch module and onnxsal on the exported file give the same numbers, in double precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum import attr
from torch import Tensor, nn

import onnxsal
from tests.oracle.exports import write
from tests.oracle.networks import CLASSES, DYNAMO, NETWORKS, SCRIPT, VOCABULARY, Export, Network, pictures, vectors

EXPORTS = (SCRIPT[-1], DYNAMO[0])
EITHER = [pytest.param(EXPORTS[0], id="torchscript"), pytest.param(EXPORTS[1], id="dynamo", marks=pytest.mark.oracle)]
EXAMPLES = 3
STEPS = 12


class Cnn(nn.Module):
    """Convolutions, batch normalisation, both poolings and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))
        self.judge = nn.Sequential(nn.SiLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.see(x))


class Tagged(nn.Module):
    """Numbers per step, beside the tokens they belong to."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.judge = nn.Embedding(VOCABULARY, 6), nn.Linear(6, CLASSES)

    def forward(self, numbers: Tensor, ids: Tensor) -> Tensor:
        return self.judge(torch.tanh(numbers * self.table(ids)).mean(1))


class Single(nn.Module):
    """One number per example, without a class axis."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).squeeze(-1)


def _tagged(examples: int) -> tuple[Tensor, ...]:
    ids = torch.randint(VOCABULARY, (examples, 5), generator=torch.Generator().manual_seed(4))
    return (*vectors(5, 6)(examples), ids)


OURS = {
    "cnn": Network("cnn", Cnn, pictures(14)),
    "tagged": Network("tagged", Tagged, _tagged, ("numbers", "ids")),
    "single": Network("single", Single, vectors(6)),
}
ALL = NETWORKS | OURS
CASES = {
    "cnn": 3,
    "mlp": 1,
    "lstm": 2,
    "transformer_encoder": (4, 2),
    "two_inputs": 1,
    "tagged": 0,
    "single": None,
}
"""Networks, and the target that Captum and onnxsal are both given."""

EACH = {"cnn": [0, 4, 2], "lstm": [1, 1, 3], "transformer_encoder": [(0, 1), (5, 4), (2, 2)], "tagged": [4, 0, 1]}
"""Networks, and one target per example."""

PARAMETERS = [(name, target) for table in (CASES, EACH) for name, target in table.items()]


@cache
def original(name: str) -> nn.Module:
    """Return the torch module, in double precision."""
    return ALL[name].in_double().module()


def drawn(name: str) -> tuple[Tensor, ...]:
    return ALL[name].in_double().inputs(EXAMPLES)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Export], onnxsal.Model]:
    """Export and load a network, once each."""
    folder: Path = tmp_path_factory.mktemp("captum")

    @cache
    def load(name: str, export: Export) -> onnxsal.Model:
        network = ALL[name].in_double()
        return onnxsal.load(write(network, export, folder / f"{name}-{export}.onnx", original(name)))

    return load


def by_captum(explainer: type, name: str, target: Any, **options: Any) -> dict[str, np.ndarray]:
    """Explain the original module's first output with Captum; whole-numbered inputs are handed on unexplained."""

    def first(*inputs: Tensor) -> Tensor:
        answer = original(name)(*inputs)
        return answer[0] if isinstance(answer, tuple) else answer

    inputs = drawn(name)
    explained = tuple(value.requires_grad_() for value in inputs if value.is_floating_point())
    rest = inputs[len(explained) :]
    values = explainer(first).attribute(explained, target=target, additional_forward_args=rest or None, **options)
    return {n: v.detach().numpy() for n, v in zip(ALL[name].names, values, strict=False)}


def by_onnxsal(model: onnxsal.Model, name: str, method: str, target: Any, **options: Any) -> dict[str, np.ndarray]:
    """Explain the file. ONNX Runtime has no double-precision convolution, so it is not asked for parity.

    A dozen steps complete no attribution; what they give is compared all the same.
    """
    feeds = dict(zip(ALL[name].names, drawn(name), strict=True))
    asked = {"method": method, "target": target, "verify": False, "completeness_tolerance": float("inf")}
    return dict(onnxsal.explain(model, feeds, device="cpu", **asked, **options).values)


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Hold two attributions together to 1e-5 of their scale; both must say something."""
    assert list(got) == list(expected)
    for name, values in expected.items():
        scale = np.abs(values).max()
        assert scale > 0
        np.testing.assert_allclose(got[name], values, rtol=1e-5, atol=1e-5 * scale * 1e-2)


@pytest.mark.parametrize("export", EITHER)
@pytest.mark.parametrize(("name", "target"), PARAMETERS, ids=str)
def test_saliency(exported, name: str, target: Any, export: Export):
    model = exported(name, export)
    assert_same(by_onnxsal(model, name, "saliency", target), by_captum(attr.Saliency, name, target))


@pytest.mark.parametrize("name", CASES)
def test_saliency_with_its_sign(exported, name: str):
    got = by_onnxsal(exported(name, EXPORTS[0]), name, "saliency", CASES[name], abs=False)
    assert_same(got, by_captum(attr.Saliency, name, CASES[name], abs=False))


@pytest.mark.parametrize("export", EITHER)
@pytest.mark.parametrize(("name", "target"), PARAMETERS, ids=str)
def test_input_x_gradient(exported, name: str, target: Any, export: Export):
    model = exported(name, export)
    assert_same(by_onnxsal(model, name, "input_x_gradient", target), by_captum(attr.InputXGradient, name, target))


@pytest.mark.parametrize("quadrature", ["gausslegendre", "riemann_left", "riemann_right", "riemann_middle"])
@pytest.mark.parametrize(("name", "target"), PARAMETERS, ids=str)
def test_integrated_gradients(exported, name: str, target: Any, quadrature: str):
    got = by_onnxsal(
        exported(name, EXPORTS[0]), name, "integrated_gradients", target, steps=STEPS, quadrature=quadrature
    )
    assert_same(got, by_captum(attr.IntegratedGradients, name, target, n_steps=STEPS, method=quadrature))


@pytest.mark.parametrize("name", CASES)
def test_integrated_gradients_by_trapezoids(exported, name: str):
    """Captum's weights of the trapezoids sum to (steps - 1) / steps, ours to 1."""
    options = {"steps": STEPS, "quadrature": "riemann_trapezoid"}
    got = by_onnxsal(exported(name, EXPORTS[0]), name, "integrated_gradients", CASES[name], **options)
    theirs = by_captum(attr.IntegratedGradients, name, CASES[name], n_steps=STEPS, method="riemann_trapezoid")
    assert_same(got, {n: v * STEPS / (STEPS - 1) for n, v in theirs.items()})


@pytest.mark.parametrize("name", ["cnn", "two_inputs"])
def test_integrated_gradients_from_another_baseline(exported, name: str):
    got = by_onnxsal(exported(name, EXPORTS[0]), name, "integrated_gradients", CASES[name], steps=STEPS, baseline=0.5)
    count = len(ALL[name].names)
    theirs = by_captum(attr.IntegratedGradients, name, CASES[name], n_steps=STEPS, baselines=(0.5,) * count)
    assert_same(got, theirs)
