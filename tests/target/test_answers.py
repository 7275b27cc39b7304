"""Targets that speak of more than the outputs, explained for real: before a softmax, and before a suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.plugins import registry
from tests import models_for_tests as tiny

RANDOM = np.random.default_rng(5)
WEIGHT = RANDOM.normal(size=(4, 3))
X = RANDOM.normal(size=(2, 4))


def classifier(ends: tuple[str, ...]) -> onnx.ModelProto:
    """Return logits behind which the operators follow one another to the output."""
    names = ["logits", *(f"after_{i}" for i in range(len(ends) - 1)), "probabilities"]
    tail = [
        helper.make_node(op, [a], [b], **({"to": tiny.DOUBLE} if op == "Cast" else {}))
        for op, a, b in zip(ends, names[:-1], names[1:], strict=True)
    ]
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["logits"]), *tail]
    ports = [("x", tiny.DOUBLE, ["N", 4])], [("probabilities", tiny.DOUBLE, ["N", 3])]
    return tiny.model(nodes, *ports, {"weight": WEIGHT})


@pytest.mark.parametrize("ends", [("Softmax",), ("LogSoftmax", "Identity"), ("Sigmoid", "Cast")])
@pytest.mark.parametrize("target", ["argmax", "probabilities[argmax]", None])
def test_before_the_softmax_the_logit_is_explained(ends: tuple[str, ...], target: Any) -> None:
    a = onnxsal.explain(classifier(ends), {"x": X}, target=target, pre_softmax=True, abs=False)
    best = (X @ WEIGHT).argmax(1)
    assert [str(t) for t in a.target] == [f"logits[{k}]" for k in best]
    np.testing.assert_allclose(a.values["x"], WEIGHT.T[best], rtol=1e-9)
    np.testing.assert_allclose(a.score, (X @ WEIGHT).max(1), rtol=1e-9)


def test_the_original_file_shows_its_logits_too() -> None:
    engine = registry().get("engines", "onnxruntime").open(onnxsal.load(classifier(("Softmax",))), "cpu")
    found = engine.run({"x": torch.from_numpy(X)}, ["logits", "probabilities"])
    np.testing.assert_allclose(found["logits"], X @ WEIGHT, rtol=1e-9)
    np.testing.assert_allclose(found["probabilities"].sum(1), 1)


def test_without_a_softmax_there_is_nothing_before_it() -> None:
    with pytest.raises(UsageError, match="ends in Relu, not in a softmax") as fault:
        onnxsal.explain(classifier(("Relu",)), {"x": X}, pre_softmax=True)
    assert fault.value.hint


BOXES = np.array([[[0, 0, 10, 10], [0, 0, 10, 9.5], [20, 20, 40, 40]]], np.float32)


def detector() -> onnx.ModelProto:
    """Return scores of three fixed boxes that are suppressed to pairs of class and box: no gradient leads through."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["scores"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "limit", "overlap"], ["selected"]),
    ]
    constants = {
        "weight": np.eye(6, dtype=np.float32),
        "shape": np.array([1, 2, 3]),
        "boxes": BOXES,
        "limit": np.array(3),
        "overlap": np.array(0.5, np.float32),
    }
    return tiny.model(nodes, [("x", tiny.FLOAT, [1, 6])], [("selected", tiny.INT64, [None, 3])], constants)


@pytest.mark.parametrize(
    ("target", "place", "text"),
    [
        ("box:0,0,10,10", 0, "scores[0,0]"),
        ("box:0,0,10,10@1", 4, "scores[1,1]"),
        ("box:20,20,41,40", 5, "scores[1,2]"),
    ],
)
def test_a_box_is_explained_by_its_score_before_suppression(target: str, place: int, text: str) -> None:
    x = np.array([[0.9, 0.8, 0.1, 0.2, 0.6, 0.7]], np.float32)
    a = onnxsal.explain(detector(), {"x": x}, target=target, abs=False)
    assert [str(t) for t in a.target] == [text]
    np.testing.assert_array_equal(a.values["x"], np.eye(6, dtype=np.float32)[[place]])
    assert a.score.tolist() == [x[0, place]]
