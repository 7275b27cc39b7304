"""DeepLIFT beside Captum's: the same numbers where Captum is right, and a sum that is right where Captum's is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional as F

import onnxsal

TARGETS = [2, 0, 1]


def cnn() -> nn.Module:
    """Every layer a module, each used once, pooling between convolutions: where Captum is right."""
    see = [nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3), nn.ELU()]
    more = [nn.AvgPool2d(2), nn.Conv2d(6, 6, 2), nn.LeakyReLU(0.2), nn.Flatten()]
    network = nn.Sequential(*see, *more, nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 3))
    with torch.no_grad():
        network.train()(torch.randn(16, 2, 14, 14))
    return network


def mlp() -> nn.Module:
    """Smooth activations."""
    return nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 3))


class Sequence(nn.Module):
    """Steps in time under one-dimensional pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(3, 4, 3), nn.MaxPool1d(2), nn.Conv1d(4, 4, 1), nn.ReLU())
        self.judge = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.layers(x))


RIGHT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "cnn": (cnn, (2, 14, 14)),
    "mlp": (mlp, (6,)),
    "sequence": (Sequence, (3, 10)),
}


class Reused(nn.Module):
    """One activation for two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = nn.Linear(6, 8), nn.Linear(8, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.relu(self.relu(self.first(x)) - 0.3))


class Functional(nn.Module):
    """Activations that are no modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))


class Pooled(nn.Module):
    """A maximum right behind a rectifier: Captum's two hooks on one tensor get into each other's way."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Block(nn.Module):
    """A transformer's block: normalisation, attention, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(6), nn.LayerNorm(6)
        self.mix, self.out, self.head = nn.Linear(6, 18), nn.Linear(6, 6), nn.Linear(6, 3)
        self.wide = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.mix(self.before(x)).chunk(3, -1)
        x = x + self.out((q @ k.transpose(1, 2) / 2).softmax(-1) @ v)
        return self.head((x + self.wide(self.after(x))).mean(1))


class Gated(nn.Module):
    """A product of two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.value(x) * torch.sigmoid(self.gate(x)))


WRONG: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "functional": (Functional, (6,)),
    "reused": (Reused, (6,)),
    "pooled": (Pooled, (3, 10)),
    "gelu": (lambda: nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3)), (6,)),
    "layer_norm": (lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)), (6,)),
    "gated": (Gated, (6,)),
    "block": (Block, (4, 6)),
}
DYNAMO = pytest.param(True, id="dynamo", marks=pytest.mark.oracle)


def made(maker: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    module = maker()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(-0.5, 1)
    return module.double().eval()


def drawn(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x, reference = (2 * torch.randn(3, *shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, reference


def exported(module: nn.Module, x: Tensor, folder: Path, dynamo: bool) -> Path:
    path = folder / "network.onnx"
    ways: dict[str, Any] = {"dynamo": False, "opset_version": 17}
    if dynamo:
        ways = {"dynamo": True, "opset_version": 20, "external_data": False, "verbose": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), path, input_names=["x"], **ways)
    return path


def by_captum(module: nn.Module, x: Tensor, reference: Tensor, explainer: Any = attr.DeepLift) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return explainer(module).attribute(x, reference, target=TARGETS).detach().numpy()


def by_onnxsal(path: Path, x: Tensor, **options: Any) -> onnxsal.Attribution:
    options = {"method": "deep_lift", **options}
    return onnxsal.explain(path, {"x": x}, target=TARGETS, verify=False, device="cpu", **options)


@pytest.mark.parametrize("dynamo", [False, DYNAMO])
@pytest.mark.parametrize("name", RIGHT)
def test_the_numbers_are_captums(name: str, dynamo: bool, tmp_path: Path) -> None:
    maker, shape = RIGHT[name]
    module, (x, reference) = made(maker), drawn(shape)
    found = by_onnxsal(exported(module, x, tmp_path, dynamo), x, baseline={"x": reference}).values["x"]
    expected = by_captum(module, x, reference)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("name", RIGHT)
def test_from_several_baselines_too(name: str, tmp_path: Path) -> None:
    maker, shape = RIGHT[name]
    module, (x, references) = made(maker), drawn(shape)
    path = exported(module, x, tmp_path, dynamo=False)
    found = by_onnxsal(path, x, method="deep_lift_shap", baselines={"x": references}).values["x"]
    expected = by_captum(module, x, references, attr.DeepLiftShap)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("dynamo", [False, DYNAMO])
@pytest.mark.parametrize("name", WRONG)
def test_it_completes_where_captum_does_not(name: str, dynamo: bool, tmp_path: Path) -> None:
    maker, shape = WRONG[name]
    module, (x, reference) = made(maker), drawn(shape)
    rows = torch.arange(3)
    difference = (module(x) - module(reference))[rows, TARGETS].detach().numpy()
    if name == "reused":  # Captum says so here at least
        with pytest.raises(RuntimeError, match="more than once"):
            by_captum(module, x, reference)
    else:
        theirs = np.abs(by_captum(module, x, reference).reshape(3, -1).sum(1) - difference)
        assert (theirs / np.abs(difference)).max() > 0.01
    result = by_onnxsal(exported(module, x, tmp_path, dynamo), x, baseline={"x": reference})
    ours = np.abs(result.values["x"].reshape(3, -1).sum(1) - difference)
    assert (ours / np.abs(difference)).max() < 1e-6
    np.testing.assert_allclose(result.completeness, 0, atol=1e-6 * np.abs(difference).min())
