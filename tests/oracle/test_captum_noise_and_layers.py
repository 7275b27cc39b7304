"""Methods that draw random numbers, and those of a layer, against Captum's, in double precision.

Captum is handed the very numbers that onnxsal draws, so that both must come to the same attributions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum import attr
from torch import Tensor

import onnxsal
from onnxsal.engines.torch import TorchEngine
from onnxsal.score import BoundScore
from onnxsal.types import Target
from tests.oracle.exports import write
from tests.oracle.networks import SCRIPT
from tests.oracle.test_captum import ALL as NETWORKS
from tests.oracle.test_captum import CASES, STEPS, drawn, original
from tests.oracle.test_captum_layers import PLACES, module_of

SAMPLES = 10
"""More than are explained at a time."""

NAMES = ["cnn", "mlp", "lstm", "transformer_encoder", "two_inputs"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], onnxsal.Model]:
    folder: Path = tmp_path_factory.mktemp("noise")

    @cache
    def load(name: str) -> onnxsal.Model:
        return onnxsal.load(write(NETWORKS[name].in_double(), SCRIPT[-1], folder / f"{name}.onnx", original(name)))

    return load


def feeds_of(name: str) -> dict[str, Tensor]:
    return dict(zip(NETWORKS[name].names, drawn(name), strict=True))


def drawing(model: onnxsal.Model, name: str) -> BoundScore:
    """Return a score that draws what `onnxsal.explain` draws."""
    feeds = feeds_of(name)
    targets = [Target(model.outputs[0].name, (0,))] * len(next(iter(feeds.values())))
    return BoundScore(TorchEngine(model, "cpu"), feeds, list(feeds), targets, stacked=True)


def by_onnxsal(model: onnxsal.Model, name: str, method: str, **options: Any) -> list[np.ndarray]:
    result = onnxsal.explain(model, feeds_of(name), method=method, device="cpu", verify=False, **options)
    return list(result.values.values())


def first(name: str) -> Callable[..., Tensor]:
    """Return the original module as a function to its first output."""

    def forward(*inputs: Tensor) -> Tensor:
        answer = original(name)(*inputs)
        return answer[0] if isinstance(answer, tuple) else answer

    return forward


def by_captum(explainer: Any, name: str, **options: Any) -> tuple[Tensor, ...]:
    return explainer.attribute(tuple(v.requires_grad_() for v in drawn(name)), target=CASES[name], **options)


def same(got: list[np.ndarray], expected: Any) -> None:
    theirs = expected if isinstance(expected, tuple) else (expected,)
    for ours, value in zip(got, theirs, strict=True):
        scale = float(value.detach().abs().max())
        assert scale > 0
        np.testing.assert_allclose(ours, value.detach().numpy(), rtol=1e-5, atol=1e-7 * scale)


def example_by_example(draws: list[Tensor]) -> Tensor:
    """Return draws of all examples as Captum stacks them: all of the first example, then all of the second."""
    return torch.stack(draws, 1).flatten(0, 1)


def hand_noise(monkeypatch: pytest.MonkeyPatch, noise: list[Tensor]) -> None:
    """Let Captum add this noise, one tensor an input, where it would draw its own."""
    left = iter(noise)
    monkeypatch.setattr(torch, "normal", lambda *_: next(left))


INNER = {
    "saliency:abs=false": (attr.Saliency, {"abs": False}),
    "input_x_gradient": (attr.InputXGradient, {}),
    f"integrated_gradients:steps={STEPS}": (attr.IntegratedGradients, {"n_steps": STEPS}),
}
KINDS = {"mean": "smoothgrad", "squared": "smoothgrad_sq", "variance": "vargrad"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", INNER)
@pytest.mark.parametrize("name", NAMES)
def test_noise_tunnel(exported, monkeypatch: pytest.MonkeyPatch, name: str, of: str, kind: str):
    model, score, feeds = exported(name), drawing(exported(name), name), feeds_of(name)
    got = by_onnxsal(model, name, "smoothgrad", of=of, kind=kind, samples=SAMPLES, noise=0.1, target=CASES[name])
    draws = [score.normal(feeds, draw) for draw in range(SAMPLES)]
    noise = []
    for n, value in feeds.items():
        spread = value.detach().flatten(1).amax(1) - value.detach().flatten(1).amin(1)
        noise.append(example_by_example([0.1 * spread.reshape(-1, *[1] * (value.ndim - 1)) * d[n] for d in draws]))
    hand_noise(monkeypatch, noise)
    explainer, options = INNER[of]
    tunnel = attr.NoiseTunnel(explainer(first(name)))
    same(got, by_captum(tunnel, name, nt_type=KINDS[kind], nt_samples=SAMPLES, stdevs=0.1, **options))


@pytest.mark.parametrize("name", NAMES)
def test_gradient_shap(exported, monkeypatch: pytest.MonkeyPatch, name: str):
    model, score, feeds = exported(name), drawing(exported(name), name), feeds_of(name)
    baselines = {n: torch.randn(5, *v.shape[1:], dtype=v.dtype) for n, v in feeds.items()}
    options = {"baselines": baselines, "samples": SAMPLES, "noise": 0.2}
    got = by_onnxsal(model, name, "gradient_shap", target=CASES[name], **options)
    which, places = [], []
    for numbers in score.uniform(feeds, 2 * SAMPLES):
        start, inside = numbers.chunk(2)
        which.append((start * 5).long())
        places.append((torch.arange(SAMPLES) + inside) / SAMPLES)
    draws = [score.normal(feeds, draw) for draw in range(1, SAMPLES + 1)]
    hand_noise(monkeypatch, [example_by_example([0.2 * d[n] for d in draws]) for n in feeds])
    monkeypatch.setattr(np.random, "choice", lambda *_: torch.cat(which).numpy())
    monkeypatch.setattr(np.random, "uniform", lambda *_: torch.cat(places).numpy())
    explainer = attr.GradientShap(first(name))
    same(got, by_captum(explainer, name, baselines=tuple(baselines.values()), n_samples=SAMPLES, stdevs=0.2))


@pytest.mark.parametrize(("name", "module", "value"), PLACES, ids=str)
def test_conductance(exported, name: str, module: str, value: str):
    """Captum takes the gradient at the start of each part; from both ends, the mean is the gradient between them."""
    got = by_onnxsal(exported(name), name, "conductance", layer=value, target=CASES[name], steps=STEPS, baseline=0.1)
    explainer = attr.LayerConductance(original(name), module_of(name, module))
    (x,) = drawn(name)
    start = torch.full_like(x, 0.1)
    options = {"target": CASES[name], "n_steps": STEPS, "method": "riemann_trapezoid"}
    there, back = explainer.attribute(x, start, **options), explainer.attribute(start, x, **options)
    same(got, (there - back) / 2)


@pytest.mark.parametrize("quadrature", ["gausslegendre", "riemann_left", "riemann_right", "riemann_middle"])
@pytest.mark.parametrize(("name", "module", "value"), PLACES, ids=str)
def test_internal_influence(exported, name: str, module: str, value: str, quadrature: str):
    options = {"quadrature": quadrature, "steps": STEPS}
    got = by_onnxsal(exported(name), name, "internal_influence", layer=value, target=CASES[name], **options)
    explainer = attr.InternalInfluence(original(name), module_of(name, module))
    same(got, explainer.attribute(drawn(name), target=CASES[name], n_steps=STEPS, method=quadrature))
