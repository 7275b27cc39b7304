"""Class activation maps against Captum and against the papers' formulas written out."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.methods._cam import Layout, layout_of
from onnxsal.methods.eigen_cam import along_first_direction
from tests import models_for_tests as tiny

CAMS = (
    "grad_cam",
    "grad_cam_plus_plus",
    "xgrad_cam",
    "hires_cam",
    "layer_cam",
    "eigen_cam",
    "score_cam",
    "ablation_cam",
    "recipro_cam",
)
TARGETS = [2, 0, 1]


class Network(nn.Module):
    """Two convolutions whose maps are smaller than the picture, a pool and a head that is not linear."""

    def __init__(self, channels: int = 20) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.Tanh(), nn.Conv2d(5, channels, 3, 2, 1), nn.Softplus())
        self.pool = nn.AdaptiveAvgPool2d((2, 1))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(2 * channels, 4), nn.Tanh(), nn.Linear(4, 3))

    def forward(self, picture: Tensor) -> Tensor:
        """Return three scores."""
        return self.head(self.pool(self.body(picture)))


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(3)
    return Network().double().eval()


@pytest.fixture(scope="module")
def model(network: Network) -> onnxsal.Model:
    return exported(network, torch.zeros(2, 3, 16, 12, dtype=torch.float64))


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.randn(3, 3, 16, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def exported(module: nn.Module, example: Tensor) -> onnxsal.Model:
    data = io.BytesIO()
    axes = {"picture": {0: "N"}, "scores": {0: "N"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (example,), data, dynamo=False, input_names=["picture"], output_names=["scores"], dynamic_axes=axes
        )
    return onnxsal.load(onnx.load_from_string(data.getvalue()))


def cam(model: onnxsal.Model, method: str, pictures: Tensor, target: Any = TARGETS, **options: Any) -> Tensor:
    result = onnxsal.explain(model, {"picture": pictures}, method=method, target=target, verify=False, **options)
    return torch.from_numpy(result.values["picture"].copy())


def large(places: Tensor) -> Tensor:
    """Return maps of shape [examples, H, W] as the pictures' values are shaped."""
    size = functional.interpolate(places[:, None], (16, 12), mode="bilinear", align_corners=False)
    return size.expand(-1, 3, -1, -1)


@pytest.mark.parametrize("relu", [True, False])
def test_grad_cam_is_captums(network: Network, model: onnxsal.Model, pictures: Tensor, relu: bool) -> None:
    found = LayerGradCam(network, network.body).attribute(pictures, TARGETS, relu_attributions=relu)
    expected = LayerAttribution.interpolate(found, (16, 12), "bilinear").expand(-1, 3, -1, -1)
    torch.testing.assert_close(cam(model, "grad_cam", pictures, relu=relu), expected.detach(), rtol=1e-5, atol=1e-12)


def by_hand(network: Network, picture: Tensor, target: int, weight: Callable[..., float | Tensor]) -> Tensor:
    """Return one picture's map of shape [H, W]: channel by channel, each times the weight that the formula gives."""
    maps = network.body(picture[None]).detach().requires_grad_()
    score = network.head(network.pool(maps))[0, target]
    (gradients,) = torch.autograd.grad(score, maps)
    total = torch.zeros(maps.shape[2:], dtype=torch.float64)
    for k in range(maps.shape[1]):
        total += weight(maps[0, k].detach(), gradients[0, k]) * maps[0, k].detach()
    return total.clamp_min(0)


def plus_plus(a: Tensor, g: Tensor) -> float:
    total = 0.0
    for i, j in np.ndindex(*a.shape):
        below = 2 * g[i, j] ** 2 + a.sum() * g[i, j] ** 3
        total += float(g[i, j] ** 2 / below * max(g[i, j], 0))
    return total


FORMULAS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "grad_cam": lambda _, g: sum(float(x) for x in g.flatten()) / g.numel(),
    "grad_cam_plus_plus": plus_plus,
    "xgrad_cam": lambda a, g: sum(float(x * y) for x, y in zip(a.flatten(), g.flatten(), strict=True)) / a.sum(),
    "hires_cam": lambda _, g: g,
    "layer_cam": lambda _, g: g * (g > 0),
}


@pytest.mark.parametrize("method", FORMULAS)
def test_gradient_maps_follow_their_papers(
    network: Network, model: onnxsal.Model, pictures: Tensor, method: str
) -> None:
    pairs = zip(pictures, TARGETS, strict=True)
    expected = torch.stack([by_hand(network, picture, target, FORMULAS[method]) for picture, target in pairs])
    torch.testing.assert_close(cam(model, method, pictures), large(expected), rtol=1e-5, atol=1e-12)


def test_eigen_cam_follows_the_largest_eigenvector(network: Network, model: onnxsal.Model, pictures: Tensor) -> None:
    maps = network.body(pictures).detach()
    expected = []
    for example in maps:
        table = example.flatten(1).T
        values, vectors = np.linalg.eigh((table.T @ table).numpy())
        seen = table @ torch.from_numpy(vectors[:, values.argmax()])
        expected.append((seen * seen.sum().sign()).clamp_min(0).reshape(example.shape[1:]))
    torch.testing.assert_close(cam(model, "eigen_cam", pictures), large(torch.stack(expected)), rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("shape", [(3, 5, 40), (3, 40, 5), (2, 9, 9)])
@pytest.mark.parametrize("spectrum", [1e-1, 1e-6, 0.0])
def test_the_first_direction_is_that_of_a_singular_value_decomposition(shape: tuple[int, ...], spectrum: float) -> None:
    """The largest singular value is larger than the next by ``spectrum``; 0: all numbers are zero."""
    generator = torch.Generator().manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape, generator=generator, dtype=torch.float64), full_matrices=False)
    values = torch.linspace(1, 0.1, left.shape[2], dtype=torch.float64).repeat(shape[0], 1)
    values[:, 1] = 1 - spectrum
    tables = (left * values[:, None]) @ right * (10.0 if spectrum else 0.0)
    seen, expected = along_first_direction(tables), 10 * left[:, :, 0] * bool(spectrum)
    sign = (seen * expected).sum(1, keepdim=True).sign()
    torch.testing.assert_close(seen * sign if spectrum else seen, expected, rtol=0, atol=1e-8)


def test_score_cam_masks_the_picture_with_each_map(network: Network, model: onnxsal.Model, pictures: Tensor) -> None:
    expected = []
    for picture, target in zip(pictures, TARGETS, strict=True):
        maps = network.body(picture[None]).detach()[0]
        scores = []
        for a in maps:
            mask = functional.interpolate(a[None, None], (16, 12), mode="bilinear", align_corners=False)[0, 0]
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            scores.append(network((picture * mask)[None])[0, target].detach())
        weights = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
        expected.append(sum(w * a for w, a in zip(weights, maps, strict=True)).clamp_min(0))
    torch.testing.assert_close(cam(model, "score_cam", pictures), large(torch.stack(expected)), rtol=1e-5, atol=1e-12)


def test_ablation_cam_takes_each_map_away(network: Network, model: onnxsal.Model, pictures: Tensor) -> None:
    expected = []
    for picture, target in zip(pictures, TARGETS, strict=True):
        maps = network.body(picture[None]).detach()
        whole = network(picture[None])[0, target].detach()
        total = torch.zeros(maps.shape[2:], dtype=torch.float64)
        for k in range(maps.shape[1]):
            without = maps.clone()
            without[:, k] = 0
            lost = whole - network.head(network.pool(without))[0, target].detach()
            total += lost / abs(whole) * maps[0, k]
        expected.append(total.clamp_min(0))
    result = cam(model, "ablation_cam", pictures)
    torch.testing.assert_close(result, large(torch.stack(expected)), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("blur", [True, False])
def test_recipro_cam_sees_each_place_alone(
    network: Network, model: onnxsal.Model, pictures: Tensor, blur: bool
) -> None:
    kernel = torch.tensor([1.0, 2, 1], dtype=torch.float64) / 4
    expected = []
    for picture, target in zip(pictures, TARGETS, strict=True):
        maps = network.body(picture[None]).detach()
        worth = torch.zeros(maps.shape[2:], dtype=torch.float64)
        for i, j in np.ndindex(*worth.shape):
            seen = torch.zeros_like(maps)
            for y, x in np.ndindex(3, 3):
                row, column, part = i + y - 1, j + x - 1, kernel[y] * kernel[x] if blur else float(y == x == 1)
                if 0 <= row < worth.shape[0] and 0 <= column < worth.shape[1]:
                    seen[:, :, row, column] = maps[:, :, row, column] * part
            worth[i, j] = network.head(network.pool(seen))[0, target].detach()
        expected.append((worth - worth.min()) / (worth.max() - worth.min()))
    result = cam(model, "recipro_cam", pictures, blur=blur)
    torch.testing.assert_close(result, large(torch.stack(expected)), rtol=1e-5, atol=1e-12)


def test_guided_grad_cam_is_both_of_them() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
    module = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).double().eval()
    pictures = torch.randn(3, 3, 16, 12, dtype=torch.float64)
    rectified = exported(module, pictures)
    edges, places = (cam(rectified, method, pictures) for method in ("guided_backprop", "grad_cam"))
    assert places.any()
    torch.testing.assert_close(cam(rectified, "guided_grad_cam", pictures), edges * places)


def test_a_class_token_is_known_by_the_grid_beside_it() -> None:
    picture = torch.zeros(1, 3, 64, 32)
    assert layout_of(torch.zeros(1, 33, 5), picture) == Layout(channels=-1, grid=(8, 4), apart=1)
    assert layout_of(torch.zeros(1, 32, 5), picture) == Layout(channels=-1, grid=(8, 4))
    assert layout_of(torch.zeros(1, 8, 4, 5), picture) == Layout(channels=-1)
    assert layout_of(torch.zeros(1, 5, 8, 4), picture) == Layout()
    assert layout_of(torch.zeros(1, 30, 5), picture) is None
    assert layout_of(torch.zeros(2, 33, 5), picture) is None


def test_a_layer_can_be_named_as_for_any_method(model: onnxsal.Model, pictures: Tensor) -> None:
    layer = "/body/body.1/Tanh"
    a = onnxsal.explain(model, {"picture": pictures}, method="grad_cam", target=TARGETS, verify=False, layer=layer)
    assert a.options["layer"] == layer
    assert list(a.values) == ["picture"]
    with pytest.raises(UsageError, match="one layer"):
        cam(model, "grad_cam", pictures, layer=[layer, layer])


@pytest.mark.parametrize("method", CAMS)
def test_an_example_is_explained_the_same_in_any_company(model: onnxsal.Model, pictures: Tensor, method: str) -> None:
    whole = cam(model, method, pictures)
    turned = cam(model, method, pictures.flip(0), TARGETS[::-1], batch_size=2)
    torch.testing.assert_close(turned.flip(0), whole, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(cam(model, method, pictures[1:2], TARGETS[1]), whole[1:2], rtol=1e-9, atol=1e-12)


def test_a_layer_may_be_named(network: Network, model: onnxsal.Model, pictures: Tensor) -> None:
    first = "/body/body.1/Tanh_output_0"
    found = LayerGradCam(network, network.body[1]).attribute(pictures, TARGETS, relu_attributions=True)
    expected = LayerAttribution.interpolate(found, (16, 12), "bilinear").expand(-1, 3, -1, -1)
    for name in (first, "/body/body.1/Tanh"):
        torch.testing.assert_close(cam(model, "grad_cam", pictures, layer=name), expected.detach())


def convolution(
    before: list[onnx.NodeProto], after: list[onnx.NodeProto], shape: list[Any], out: list[Any]
) -> onnxsal.Model:
    """Return a model whose one convolution makes ``maps`` of ``planes``: the picture and twice the picture."""
    rank = 2 if len(shape) == 4 else 1
    weight = np.array([1.0, 2.0], np.float32).reshape(2, 1, *(1,) * rank)
    nodes = [*before, helper.make_node("Conv", ["planes", "weight"], ["maps"], name="conv"), *after]
    constants = {"weight": weight, "one": np.array([1]), "zero": np.array([0])}
    return onnxsal.load(tiny.model(nodes, [("picture", tiny.FLOAT, shape)], [("scores", tiny.FLOAT, out)], constants))


POOL = [
    helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
    helper.make_node("Flatten", ["pooled"], ["scores"]),
]


def test_colours_may_come_last() -> None:
    before = [helper.make_node("Transpose", ["picture"], ["planes"], perm=[0, 3, 1, 2])]
    model = convolution(before, POOL, ["N", 6, 5, 1], ["N", 2])
    picture = torch.rand(2, 6, 5, 1)
    result = cam(model, "grad_cam", picture, 1)
    torch.testing.assert_close(result, 2 * picture / 30)
    assert cam(model, "score_cam", picture, 1).shape == picture.shape


def test_signals_are_explained_too() -> None:
    model = convolution([helper.make_node("Identity", ["picture"], ["planes"])], POOL, ["N", 1, 7], ["N", 2])
    signal = torch.rand(2, 1, 7)
    for method in CAMS:
        assert cam(model, method, signal, 1).shape == signal.shape
    torch.testing.assert_close(cam(model, "hires_cam", signal, 1), 2 * signal / 7)


@pytest.mark.parametrize("method", CAMS)
def test_a_call_without_an_axis_of_examples(method: str) -> None:
    """The output has lost its axis of examples, so the whole call is one example; its maps stay the same."""
    lost = [*POOL[:1], helper.make_node("Squeeze", ["pooled"], ["scores"])]
    identity = [helper.make_node("Identity", ["picture"], ["planes"])]
    picture = torch.rand(1, 1, 6, 5)
    expected = cam(convolution(identity, POOL, [1, 1, 6, 5], [1, 2]), method, picture, 1)
    torch.testing.assert_close(cam(convolution(identity, lost, [1, 1, 6, 5], [2]), method, picture, 1), expected)


def test_a_silent_map_gives_zeros_not_nan() -> None:
    model = convolution([helper.make_node("Identity", ["picture"], ["planes"])], POOL, ["N", 1, 6, 5], ["N", 2])
    for method in CAMS:
        assert not cam(model, method, torch.zeros(2, 1, 6, 5), 1).any(), method


def test_a_model_without_places_is_refused() -> None:
    with pytest.raises(UsageError, match="no layer on the way"):
        onnxsal.explain(onnxsal.load(tiny.linear()), {"x": np.ones((1, 3), np.float32)}, method="grad_cam")


def test_a_layer_that_does_not_fit_is_refused(model: onnxsal.Model, pictures: Tensor) -> None:
    with pytest.raises(UsageError, match="cannot be laid over"):
        cam(model, "grad_cam", pictures, layer="scores")
    with pytest.raises(UsageError, match="no value or node"):
        cam(model, "grad_cam", pictures, layer="nowhere")


def test_several_inputs_are_refused() -> None:
    nodes = [helper.make_node("Add", ["left", "right"], ["sum"]), helper.make_node("GlobalMaxPool", ["sum"], ["y"])]
    ports = [(name, tiny.FLOAT, ["N", 2, 4, 4]) for name in ("left", "right")]
    proto = tiny.model(nodes, ports, [("y", tiny.FLOAT, ["N", 2, 1, 1])])
    feeds = {name: np.ones((1, 2, 4, 4), np.float32) for name in ("left", "right")}
    with pytest.raises(UsageError, match="one input, 2 are explained: left, right"):
        onnxsal.explain(proto, feeds, method="grad_cam", target=(1, 0, 0))


def test_places_that_attention_mixes_are_refused_unless_named() -> None:
    mixed = [
        helper.make_node("MatMul", ["maps", "maps"], ["mixed"], name="attend"),
        helper.make_node("GlobalAveragePool", ["mixed"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["scores"]),
    ]
    model = convolution([helper.make_node("Identity", ["picture"], ["planes"])], mixed, ["N", 1, 5, 5], ["N", 2])
    picture = torch.rand(1, 1, 5, 5)
    with pytest.raises(UsageError, match="attention"):
        cam(model, "grad_cam", picture, 1)
    assert cam(model, "grad_cam", picture, 1, layer="maps").any()


def test_a_named_layer_costs_one_run_with_the_way_back_open_behind_it_only(
    model: onnxsal.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.random.default_rng(0).random((1, 3, 16, 12))
    layer = [node.outputs[0] for node in model.graph.nodes if node.op_type == "Conv"][-1]
    tracked: list[bool] = []
    plain = functional.conv2d

    def conv2d(*arguments: Any, **options: Any) -> Tensor:
        answer = plain(*arguments, **options)
        tracked.append(answer.requires_grad)
        return answer

    model.torch()
    monkeypatch.setattr(functional, "conv2d", conv2d)
    monkeypatch.setattr(torch, "conv2d", conv2d)
    onnxsal.explain(model, {model.inputs[0].name: picture}, method="grad_cam", target=1, layer=layer, verify=False)
    assert tracked == [False, False]
