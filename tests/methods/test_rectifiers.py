"""Guided backpropagation and deconvolution: Captum's numbers, and the paper's where rectifiers are reused."""

from __future__ import annotations

from pathlib import Path

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import onnxsal
from onnxsal.errors import UsageError
from tests import models_for_tests as tiny

METHODS = {"guided_backprop": captum.attr.GuidedBackprop, "deconvolution": captum.attr.Deconvolution}


def network(rectifier: type[nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    body = (nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), rectifier(), nn.Conv2d(5, 6, 3, stride=2), rectifier())
    return nn.Sequential(*body, *head).double().eval()


def explain(module: nn.Module, x: Tensor, folder: Path, method: str) -> np.ndarray:
    path = folder / "network.onnx"
    torch.onnx.export(module, (x,), path, dynamo=False, input_names=["x"], opset_version=17)
    return onnxsal.explain(path, {"x": x}, method=method, target=[0, 3, 1], verify=False).values["x"]


@pytest.mark.parametrize("method", METHODS)
def test_the_numbers_are_captums(method: str, tmp_path: Path) -> None:
    module, x = network(nn.ReLU), torch.randn(3, 2, 9, 9, dtype=torch.float64)
    expected = METHODS[method](module).attribute(x.clone().requires_grad_(), target=[0, 3, 1]).detach().numpy()
    found = explain(module, x, tmp_path, method)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)
    assert (
        np.abs(
            found
            - onnxsal.explain(tmp_path / "network.onnx", {"x": x}, target=[0, 3, 1], abs=False, verify=False).values[
                "x"
            ]
        ).max()
        > 1e-4
    )


class Reused(nn.Module):
    """One rectifier for all layers, as many networks have it."""

    def __init__(self, plain: nn.Sequential) -> None:
        super().__init__()
        self.layers, self.relu = nn.ModuleList(m for m in plain if not isinstance(m, nn.ReLU)), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        first, norm, second, *head = self.layers
        x = self.relu(second(self.relu(norm(first(x)))))
        for layer in head:
            x = layer(x)
        return x


@pytest.mark.parametrize("method", METHODS)
def test_a_rectifier_used_twice_is_two_places(method: str, tmp_path: Path) -> None:
    module, x = network(nn.ReLU), torch.randn(3, 2, 9, 9, dtype=torch.float64)
    np.testing.assert_allclose(
        explain(Reused(module), x, tmp_path, method), explain(module, x, tmp_path, method), rtol=1e-9, atol=1e-14
    )


def test_relu6_is_a_rectifier_that_is_also_cut_above(tmp_path: Path) -> None:
    class Cut(nn.ReLU6):
        """ReLU6 whose way back is written by hand."""

        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            if y.requires_grad:
                y.register_hook(lambda gradient: gradient.clamp_min(0))
            return y

    x = 4 * torch.randn(3, 2, 9, 9, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    score = network(Cut)(leaf)[torch.arange(3), [0, 3, 1]].sum()
    (expected,) = torch.autograd.grad(score, leaf)
    found = explain(network(nn.ReLU6), x, tmp_path, "guided_backprop")
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_without_a_rectifier_there_is_nothing_to_guide(method: str) -> None:
    with pytest.raises(UsageError, match="no Relu") as fault:
        onnxsal.explain(tiny.linear(), {"x": np.ones((1, 3), np.float32)}, method=method)
    assert "saliency" in str(fault.value.hint)


@pytest.mark.parametrize(("method", "runs"), [("guided_backprop", 1), ("deconvolution", 1), ("deep_lift", 2)])
def test_the_call_is_run_once_and_so_is_the_baseline(
    method: str, runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, x = tmp_path / "network.onnx", torch.randn(1, 2, 9, 9, dtype=torch.float64)
    torch.onnx.export(network(nn.ReLU), (x,), path, dynamo=False, input_names=["x"], opset_version=17)
    model, plain, called = onnxsal.load(path), nn.functional.relu, []

    def relu(value: Tensor, inplace: bool = False) -> Tensor:
        called.append(value.shape)
        return plain(value)

    model.torch()
    monkeypatch.setattr(nn.functional, "relu", relu)
    onnxsal.explain(model, {"x": x}, method=method, target=1, verify=False)
    monkeypatch.undo()
    again = 2 * (method == "deep_lift")  # the slope where nothing moved
    assert len(called) == 2 * runs + again


@pytest.mark.parametrize("method", [*METHODS, "deep_lift"])
def test_targets_of_one_call_do_not_share_its_way_back(method: str, tmp_path: Path) -> None:
    path, x = tmp_path / "network.onnx", torch.randn(1, 2, 9, 9, dtype=torch.float64)
    torch.onnx.export(network(nn.ReLU), (x,), path, dynamo=False, input_names=["x"], opset_version=17)
    ranked = onnxsal.explain(path, {"x": x}, method=method, target="top2", verify=False).ranked
    for one in ranked:
        alone = onnxsal.explain(path, {"x": x}, method=method, target=one.target[0].index[0], verify=False)
        np.testing.assert_allclose(one.values["x"], alone.values["x"], rtol=1e-9, atol=1e-14)
