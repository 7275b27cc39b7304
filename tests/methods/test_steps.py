"""Operators of several steps under rules: recurrent layers by their papers, fused attention like its steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor

import onnxsal
from onnxsal.importer.ops import recurrent
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of, model, network

node = helper.make_node
RNG = np.random.default_rng
MICROSOFT = "com.microsoft"
TARGETS = [2, 0, 1]
EPSILON = 1e-10


def explained(source: Any, x: Any, method: str, target: Any = 0, **options: Any) -> onnxsal.Attribution:
    return onnxsal.explain(source, {"x": x}, method=method, target=target, verify=False, device="cpu", **options)


# --- LRP through an LSTM, by Arras et al. 2017, number by number ------------------------------------------------------


def kept(value: Tensor) -> Tensor:
    return torch.where(value >= 0, value + EPSILON, value - EPSILON)


def lstm_by_hand(module: Any, x: Tensor, target: int) -> np.ndarray:
    """Return the relevance of one example: gates get none, sums share by their summands, activations pass it on."""
    w, r = module.lstm.weight_ih_l0, module.lstm.weight_hh_l0
    b, size = module.lstm.bias_ih_l0 + module.lstm.bias_hh_l0, r.shape[1]
    h, c, steps = torch.zeros(size, dtype=x.dtype), torch.zeros(size, dtype=x.dtype), []
    for row in x:
        i, f, g, o = (w @ row + r @ h + b).chunk(4)
        new = f.sigmoid() * c + i.sigmoid() * g.tanh()
        steps.append((row, h, f.sigmoid() * c, i.sigmoid() * g.tanh(), g))
        h, c = o.sigmoid() * new.tanh(), new
    score = module.head(h)[target]
    of_h = h * module.head.weight[target] * score / kept(score)
    of_c, found = torch.zeros_like(of_h), []
    of_inputs, of_states = w[2 * size : 3 * size], r[2 * size : 3 * size]
    for row, before, remembered, written, g in reversed(steps):
        of_c = of_c + of_h
        shares = of_c / kept(remembered + written)
        of_g, of_c = written * shares, remembered * shares
        found.append((row[None] * of_inputs * (of_g / kept(g))[:, None]).sum(0))
        of_h = (before[None] * of_states * (of_g / kept(g))[:, None]).sum(0)
    return torch.stack(found[::-1]).detach().numpy()


def test_lrp_through_an_lstm_is_the_papers() -> None:
    module, x = network("lstm"), inputs_of("lstm")["x"]
    expected = [lstm_by_hand(module, row, t) for row, t in zip(x, TARGETS, strict=True)]
    found = explained(model("lstm"), x, "attn_lrp", TARGETS, epsilon=EPSILON).values["x"]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


KINDS = {"LSTM": 4, "GRU": 3, "RNN": 1}
LAYERS = [
    ("LSTM", {}, "forward"), ("LSTM", {"input_forget": 1, "clip": 1.5}, "reverse"),
    ("LSTM", {"peepholes": True}, "bidirectional"), ("GRU", {"linear_before_reset": 1}, "bidirectional"),
    ("GRU", {}, "forward"), ("RNN", {}, "reverse"), ("RNN", {"activations": ["Relu"]}, "forward"),
]  # fmt: skip


def layer(operator: str, attributes: dict[str, Any], direction: str, bias: float = 1) -> onnx.ModelProto:
    """Return a recurrent layer over five steps of three numbers, whose outputs are all weighed."""
    ways, hidden, gates = 2 if direction == "bidirectional" else 1, 4, KINDS[operator]
    random, attributes = RNG(3), dict(attributes)
    constants = {
        "w": random.normal(size=(ways, gates * hidden, 3)), "r": random.normal(size=(ways, gates * hidden, hidden)) / 2,
        "b": bias * random.normal(size=(ways, 2 * gates * hidden)), "v": random.normal(size=(5 * ways * hidden, 1)),
        "rows": np.array([0, -1]),
    }  # fmt: skip
    inputs = ["t", "w", "r", "b"]
    if attributes.pop("peepholes", False):
        inputs += ["", "", "", "p"]
        constants["p"] = random.normal(size=(ways, 3 * hidden))
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node(operator, inputs, ["h"], hidden_size=hidden, direction=direction, name="layer", **attributes),
        node("Transpose", ["h"], ["first"], perm=[2, 0, 1, 3]),
        node("Reshape", ["first", "rows"], ["flat"]),
        node("MatMul", ["flat", "v"], ["y"]),
    ]
    return tiny.model(nodes, [("x", tiny.DOUBLE, ["N", 5, 3])], [("y", tiny.DOUBLE, ["N", 1])], constants)


@pytest.mark.parametrize(("operator", "attributes", "direction"), LAYERS)
def test_deep_lift_through_a_recurrent_layer_is_complete_however_far_its_inputs_move(
    operator: str, attributes: dict[str, Any], direction: str
) -> None:
    proto = layer(operator, attributes, direction)
    x = 40 * RNG(1).normal(size=(3, 5, 3))
    result = explained(proto, x, "deep_lift", baseline={"x": RNG(2).normal(size=(3, 5, 3))})
    sizes = np.abs(result.values["x"]).sum((1, 2))
    assert (np.abs(result.completeness) / sizes).max() < 1e-12


@pytest.mark.parametrize(("operator", "attributes", "direction"), LAYERS)
def test_lrp_through_a_recurrent_layer_without_biases_keeps_the_score(
    operator: str, attributes: dict[str, Any], direction: str
) -> None:
    x = RNG(1).normal(size=(3, 5, 3))
    result = explained(layer(operator, attributes, direction, bias=0), x, "attn_lrp", epsilon=1e-12)
    np.testing.assert_allclose(result.values["x"].sum((1, 2)), result.score, rtol=1e-6)


def test_a_batch_is_explained_row_by_row() -> None:
    proto, x = layer("LSTM", {}, "bidirectional"), RNG(1).normal(size=(3, 5, 3))
    for method in ("deep_lift", "lrp"):
        whole = explained(proto, x, method).values["x"]
        alone = np.concatenate([explained(proto, row[None], method).values["x"] for row in x])
        np.testing.assert_allclose(whole, alone, rtol=1e-9)


# --- fused attention like the steps it stands for ---------------------------------------------------------------------

HEADS, SIZE, WIDTH = 2, 3, 6


def attention_in_steps() -> list[onnx.NodeProto]:
    """Return scaled dot products over two heads from ``q``, ``k`` and ``v`` of shape [N, 4, 6]."""
    nodes = [node("Reshape", [name, "split"], [f"{name}s"]) for name in "qkv"]
    nodes += [node("Transpose", [f"{name}s"], [f"{name}h"], perm=[0, 2, 1, 3]) for name in "qv"]
    nodes += [node("Transpose", ["ks"], ["kh"], perm=[0, 2, 3, 1])]
    nodes += [
        node("MatMul", ["qh", "kh"], ["products"]),
        node("Div", ["products", "root"], ["scores"]),
        node("Add", ["scores", "mask"], ["masked"]),
        node("Softmax", ["masked"], ["chances"], axis=-1),
        node("MatMul", ["chances", "vh"], ["mixed"]),
        node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
        node("Reshape", ["back", "join"], ["a"]),
    ]
    return nodes


def projected() -> list[onnx.NodeProto]:
    return [
        node("MatMul", ["x", "w"], ["m"]), node("Add", ["m", "b"], ["z"]),
        node("Split", ["z"], ["q", "k", "v"], axis=2, num_outputs=3),
    ]  # fmt: skip


def normalised_in_steps() -> list[onnx.NodeProto]:
    return [node("Add", ["a", "x"], ["s"]), node("LayerNormalization", ["s", "gamma", "beta"], ["n"], epsilon=1e-12)]


def normalised_at_once() -> list[onnx.NodeProto]:
    return [node("SkipLayerNormalization", ["a", "x", "gamma", "beta"], ["n"], domain=MICROSOFT)]


def network_of(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    random = RNG(7)
    mask = np.triu(np.full((4, 4), -1e4), 1)
    constants = {
        "w": random.normal(size=(WIDTH, 3 * WIDTH)), "b": random.normal(size=3 * WIDTH), "mask": mask,
        "wide": np.broadcast_to(mask, (1, HEADS, 4, 4)).copy(), "split": np.array([0, 4, HEADS, SIZE]),
        "join": np.array([0, 4, WIDTH]), "root": np.array(SIZE**0.5), "gamma": random.normal(size=WIDTH),
        "beta": random.normal(size=WIDTH), "v_out": random.normal(size=(4 * WIDTH, 1)), "rows": np.array([0, -1]),
    }  # fmt: skip
    read = {name for n in nodes for name in n.input} | {"v_out", "rows"}
    end = [node("Reshape", ["n", "rows"], ["flat"]), node("MatMul", ["flat", "v_out"], ["y"])]
    proto = tiny.model(
        [*nodes, *end], [("x", tiny.DOUBLE, ["N", 4, WIDTH])], [("y", tiny.DOUBLE, ["N", 1])],
        {name: value for name, value in constants.items() if name in read}, opset=23,
    )  # fmt: skip
    proto.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return proto


STEPS = [*projected(), *attention_in_steps(), *normalised_in_steps()]
FUSED = {
    "Attention": [
        *projected(), node("Attention", ["q", "k", "v", "mask"], ["a"], q_num_heads=HEADS, kv_num_heads=HEADS),
        *normalised_in_steps(),
    ],
    "com.microsoft.MultiHeadAttention": [
        *projected(),
        node("MultiHeadAttention", ["q", "k", "v", "", "", "wide"], ["a"], num_heads=HEADS, domain=MICROSOFT),
        *normalised_at_once(),
    ],
    "com.microsoft.Attention": [
        node("Attention", ["x", "w", "b", "", "", "wide"], ["a"], num_heads=HEADS, domain=MICROSOFT),
        *normalised_at_once(),
    ],
}  # fmt: skip


@pytest.mark.parametrize("method", ["attn_lrp", "deep_lift"])
@pytest.mark.parametrize("fused", FUSED)
def test_what_is_fused_is_explained_like_its_steps(fused: str, method: str) -> None:
    x = RNG(1).normal(size=(3, 4, WIDTH))
    options = {"baseline": {"x": RNG(2).normal(size=x.shape)}} if method == "deep_lift" else {"epsilon": EPSILON}
    expected = explained(network_of(STEPS), x, method, **options).values["x"]
    found = explained(network_of(FUSED[fused]), x, method, **options).values["x"]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("fused", FUSED)
def test_deep_lift_through_fused_attention_is_complete_from_nothing(fused: str) -> None:
    result = explained(network_of(FUSED[fused]), 20 * RNG(1).normal(size=(3, 4, WIDTH)), "deep_lift", baseline=0)
    sizes = np.abs(result.values["x"]).sum((1, 2))
    assert (np.abs(result.completeness) / sizes).max() < 1e-9


def test_a_rule_for_rectifiers_leaves_torchs_kernels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are run one by one for those who have rules for them only."""
    stepped = []
    cell = recurrent.lstm_cell
    monkeypatch.setattr(recurrent, "lstm_cell", lambda *about: stepped.append(1) or cell(*about))
    proto = layer("LSTM", {}, "forward")
    proto.graph.node.insert(0, node("Relu", ["x"], ["positive"]))
    proto.graph.node[1].input[0] = "positive"
    x = RNG(1).normal(size=(2, 5, 3))
    explained(proto, x, "guided_backprop")
    assert not stepped
    explained(proto, x, "deep_lift")
    assert stepped
