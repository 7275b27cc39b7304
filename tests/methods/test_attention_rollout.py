"""Attention rollout against the paper's product written out, and what it cannot see."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import onnxsal
from onnxsal.errors import UsageError
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of, model, network

KIND = "transformer"


@pytest.mark.parametrize("residual", [0.5, 0.2])
def test_tokens_get_what_attention_brought_on_the_average(residual: float) -> None:
    inputs = inputs_of(KIND)
    a = onnxsal.explain(model(KIND), inputs, method="attention_rollout", target=0, verify=False, residual=residual)
    query, key, _ = network(KIND).mix(inputs["x"]).chunk(3, -1)
    attention = (query @ key.transpose(1, 2) / 2).softmax(-1).detach().numpy()
    expected = ((1 - residual) * attention + residual * np.eye(5)).mean(1)
    np.testing.assert_allclose(a.values["x"].sum(2), expected, rtol=1e-6)
    np.testing.assert_allclose(a.values["x"].sum((1, 2)), 1, rtol=1e-6)


def attending(layers: int) -> onnxsal.Model:
    """Return ``layers`` of attention without weights, each token with each."""
    nodes, held = [], "x"
    for i in range(layers):
        nodes += [
            helper.make_node("Transpose", [held], [f"t{i}"], perm=[0, 2, 1]),
            helper.make_node("MatMul", [held, f"t{i}"], [f"s{i}"]),
            helper.make_node("Softmax", [f"s{i}"], [f"p{i}"], axis=-1),
            helper.make_node("Identity", [f"p{i}"], [f"q{i}"]),
            helper.make_node("MatMul", [f"q{i}", held], [f"h{i}"]),
        ]
        held = f"h{i}"
    nodes.append(helper.make_node("ReduceSum", [held, "axes"], ["y"], keepdims=0))
    ports = [("x", tiny.FLOAT, ["N", 4, 3])], [("y", tiny.FLOAT, ["N"])]
    return onnxsal.load(tiny.model(nodes, *ports, {"axes": np.array([1, 2])}))


def test_layers_are_rolled_into_one_another() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    a = onnxsal.explain(attending(2), {"x": x}, method="attention_rollout")
    expected = []
    for tokens in x.astype(np.float64):
        flow, held = np.eye(4), tokens
        for _ in range(2):
            scores = np.exp(held @ held.T)
            attention = scores / scores.sum(1, keepdims=True)
            flow, held = (0.5 * attention + 0.5 * np.eye(4)) @ flow, attention @ held
        expected.append(flow.mean(0))
    np.testing.assert_allclose(a.values["x"].sum(2), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_without_attention_there_is_nothing_to_roll(kind: str) -> None:
    with pytest.raises(UsageError, match="no attention lies between"):
        onnxsal.explain(model(kind), inputs_of(kind), method="attention_rollout", target=0, verify=False)


def test_fused_attention_is_named() -> None:
    fused = helper.make_node("MultiHeadAttention", ["x", "x", "x"], ["a"], "seen", domain="com.microsoft", num_heads=1)
    nodes = [fused, helper.make_node("ReduceSum", ["a", "axes"], ["y"], keepdims=0)]
    ports = [("x", tiny.FLOAT, ["N", 4, 3])], [("y", tiny.FLOAT, ["N"])]
    proto = tiny.model(nodes, *ports, {"axes": np.array([1, 2])})
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(UsageError, match=r"node 'seen' is fused \(MultiHeadAttention\)"):
        onnxsal.explain(proto, {"x": np.ones((1, 4, 3), np.float32)}, method="attention_rollout", verify=False)
