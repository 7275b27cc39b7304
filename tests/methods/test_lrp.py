"""LRP against the formulas, written down for matrices; AttnLRP against its paper, token by token."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.plugins import registry
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of, model
from tests.methods.models import network as network_of

node = helper.make_node
RNG = np.random.default_rng
KINDS = ["epsilon", "gamma", "alpha_beta", "z_plus", "flat", "w_square", "z_box"]
TARGETS = [2, 0, 1]


class Net(nn.Module):
    """Two convolutions with batch normalisation, whose gains are of both signs, and two dense layers."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(2, 4, 3, padding=1, bias=bias), nn.BatchNorm2d(4)
        self.two, self.second = nn.Conv2d(4, 3, 2, stride=2, groups=1, bias=False), nn.BatchNorm2d(3)
        self.three, self.four = nn.Linear(27, 5, bias=bias), nn.Linear(5, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.one(x)).relu()
        x = self.second(self.two(x)).relu()
        return self.four(self.three(x.flatten(1)).relu())


def net() -> Net:
    torch.manual_seed(4)
    module = Net()
    with torch.no_grad():
        for norm in (module.norm, module.second):
            norm.weight.uniform_(-1, 1)
            norm.bias.uniform_(-1, 1)
        module.train()(torch.randn(16, 2, 6, 6))
    return module.double().eval().requires_grad_(False)


def exported(module: nn.Module, x: Tensor, folder: Path) -> Path:
    path = folder / "network.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (x,), path, dynamo=False, input_names=["x"], training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False, opset_version=17,
        )  # fmt: skip
    return path


def explain(source: Any, x: Any, target: Any = TARGETS, method: str = "lrp", **options: Any) -> np.ndarray:
    result = onnxsal.explain(source, {"x": x}, method=method, target=target, verify=False, device="cpu", **options)
    return result.values["x"]


# --- the formulas, for matrices ---------------------------------------------------------------------------------------


def dense(function: Callable[[Tensor], Tensor], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix and the constant of a function that is affine."""
    matrix = torch.autograd.functional.jacobian(function, torch.zeros(size, dtype=torch.float64))
    return matrix.T.numpy(), function(torch.zeros(size, dtype=torch.float64)).numpy()


def matrices(module: Net) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the network's weighted sums, batch normalisation within."""
    first = dense(lambda x: module.norm(module.one(x.view(1, 2, 6, 6))).flatten(), 72)
    second = dense(lambda x: module.second(module.two(x.view(1, 4, 6, 6))).flatten(), 144)
    return [first, second, dense(module.three, 27), dense(module.four, 5)]


def kept(value: np.ndarray) -> np.ndarray:
    return np.where(value >= 0, value + 1e-6, value - 1e-6)


def back(kind: str, x: np.ndarray, w: np.ndarray, b: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return the relevance of each input of one layer."""
    part = x[:, None] * w
    up, down = part.clip(0), part.clip(None, 0)
    if kind == "epsilon":
        return part @ (r / kept(part.sum(0) + b))
    if kind == "gamma":
        z = part.sum(0) + b
        boosted = part + 0.25 * np.where(z >= 0, up, down)
        return boosted @ (r / kept(boosted.sum(0) + b + 0.25 * np.where(z >= 0, b.clip(0), b.clip(None, 0))))
    if kind in {"alpha_beta", "z_plus"}:
        alpha, beta = (2, 1) if kind == "alpha_beta" else (1, 0)
        above, below = up.sum(0) + b.clip(0), down.sum(0) + b.clip(None, 0)
        return alpha * up @ (r / kept(above)) - beta * down @ (r / kept(below))
    if kind in {"flat", "w_square"}:
        share = (w != 0) * 1.0 if kind == "flat" else w**2
        return share @ (r / kept(share.sum(0)))
    low, high = np.full_like(x, -3), np.full_like(x, 4)
    part = part - low[:, None] * w.clip(0) - high[:, None] * w.clip(None, 0)
    return part @ (r / kept(part.sum(0)))


def by_hand(module: Net, x: Tensor, target: int, kinds: list[str]) -> np.ndarray:
    layers, values = matrices(module), [x.flatten().numpy()]
    for weight, bias in layers:
        z = values[-1] @ weight + bias
        values.append(z.clip(0) if len(values) < len(layers) else z)
    relevance = np.where(np.arange(3) == target, values[-1], 0)
    for (weight, bias), value, kind in zip(layers[::-1], values[-2::-1], kinds[::-1], strict=True):
        relevance = back(kind, value, weight, bias, relevance)
    return relevance.reshape(x.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_is_its_formula_batch_normalisation_folded(kind: str, tmp_path: Path) -> None:
    module, x = net(), torch.randn(3, 2, 6, 6, dtype=torch.float64)
    path = exported(module, x, tmp_path)
    assert sum(n.op_type == "BatchNormalization" for n in onnx.load(path).graph.node) == 2
    found = explain(path, x, first=kind, convolution=kind, dense=kind, low=-3, high=4)
    expected = [by_hand(module, row, target, [kind] * 4) for row, target in zip(x, TARGETS, strict=True)]
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * scale)


COMPOSITES = {
    "epsilon_plus_flat": ["flat", "z_plus", "epsilon", "epsilon"],
    "epsilon_plus": ["z_plus", "z_plus", "epsilon", "epsilon"],
    "epsilon_gamma_box": ["z_box", "gamma", "epsilon", "epsilon"],
    "epsilon_alpha2_beta1": ["alpha_beta", "alpha_beta", "epsilon", "epsilon"],
    "epsilon_alpha2_beta1_flat": ["flat", "alpha_beta", "epsilon", "epsilon"],
    "epsilon": ["epsilon"] * 4,
}


@pytest.mark.parametrize("composite", COMPOSITES)
def test_a_composite_gives_each_layer_its_rule(composite: str, tmp_path: Path) -> None:
    module, x = net(), torch.randn(3, 2, 6, 6, dtype=torch.float64)
    found = explain(exported(module, x, tmp_path), x, composite=composite, low=-3, high=4)
    kinds = COMPOSITES[composite]
    expected = [by_hand(module, row, target, kinds) for row, target in zip(x, TARGETS, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())


def test_without_biases_nothing_of_the_score_is_lost(tmp_path: Path) -> None:
    torch.manual_seed(4)
    plain = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1, bias=False))
    module = nn.Sequential(*plain, nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3, bias=False)).double()
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    path = exported(module, x, tmp_path)
    score = module(x)[torch.arange(3), TARGETS].detach().numpy()
    for composite in ("epsilon", "epsilon_plus_flat", "epsilon_gamma_box"):
        found = explain(path, x, composite=composite, epsilon=1e-12)
        np.testing.assert_allclose(found.sum((1, 2, 3)), score, rtol=1e-8)


@pytest.mark.parametrize("kind", ["epsilon", "gamma", "z_plus", "alpha_beta"])
def test_a_product_and_an_added_constant_are_one_sum(kind: str) -> None:
    rng = RNG(0)
    constants = {"w": rng.normal(size=(4, 6)), "b": rng.normal(size=6), "v": rng.normal(size=(6, 3))}
    ports = [("x", tiny.DOUBLE, ["N", 4])], [("y", tiny.DOUBLE, ["N", 3])], constants
    rest = [node("Relu", ["z"], ["a"]), node("MatMul", ["a", "v"], ["y"])]
    whole = tiny.model([node("Gemm", ["x", "w", "b"], ["z"]), *rest], *ports)
    apart = tiny.model([node("MatMul", ["x", "w"], ["m"]), node("Add", ["b", "m"], ["z"]), *rest], *ports)
    x = rng.normal(size=(3, 4))
    options = {"first": kind, "dense": kind}
    np.testing.assert_allclose(explain(apart, x, **options), explain(whole, x, **options), rtol=1e-9, atol=1e-12)


def test_a_score_of_many_numbers_sends_each_its_own(tmp_path: Path) -> None:
    module, x = net(), torch.randn(3, 2, 6, 6, dtype=torch.float64)
    path = exported(module, x, tmp_path)
    output = onnxsal.load(path).outputs[0].name
    each = sum(explain(path, x, target=t) for t in range(3))
    np.testing.assert_allclose(explain(path, x, target=f"{output}[0:3].sum()"), each, rtol=1e-9)


def test_the_z_boxes_bounds_are_the_inputs_own_where_none_are_given(tmp_path: Path) -> None:
    module, x = net(), torch.randn(1, 2, 6, 6, dtype=torch.float64)
    path = exported(module, x, tmp_path)
    bounds = {"low": float(x.min()), "high": float(x.max())}
    options = {"composite": "epsilon_gamma_box", "target": 1}
    np.testing.assert_allclose(explain(path, x, **options), explain(path, x, **options, **bounds), rtol=1e-12)


def test_numbers_that_make_no_rule_are_refused() -> None:
    for options in ({"alpha": 3.0}, {"epsilon": -1.0}, {"gamma": -0.1}):
        with pytest.raises(UsageError) as refusal:
            explain(tiny.linear(), np.ones((1, 3), np.float32), target=0, **options)
        assert refusal.value.hint


@pytest.mark.parametrize("method", ["lrp", "attn_lrp"])
def test_the_patent_is_mentioned_and_what_has_no_rule_is_told(method: str) -> None:
    assert "patented" in (registry().get("methods", method).explain.__doc__ or "")
    nodes = [node("ReduceProd", ["x"], ["p"], axes=[-1], name="odds"), node("MatMul", ["p", "w"], ["y"])]
    constants = {"w": np.ones((1, 2))}
    proto = tiny.model(nodes, [("x", tiny.DOUBLE, ["N", 3])], [("y", tiny.DOUBLE, ["N", 2])], constants)
    with pytest.raises(UsageError, match=f"{method}: no sound rule for 1 of 2 nodes: ReduceProd 'odds'"):
        explain(proto, np.ones((1, 3)), target=0, method=method)


# --- AttnLRP, by its paper --------------------------------------------------------------------------------------------


def attention_by_hand(module: Any, x: Tensor, target: int) -> Tensor:
    """Return AttnLRP's relevance of one example of the transformer in ``models``, proposition by proposition."""
    width, tokens = x.shape[1], x.shape[0]
    weight, bias = module.mix.weight, module.mix.bias
    q, k, v = module.mix(x).chunk(3, -1)
    z = q @ k.T / 2
    p = z.softmax(-1)
    mixed = p @ v
    h = x + mixed
    y = module.norm(h)
    mean = y.mean(0)
    score = module.head(mean)
    r = torch.zeros(3, dtype=torch.float64)
    r[target] = score[target]
    r = mean * (module.head.weight * (r / eps(score))[:, None]).sum(0)  # epsilon: the head
    r = y / tokens * (r / eps(mean))  # the mean over the tokens
    # the layer norm is the identity
    total = eps(h)
    at_x, at_mixed = x * r / total, mixed * r / total  # epsilon: the residual
    shares = at_mixed / eps(mixed) / 2  # the product of two values: half each
    at_p, at_v = p * (shares @ v.T), v * (p.T @ shares)
    at_z = z * (at_p - p * at_p.sum(-1, keepdim=True))  # softmax
    scores = at_z / eps(q @ k.T) / 2  # the identity of the factor 1/2, the product of two values
    at_q, at_k = q * (scores @ k), k * (scores.T @ q)
    sent = torch.cat([at_q, at_k, at_v], -1) / eps(x @ weight.T + bias)
    assert sent.shape == (tokens, 3 * width)
    return at_x + x * (sent @ weight)


def eps(value: Tensor) -> Tensor:
    return torch.where(value >= 0, value + 1e-6, value - 1e-6)


def test_attention_is_explained_by_the_papers_propositions() -> None:
    module, x = network_of("transformer"), inputs_of("transformer")["x"]
    with torch.no_grad():
        expected = [attention_by_hand(module, row, t).numpy() for row, t in zip(x, TARGETS, strict=True)]
    found = explain(model("transformer"), x, method="attn_lrp")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def gate(*nodes: onnx.NodeProto, opset: int = 20) -> onnx.ModelProto:
    constants = {"half": np.array(0.5), "one": np.array(1.0), "root": np.array(2**0.5), "e": np.array(1e-6)}
    constants |= {"w": RNG(0).normal(size=(4, 3)), "two": np.array(2.0)}
    end = [node("MatMul", ["y", "w"], ["score"])]
    ports = [("x", tiny.DOUBLE, ["N", 4])], [("score", tiny.DOUBLE, ["N", 3])]
    return tiny.model([*nodes, *end], *ports, constants, opset=opset)


ALIKE = {
    "GELU": (
        [node("Gelu", ["x"], ["y"])],
        [
            node("Div", ["x", "root"], ["d"]),
            node("Erf", ["d"], ["erf"]),
            node("Add", ["erf", "one"], ["g"]),
            node("Mul", ["x", "g"], ["m"]),
            node("Mul", ["m", "half"], ["y"]),
        ],
    ),
    "SiLU": (
        [node("Swish", ["x"], ["y"])],
        [node("Sigmoid", ["x"], ["g"]), node("Mul", ["x", "g"], ["y"])],
    ),
    "RMSNorm": (
        [node("RMSNormalization", ["x", "ones"], ["y"], epsilon=1e-6)],
        [
            node("Pow", ["x", "two"], ["q"]),
            node("ReduceMean", ["q", "last"], ["m"]),
            node("Add", ["m", "e"], ["s"]),
            node("Sqrt", ["s"], ["r"]),
            node("Reciprocal", ["r"], ["i"]),
            node("Mul", ["x", "i"], ["y"]),
        ],
    ),
    "LayerNorm": (
        [node("LayerNormalization", ["x", "ones"], ["y"], epsilon=1e-6)],
        [
            node("ReduceMean", ["x", "last"], ["mean"]),
            node("Sub", ["x", "mean"], ["c"]),
            node("Mul", ["c", "c"], ["q"]),
            node("ReduceMean", ["q", "last"], ["v"]),
            node("Add", ["v", "e"], ["s"]),
            node("Sqrt", ["s"], ["r"]),
            node("Div", ["c", "r"], ["y"]),
        ],
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_a_function_taken_apart_is_explained_like_the_function(name: str) -> None:
    x = RNG(1).normal(size=(3, 4))
    found = []
    for nodes in ALIKE[name]:
        proto = gate(*nodes, opset=24)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(4), "ones"))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "last"))
        found.append(explain(proto, x, method="attn_lrp"))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9, atol=1e-12)


def test_relevance_that_explodes_is_noted() -> None:
    """Two summands that cancel: 1000 - 999.999 hands a million times the score to each."""
    nodes = [node("MatMul", ["x", "w"], ["z"]), node("MatMul", ["z", "v"], ["y"])]
    constants = {"w": np.array([[1.0], [-1.0]]), "v": np.array([[1.0]])}
    proto = tiny.model(nodes, [("x", tiny.DOUBLE, ["N", 2])], [("y", tiny.DOUBLE, ["N", 1])], constants)
    notes = {}
    for other in (999.999, 500.0):
        x = {"x": np.array([[1000.0, other]])}
        notes[other] = " ".join(onnxsal.explain(proto, x, method="attn_lrp", target=0).provenance.notes)
    assert "e+06 times the score" in notes[999.999]
    assert "times the score" not in notes[500.0]


def test_gamma_is_taken_where_a_convolution_makes_the_tokens(tmp_path: Path) -> None:
    module, x = net(), torch.randn(3, 2, 6, 6, dtype=torch.float64)
    path = exported(module, x, tmp_path)
    plain = onnxsal.explain(path, {"x": x}, method="attn_lrp", target=TARGETS, verify=False, device="cpu")
    assert "attn_lrp takes gamma=0.25, for the inputs first meet a convolution" in " ".join(plain.provenance.notes)
    np.testing.assert_array_equal(plain.values["x"], explain(path, x, method="attn_lrp", gamma=0.25))
    assert np.abs(plain.values["x"] - explain(path, x, method="attn_lrp", gamma=0.0)).max() > 1e-3
    words = onnxsal.explain(model("transformer"), inputs_of("transformer"), method="attn_lrp", target=0, verify=False)
    assert "gamma" not in " ".join(words.provenance.notes)
