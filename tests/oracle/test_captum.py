"""Captum on the original torch modules, and onnxsal on what they export to: the same numbers in double precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import onnxsal
from onnxsal.model import Model


class Convolutions(nn.Module):
    """Convolution, batch normalisation, pooling, and one activation used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2)
        self.norm, self.relu, self.head = nn.BatchNorm2d(6), nn.ReLU(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        x = nn.functional.max_pool2d(self.relu(self.second(x)), 2)
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(5, 6, batch_first=True, bidirectional=True), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Attending(nn.Module):
    """A transformer block whose answer has two axes: positions and classes."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x))


class TwoInputs(nn.Module):
    """Two float inputs that meet, and token ids beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.left, self.right = nn.Embedding(10, 6), nn.Linear(5, 6), nn.Linear(3, 6)
        self.head = nn.Linear(6, 4)

    def forward(self, a: Tensor, b: Tensor, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.left(a)) * torch.sigmoid(self.right(b)) + self.table(ids).mean(1))


class Scalar(nn.Module):
    """One number per example, and no axis beside the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).squeeze(1)


@dataclass(frozen=True)
class Case:
    """A module, the shapes of its float inputs, and the targets it is asked about."""

    make: Callable[[], nn.Module]
    shapes: dict[str, tuple[int, ...]]
    targets: tuple[Any, ...] = (2, [0, 3, 1], "argmax")
    ids: bool = False


CASES = {
    "convolutions": Case(Convolutions, {"image": (3, 9, 9)}),
    "perceptron": Case(lambda: nn.Sequential(nn.Linear(5, 8), nn.Softplus(), nn.Linear(8, 4)), {"x": (5,)}),
    "recurrent": Case(Recurrent, {"x": (7, 5)}),
    "attending": Case(Attending, {"x": (6, 8)}, ((1, 3), [(0, 0), (5, 3), (2, 1)])),
    "two_inputs": Case(TwoInputs, {"a": (5,), "b": (3,)}, ids=True),
    "scalar": Case(Scalar, {"x": (5,)}, (None,)),
}
EXAMPLES = 3


@cache
def module_of(name: str) -> nn.Module:
    """Return the module, its normalisation layers fed with something first."""
    torch.manual_seed(0)
    module = CASES[name].make().double()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
    return module.eval()


@cache
def feeds_of(name: str) -> dict[str, Tensor]:
    case, generator = CASES[name], torch.Generator().manual_seed(1)
    feeds = {
        n: torch.randn(EXAMPLES, *shape, generator=generator, dtype=torch.float64) for n, shape in case.shapes.items()
    }
    ids = {"ids": torch.randint(0, 10, (EXAMPLES, 4), generator=generator)} if case.ids else {}
    return feeds | ids


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """Return a function from a case's name to its imported model."""
    folder = tmp_path_factory.mktemp("captum")

    @cache
    def export(name: str) -> Model:
        path: Path = folder / f"{name}.onnx"
        feeds = feeds_of(name)
        axes = {n: {0: "batch"} for n in (*feeds, "y")}
        options = {"input_names": list(feeds), "output_names": ["y"], "dynamic_axes": axes, "opset_version": 17}
        torch.onnx.export(module_of(name), tuple(feeds.values()), path, dynamo=False, **options)
        return onnxsal.load(path)

    return export


QUESTIONS = [pytest.param(name, t, id=f"{name}-{t}") for name, case in CASES.items() for t in case.targets]


def captums_target(name: str, target: Any) -> Any:
    """Return a target in Captum's words."""
    if target != "argmax":
        return target
    with torch.no_grad():
        return module_of(name)(*feeds_of(name).values()).argmax(1)


def ask_captum(method: type, name: str, target: Any, **options: Any) -> dict[str, np.ndarray]:
    feeds = feeds_of(name)
    floats = {n: v.clone() for n, v in feeds.items() if v.is_floating_point()}
    others = tuple(v for v in feeds.values() if not v.is_floating_point())
    if others:
        options["additional_forward_args"] = others
    found = method(module_of(name)).attribute(tuple(floats.values()), target=captums_target(name, target), **options)
    return {n: value.detach().numpy() for n, value in zip(floats, found, strict=True)}


def compare(ours: onnxsal.Attribution, theirs: dict[str, np.ndarray]) -> None:
    assert set(ours.values) == set(theirs)
    for name, expected in theirs.items():
        assert ours.values[name].dtype == np.float64
        assert np.abs(expected).max() > 1e-6
        np.testing.assert_allclose(ours.values[name], expected, rtol=1e-5, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize(("name", "target"), QUESTIONS)
def test_saliency(exported: Callable[[str], Model], name: str, target: Any, absolute: bool) -> None:
    ours = onnxsal.explain(exported(name), feeds_of(name), target=target, abs=absolute, verify=False)
    compare(ours, ask_captum(captum.attr.Saliency, name, target, abs=absolute))


@pytest.mark.parametrize(("name", "target"), QUESTIONS)
def test_input_x_gradient(exported: Callable[[str], Model], name: str, target: Any) -> None:
    ours = onnxsal.explain(exported(name), feeds_of(name), method="input_x_gradient", target=target, verify=False)
    compare(ours, ask_captum(captum.attr.InputXGradient, name, target))


@pytest.mark.parametrize("baseline", [0, 0.25])
@pytest.mark.parametrize(("name", "target"), QUESTIONS)
def test_integrated_gradients(exported: Callable[[str], Model], name: str, target: Any, baseline: float) -> None:
    options = {"target": target, "baseline": baseline, "steps": 12, "verify": False}
    ours = onnxsal.explain(exported(name), feeds_of(name), method="integrated_gradients", **options)
    reference = tuple(torch.full_like(v, baseline) for v in feeds_of(name).values() if v.is_floating_point())
    theirs = ask_captum(captum.attr.IntegratedGradients, name, target, baselines=reference, n_steps=12)
    compare(ours, theirs)


@pytest.mark.parametrize(
    "quadrature", ["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]
)
def test_quadratures(exported: Callable[[str], Model], quadrature: str) -> None:
    options = {"target": 1, "steps": 12, "quadrature": quadrature, "verify": False}
    ours = onnxsal.explain(exported("recurrent"), feeds_of("recurrent"), method="integrated_gradients", **options)
    options = {"n_steps": 12, "method": quadrature, "return_convergence_delta": True}
    method = captum.attr.IntegratedGradients(module_of("recurrent"))
    theirs, delta = method.attribute(feeds_of("recurrent")["x"], target=1, **options)
    # Captum's trapezoids are 1/n wide, and so cover (n-1)/n of the way; ours cover all of it
    whole = 12 / 11 if quadrature == "riemann_trapezoid" else 1
    np.testing.assert_allclose(ours.values["x"], whole * theirs.detach().numpy(), rtol=1e-5, atol=1e-10)
    assert ours.completeness is not None
    if whole == 1:  # Captum weighs with float32 numbers, which its delta shows
        np.testing.assert_allclose(ours.completeness, delta.detach().numpy(), rtol=1e-3, atol=1e-8)
