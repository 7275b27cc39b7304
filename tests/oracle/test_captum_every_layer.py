"""The layer and neuron methods of Captum that no other file compares, on the exported file, in double precision."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from captum import attr
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn

import onnxsal
from onnxsal.score import BoundScore
from tests.methods.models import inputs_of, model, network, score_of
from tests.oracle.captum_names import EVERY

TARGETS = [2, 0, 1]
SAMPLES = 6

LAYERS = {
    "cnn": {"1": "/0/Conv", "2": "/2/Relu", "3": "/3/Conv", "4": "/4/Relu"},
    "mlp": {"0": "/0/Gemm", "1": "/1/Relu"},
    "transformer": {"mix": "/mix/Add", "norm": "/norm/LayerNormalization"},
    "two_inputs": {"left": "/left/Gemm", "right": "/right/Gemm"},
}
"""Modules of a network, and the nodes that they became."""

PLACES = [(kind, module, node) for kind, pairs in LAYERS.items() for module, node in pairs.items()]
OF_MODULES = [place for place in PLACES if place[0] in {"cnn", "mlp"}]
"""Where every operator is a module used once, the only networks that Captum's DeepLIFT and LRP are meant for."""

places = pytest.mark.parametrize(("kind", "module", "node"), PLACES)
of_modules = pytest.mark.parametrize(("kind", "module", "node"), OF_MODULES)


def by_onnxsal(captum: str, kind: str, **asked: Any) -> list[np.ndarray]:
    """Explain with the method that the table names."""
    ours = EVERY[captum]
    more = (
        {"verify": False, "engine": "torch", "device": "cpu", "completeness_tolerance": float("inf")}
        | dict(ours.options)
        | asked
    )
    return list(onnxsal.explain(model(kind), inputs_of(kind), method=ours.method, **more).values.values())


def by_captum(captum: str, kind: str, module: str, *more: Any, **options: Any) -> Any:
    torch_module = deepcopy(network(kind))  # Captum leaves rules and hooks behind
    explainer = getattr(attr, captum)(torch_module, torch_module.get_submodule(module))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return explainer.attribute(drawn(kind), *more, **options)


def drawn(kind: str) -> tuple[Tensor, ...]:
    return tuple(value.requires_grad_() for value in inputs_of(kind).values())


def same(got: Sequence[Any], expected: Any) -> None:
    theirs = expected if isinstance(expected, (tuple, list)) else (expected,)
    for ours, value in zip(got, theirs, strict=True):
        wanted = value.detach().numpy()
        scale = np.abs(wanted).max()
        assert scale > 0
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-7 * scale)


def baseline(kind: str) -> dict[str, Tensor]:
    """Return one baseline for each example."""
    return {name: 0.3 * value.flip(0) + 0.1 for name, value in inputs_of(kind).items()}


def several(kind: str) -> dict[str, Tensor]:
    """Return as many baselines as there are samples."""
    generator = torch.Generator().manual_seed(5)
    shapes = {name: value.shape[1:] for name, value in inputs_of(kind).items()}
    return {n: torch.randn(SAMPLES, *shape, generator=generator, dtype=torch.float64) for n, shape in shapes.items()}


def inside(kind: str, module: str, inputs: Sequence[Tensor]) -> Tensor:
    """Return what a module of the network answers."""
    found: list[Tensor] = []
    torch_module = network(kind)
    hook = torch_module.get_submodule(module).register_forward_hook(lambda *call: found.append(call[2]))
    with torch.no_grad():
        torch_module(*inputs)
    hook.remove()
    return found[0]


def index(kind: str, module: str) -> tuple[int, ...]:
    """Return the index of a layer's livest number."""
    place = inside(kind, module, drawn(kind)).abs().amin(0)
    return tuple(int(i) for i in np.unravel_index(int(place.argmax()), place.shape))


def neuron(kind: str, module: str, node: str) -> str:
    return f"{node}[{','.join(map(str, index(kind, module)))}]"


# --- layers -----------------------------------------------------------------------------------------------------------


@places
def test_activation(kind: str, module: str, node: str) -> None:
    same(by_onnxsal("LayerActivation", kind, layer=node), by_captum("LayerActivation", kind, module))


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("kind", "module", "node"), [place for place in PLACES if place[0] == "cnn"])
def test_grad_cam(kind: str, module: str, node: str, relu: bool) -> None:
    """Captum's is of the layer's own size; ours lies over the input as its ``interpolate`` would lay it."""
    small = by_captum("LayerGradCam", kind, module, target=TARGETS, relu_attributions=relu)
    shape = inputs_of(kind)["x"].shape
    large = nn.functional.interpolate(small, shape[2:], mode="bilinear").expand(shape)
    same(by_onnxsal("LayerGradCam", kind, layer=node, target=TARGETS, relu=relu), large)


@of_modules
def test_deep_lift(kind: str, module: str, node: str) -> None:
    got = by_onnxsal("LayerDeepLift", kind, layer=node, target=TARGETS, baseline=baseline(kind))
    same(got, by_captum("LayerDeepLift", kind, module, tuple(baseline(kind).values()), target=TARGETS))


@of_modules
def test_deep_lift_shap(kind: str, module: str, node: str) -> None:
    got = by_onnxsal("LayerDeepLiftShap", kind, layer=node, target=TARGETS, baselines=several(kind))
    same(got, by_captum("LayerDeepLiftShap", kind, module, tuple(several(kind).values()), target=TARGETS))


@pytest.mark.parametrize(("kind", "module", "node"), [("cnn", "3", "/3/Conv"), ("mlp", "0", "/0/Gemm")])
def test_lrp(kind: str, module: str, node: str) -> None:
    """Captum has no relevance of an activation's values."""
    torch_module = deepcopy(network(kind))
    for layer in torch_module:
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.AdaptiveAvgPool2d)):
            layer.rule = EpsilonRule(0.01)
        elif isinstance(layer, nn.Flatten):
            layer.rule = EpsilonRule(1e-15)
    expected = attr.LayerLRP(torch_module, torch_module.get_submodule(module)).attribute(drawn(kind), target=TARGETS)
    same(by_onnxsal("LayerLRP", kind, layer=node, target=TARGETS, epsilon=0.01), expected)


@places
def test_feature_ablation(kind: str, module: str, node: str) -> None:
    """Our baseline is said of the inputs, and is in the layer what the layer then is."""
    starts = {name: value[:1] for name, value in baseline(kind).items()}
    placed = inside(kind, module, list(starts.values()))
    got = by_onnxsal("LayerFeatureAblation", kind, layer=node, target=TARGETS, baselines=starts, features="elements")
    same(got, by_captum("LayerFeatureAblation", kind, module, placed, target=TARGETS))


@places
def test_feature_permutation(monkeypatch: pytest.MonkeyPatch, kind: str, module: str, node: str) -> None:
    """Captum draws one permutation; ours is the mean over those that hand each example another one's numbers in turn.

    Captum's layer version picks the target twice, which only a function of one number per example lives through.
    """
    torch_module = network(kind)

    def number(*inputs: Tensor) -> Tensor:
        return torch_module(*inputs).gather(1, torch.tensor(TARGETS).unsqueeze(1)).squeeze(1)

    turns = []
    for turn in range(1, len(TARGETS)):
        monkeypatch.setattr(torch, "randperm", lambda n, turn=turn, **_: torch.arange(n).roll(turn))
        explainer = attr.LayerFeaturePermutation(number, torch_module.get_submodule(module))
        turns.append(explainer.attribute(drawn(kind)))
    monkeypatch.undo()
    got = by_onnxsal("LayerFeaturePermutation", kind, layer=node, target=TARGETS, features="elements")
    same(got, torch.stack(turns).mean(0))


def drawn_by(score: BoundScore) -> tuple[Tensor, Tensor]:
    """Return the baselines and the places on the way that gradient_shap draws, each of shape [examples, samples]."""
    which, places = [], []
    for numbers in score.uniform(score.feeds, 2 * SAMPLES):
        start, within = numbers.chunk(2)
        which.append((start * SAMPLES).long())
        places.append((torch.arange(SAMPLES) + within) / SAMPLES)
    return torch.stack(which), torch.stack(places)


def hand(monkeypatch: pytest.MonkeyPatch, score: BoundScore) -> None:
    """Let Captum use these draws, where it would make its own."""
    which, places = drawn_by(score)
    monkeypatch.setattr(np.random, "choice", lambda *_: which.flatten().numpy())
    monkeypatch.setattr(np.random, "uniform", lambda *_: places.flatten().numpy())


@pytest.mark.parametrize(("kind", "module", "node"), [("cnn", "1", "/0/Conv"), ("mlp", "0", "/0/Gemm")])
def test_gradient_shap_where_the_way_to_the_layer_is_straight(
    monkeypatch: pytest.MonkeyPatch, kind: str, module: str, node: str
) -> None:
    hand(monkeypatch, score_of(kind, inputs_of(kind), TARGETS).at(node))
    options = {"target": TARGETS, "n_samples": SAMPLES, "stdevs": 0.0}
    expected = by_captum("LayerGradientShap", kind, module, tuple(several(kind).values()), **options)
    monkeypatch.undo()
    options = {"target": TARGETS, "baselines": several(kind), "samples": SAMPLES}
    same(by_onnxsal("LayerGradientShap", kind, layer=node, **options), expected)


@pytest.mark.parametrize(("module", "after", "node"), [("2", 3, "/2/Relu"), ("4", 5, "/4/Relu")])
def test_gradient_shap_behind_a_bend(module: str, after: int, node: str) -> None:
    """Captum takes gradients between the inputs and multiplies by the layer's difference, of which they say nothing.

    Ours are taken between the layer's two values: compared with the rest of the torch module, point by point.
    """
    rest, examples = network("cnn")[after:], range(len(TARGETS))
    end, starts = (inside("cnn", module, list(v.values())) for v in (inputs_of("cnn"), several("cnn")))
    which, places = drawn_by(score_of("cnn", inputs_of("cnn"), TARGETS).at(node))
    expected = torch.zeros_like(end)
    for example in examples:
        for start, place in zip(which[example], places[example], strict=True):
            way = end[example] - starts[start]
            point = (starts[start] + place * way).unsqueeze(0).requires_grad_()
            (slope,) = torch.autograd.grad(rest(point)[0, TARGETS[example]], point)
            expected[example] += way * slope[0] / SAMPLES
    options = {"target": TARGETS, "baselines": several("cnn"), "samples": SAMPLES}
    same(by_onnxsal("LayerGradientShap", "cnn", layer=node, **options), expected)


# --- neurons ----------------------------------------------------------------------------------------------------------


@of_modules
def test_deep_lift_of_a_neuron(kind: str, module: str, node: str) -> None:
    got = by_onnxsal("NeuronDeepLift", kind, neuron=neuron(kind, module, node), baseline=baseline(kind))
    same(got, by_captum("NeuronDeepLift", kind, module, index(kind, module), tuple(baseline(kind).values())))


@of_modules
def test_deep_lift_shap_of_a_neuron(kind: str, module: str, node: str) -> None:
    got = by_onnxsal("NeuronDeepLiftShap", kind, neuron=neuron(kind, module, node), baselines=several(kind))
    same(got, by_captum("NeuronDeepLiftShap", kind, module, index(kind, module), tuple(several(kind).values())))


@pytest.mark.parametrize(("kind", "module", "node"), [p for p in PLACES if p[0] != "two_inputs"])
def test_gradient_shap_of_a_neuron(monkeypatch: pytest.MonkeyPatch, kind: str, module: str, node: str) -> None:
    hand(monkeypatch, score_of(kind, inputs_of(kind), TARGETS))
    starts = tuple(several(kind).values())
    expected = by_captum("NeuronGradientShap", kind, module, index(kind, module), starts, n_samples=SAMPLES)
    monkeypatch.undo()
    options = {"baselines": several(kind), "samples": SAMPLES}
    same(by_onnxsal("NeuronGradientShap", kind, neuron=neuron(kind, module, node), **options), expected)


@pytest.mark.parametrize("captum", ["NeuronGuidedBackprop", "NeuronDeconvolution"])
@pytest.mark.parametrize(("module", "node"), [("3", "/3/Conv"), ("4", "/4/Relu")])
def test_rectifiers_before_a_neuron(captum: str, module: str, node: str) -> None:
    got = by_onnxsal(captum, "cnn", neuron=neuron("cnn", module, node))
    same(got, by_captum(captum, "cnn", module, index("cnn", module)))


@pytest.mark.parametrize(("kind", "module", "node"), [p for p in PLACES if p[0] != "two_inputs"])
def test_feature_ablation_of_a_neuron(kind: str, module: str, node: str) -> None:
    got = by_onnxsal("NeuronFeatureAblation", kind, neuron=neuron(kind, module, node), features="elements")
    same(got, by_captum("NeuronFeatureAblation", kind, module, index(kind, module)))


@pytest.mark.parametrize("quadrature", ["gausslegendre", "riemann_left", "riemann_middle"])
@pytest.mark.parametrize(("kind", "module", "node"), [p for p in PLACES if p[0] != "two_inputs"])
def test_conductance_of_a_neuron(kind: str, module: str, node: str, quadrature: str) -> None:
    options = {"target": TARGETS, "baseline": baseline(kind), "steps": 9, "quadrature": quadrature}
    got = by_onnxsal("NeuronConductance", kind, neuron=neuron(kind, module, node), **options)
    starts = tuple(baseline(kind).values())
    options = {"target": TARGETS, "n_steps": 9, "method": quadrature}
    expected = by_captum("NeuronConductance", kind, module, index(kind, module), starts, **options)
    same(got, expected)
