"""LRP beside Captum's, where Captum has the rule and every layer is a module used once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum import attr
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule
from torch import Tensor, nn

import onnxsal

TARGETS = [2, 0, 1]


def network() -> nn.Sequential:
    """Convolutions and both poolings; no bias of a convolution is positive, as the rules differ there."""
    torch.manual_seed(3)
    see = [nn.Conv2d(2, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3), nn.ReLU(), nn.AvgPool2d(2)]
    module = nn.Sequential(*see, nn.Flatten(), nn.Linear(24, 7), nn.ReLU(), nn.Linear(7, 3)).double().eval()
    with torch.no_grad():
        for layer in module:
            if isinstance(layer, nn.Conv2d):
                layer.bias.copy_(-layer.bias.abs())
    return module


def normalised() -> nn.Sequential:
    """Batch normalisation behind a convolution."""
    torch.manual_seed(3)
    see = [nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    module = nn.Sequential(*see, nn.Linear(180, 3))
    with torch.no_grad():
        module.train()(torch.rand(16, 2, 14, 14))
    return module.double().eval()


def drawn() -> Tensor:
    return torch.rand(3, 2, 14, 14, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def both(module: nn.Sequential, folder: Path, rules: dict[type, Any], **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return our relevance and Captum's."""
    x, path = drawn(), folder / "network.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ways: dict[str, Any] = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
        torch.onnx.export(module, (x,), path, dynamo=False, input_names=["x"], opset_version=17, **ways)
        for layer in module:
            if type(layer) in rules:
                layer.rule = rules[type(layer)]()
            elif isinstance(layer, nn.Flatten):  # Captum has none for it
                layer.rule = EpsilonRule(1e-15)
        expected = attr.LRP(module).attribute(x, target=TARGETS).detach().numpy()
    found = onnxsal.explain(path, {"x": x}, method="lrp", target=TARGETS, verify=False, device="cpu", **options)
    return found.values["x"], expected


CASES: dict[str, tuple[dict[type, Any], dict[str, Any]]] = {
    "epsilon": (
        dict.fromkeys((nn.Conv2d, nn.Linear, nn.AvgPool2d), lambda: EpsilonRule(0.01)),
        {"composite": "epsilon", "epsilon": 0.01},
    ),
    "gamma": (
        {nn.Conv2d: lambda: GammaRule(0.4), nn.Linear: lambda: EpsilonRule(1e-9)},
        {"first": "gamma", "convolution": "gamma", "gamma": 0.4, "epsilon": 1e-9},
    ),
    "z_plus": (
        {nn.Conv2d: lambda: Alpha1_Beta0_Rule(set_bias_to_zero=True), nn.Linear: lambda: EpsilonRule(1e-9)},
        {"composite": "epsilon_plus", "epsilon": 1e-9},
    ),
    "alpha 1, beta 0": (
        {nn.Conv2d: lambda: Alpha1_Beta0_Rule(set_bias_to_zero=True), nn.Linear: lambda: EpsilonRule(1e-9)},
        {"composite": "epsilon_alpha2_beta1", "alpha": 1.0, "beta": 0.0, "epsilon": 1e-9},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_are_captums(case: str, tmp_path: Path) -> None:
    rules, options = CASES[case]
    found, expected = both(network(), tmp_path, rules, **options)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


def test_batch_normalisation_too(tmp_path: Path) -> None:
    found, expected = both(normalised(), tmp_path, {}, composite="epsilon", epsilon=1e-9)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())
