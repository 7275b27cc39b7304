"""Explanations of ids and of layers: a token with its embedding is one unit, and marked as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

import onnxsal
from onnxsal.errors import InputError
from onnxsal.metrics._units import by_unit
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of, model
from tests.metrics.support import TARGETS, examined, measured

RANDOM = np.random.default_rng(3)
TABLE = RANDOM.normal(size=(7, 5)).astype(np.float32)
WEIGHT = RANDOM.normal(size=(5, 2)).astype(np.float32)
IDS = np.array([[3, 1, 6], [2, 2, 5]])
WORTH = (TABLE @ WEIGHT)[:, 1]
"""What each token adds to the score."""


def of_tokens(ids: np.ndarray = IDS, method: str = "input_x_gradient", **options: Any) -> Any:
    """Return an explanation of a score that is the sum over the tokens of what each is worth."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("MatMul", ["e", "weight"], ["scores"]),
        helper.make_node("ReduceSum", ["scores", "places"], ["y"], keepdims=0),
    ]
    ports = [("ids", tiny.INT64, ["N", "T"])], [("y", tiny.FLOAT, ["N", 2])]
    proto = tiny.model(nodes, *ports, {"table": TABLE, "weight": WEIGHT, "places": np.array([1])})
    return examined(proto, {"ids": ids}, method=method, target=1, **options)


def test_deletion_takes_whole_tokens_the_one_that_is_worth_most_first() -> None:
    for ids, area in zip(IDS, measured(of_tokens(), "deletion"), strict=True):
        shares = sorted(WORTH[ids], reverse=True)
        heights = sum(shares) - np.concatenate([[0], np.cumsum(shares)])
        assert area == pytest.approx((heights[:-1] + heights[1:]).sum() / 6, rel=1e-5)


def test_a_token_may_take_the_place_of_others() -> None:
    found = measured(of_tokens(), "deletion", baseline="token:4", steps=1)
    np.testing.assert_allclose(found, (WORTH[IDS].sum(1) + 3 * WORTH[4]) / 2, rtol=1e-5)


def test_completeness_and_effects_are_those_of_tokens() -> None:
    np.testing.assert_allclose(measured(of_tokens(), "completeness"), 0, atol=1e-5)
    np.testing.assert_allclose(measured(of_tokens(np.array([[3, 1, 6, 5]])), "effect_correlation"), 1)
    np.testing.assert_allclose(measured(of_tokens(), "infidelity", rescale=False), 0, atol=1e-9)


def test_a_marked_token_is_marked_with_its_embedding() -> None:
    best = WORTH[IDS].argmax(1)
    for place, hit in ((best, 1), ((best + 1) % 3, 0)):
        region = np.eye(3)[place]
        assert (measured(of_tokens(region={"ids": region}), "pointing_game") == hit).all()


@pytest.mark.parametrize("length", [1, 9])
def test_tokens_are_units_however_many_there_are(length: int) -> None:
    explanation = of_tokens(np.arange(length)[None] % 7)
    assert by_unit(explanation, explanation.values).shape == (1, length)
    assert np.isfinite(measured(explanation, "complexity"))


def test_tokens_are_explained_again() -> None:
    assert (measured(of_tokens(), "max_sensitivity") > 0).all()
    assert np.isfinite(measured(of_tokens(), "random_logit")).all()
    assert np.isfinite(measured(of_tokens(), "weight_randomisation")).all()


def test_a_layer_is_measured_like_an_input() -> None:
    network = model("cnn")
    layer = next(node.outputs[0] for node in network.graph.nodes if node.op_type == "Relu")
    found = onnxsal.evaluate(
        network,
        inputs_of("cnn"),
        method="integrated_gradients",
        layer=[layer],
        target=TARGETS,
        verify=False,
        baseline="zero",
    )
    assert found.measurements["completeness"].mean < 1e-3
    assert set(found.skipped) <= {"road"}
    for measurement in found.measurements.values():
        assert np.isfinite(measurement.values).all()


def test_a_region_of_what_is_not_explained_is_refused() -> None:
    network = model("cnn")
    layer = next(node.outputs[0] for node in network.graph.nodes if node.op_type == "Relu")
    with pytest.raises(InputError, match="'x' is marked, but not explained"):
        examined(network, inputs_of("cnn"), region={"x": np.ones((8, 8))}, layer=[layer])
    with pytest.raises(InputError, match="'y' is marked, but not explained"):
        examined(model("two_inputs"), inputs_of("two_inputs"), region={"y": [1, 1]}, inputs=["x"])
