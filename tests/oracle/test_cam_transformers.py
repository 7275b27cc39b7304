"""Class activation maps and attention rollout of exported vision transformers, against torch written out by hand."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import onnxsal
from tests.oracle.exports import write
from tests.oracle.networks import DYNAMO, NETWORKS, SCRIPT, Export

pytestmark = pytest.mark.oracle

EXPORTS = [pytest.param(SCRIPT[-1], id="torchscript"), pytest.param(DYNAMO[0], id="dynamo")]
TARGETS = [1, 3]


@cache
def original(name: str) -> nn.Module:
    return NETWORKS[name].in_double().module()


def pictures(name: str) -> Tensor:
    (drawn,) = NETWORKS[name].in_double().inputs(len(TARGETS))
    return drawn


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("transformers")

    @cache
    def load(name: str, export: Export) -> onnxsal.Model:
        return onnxsal.load(write(NETWORKS[name].in_double(), export, folder / f"{name}-{export}.onnx", original(name)))

    return load


def explained(model: onnxsal.Model, name: str, method: str, **options: object) -> np.ndarray:
    feeds = {"x": pictures(name)}
    options = {"method": method, "target": TARGETS, "verify": False, "device": "cpu"} | options
    a = onnxsal.explain(model, feeds, **options)  # type: ignore[arg-type]
    return a.values["x"]


def grad_cam(name: str, layer: nn.Module, to_maps) -> np.ndarray:
    """Return Grad-CAM at a module's output, written out."""
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda *call: seen.append(call[2].requires_grad_()) or seen[0])
    scores = original(name)(pictures(name))
    hook.remove()
    (gradient,) = torch.autograd.grad(scores[range(len(TARGETS)), TARGETS].sum(), seen[0])
    maps, slopes = to_maps(seen[0].detach()), to_maps(gradient)
    places = (maps * slopes.mean((2, 3), keepdim=True)).sum(1, keepdim=True)
    size = pictures(name).shape[2:]
    return nn.functional.interpolate(places, size=size, mode="bilinear").expand(-1, 3, -1, -1).numpy()


def tokens(value: Tensor) -> Tensor:
    return value[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("export", EXPORTS)
def test_grad_cam_of_a_vit_looks_at_what_the_class_token_last_saw(exported, export: Export):
    got = explained(exported("vit", export), "vit", "grad_cam", relu=False)
    expected = grad_cam("vit", original("vit").blocks[-1].norm1, tokens)
    assert got.any()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-9 * np.abs(expected).max() + 1e-12)


@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize("name", ["swin", "swin_v2"])
def test_grad_cam_of_a_swin_looks_at_its_last_grid(exported, name: str, export: Export):
    got = explained(exported(name, export), name, "grad_cam", relu=False)
    expected = grad_cam(name, original(name).norm, lambda value: value.permute(0, 3, 1, 2))
    assert got.any()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-9 * np.abs(expected).max() + 1e-12)


@pytest.mark.parametrize("method", ["score_cam", "ablation_cam", "eigen_cam", "recipro_cam", "layer_cam", "hires_cam"])
def test_every_map_is_made_of_tokens_too(exported, method: str):
    got = explained(exported("vit", SCRIPT[-1]), "vit", method)
    assert np.isfinite(got).all()
    assert (got.std((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("export", EXPORTS)
def test_rollout_of_a_vit(exported, export: Export):
    got = explained(exported("vit", export), "vit", "attention_rollout")
    module, maps = original("vit"), []
    hooks = [b.attn.attn_drop.register_forward_hook(lambda *call: maps.append(call[2])) for b in module.blocks]
    module(pictures("vit"))
    for hook in hooks:
        hook.remove()
    flow = torch.eye(17, dtype=torch.float64)
    for attention in maps:
        flow = (0.5 * attention.mean(1) + 0.5 * torch.eye(17, dtype=torch.float64)) @ flow
    places = flow[:, 0, 1:].reshape(-1, 1, 4, 4)
    expected = nn.functional.interpolate(places, size=(32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-6)
