"""Attributions that do not sum to what they explain are refused, small misses are noted, rounding is forgiven."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import onnxsal
from onnxsal.completeness import Completeness
from onnxsal.errors import CompletenessError
from tests import models_for_tests as tiny


def judged(total: float, score: float, reference: float, tolerance: float = 0.1, dtype: torch.dtype = torch.float64):
    return Completeness(*(torch.tensor([v], dtype=dtype) for v in (total, score, reference)), tolerance)


@pytest.mark.parametrize("total", [0.94, 1.06])
def test_a_miss_within_the_tolerance_is_noted(total: float) -> None:
    found = judged(total, 3, 2)
    found.require("method")
    assert found.remark == "the attributions miss the score's difference of 1 by 0.06"
    torch.testing.assert_close(found.missed, torch.tensor([total - 1], dtype=torch.float64))


@pytest.mark.parametrize("total", [0.88, 1.12, -1])
def test_a_miss_beyond_it_is_refused_with_what_to_do(total: float) -> None:
    with pytest.raises(CompletenessError, match=r"difference of 1 by .*; 0.1 of it is accepted") as refusal:
        judged(total, 3, 2).require("method")
    assert refusal.value.exit_code == 6
    assert "--completeness-tolerance" in str(refusal.value.hint)


def test_a_small_miss_is_nothing() -> None:
    assert judged(1.009, 3, 2).remark == ""


def test_rounding_of_the_scores_is_forgiven_by_their_type() -> None:
    """Two scores of a thousand that are alike leave no difference to measure a miss by."""
    judged(0.01, 1000, 1000, dtype=torch.float32).require("method")
    with pytest.raises(CompletenessError):
        judged(0.01, 1000, 1000).require("method")


def test_the_worst_example_is_named() -> None:
    total, score = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 3.3])
    with pytest.raises(CompletenessError, match="of example 1 miss the score's difference of 3 by 1;"):
        Completeness(total, score, torch.zeros(3), 0.1).require("method")


def test_attributions_that_are_not_finite_are_told_elsewhere() -> None:
    judged(float("nan"), 1, 0).require("method")


def test_a_baseline_without_a_score_is_refused() -> None:
    with pytest.raises(CompletenessError, match="score of the baseline is nan") as refusal:
        judged(float("nan"), 1, float("nan")).require("method")
    assert "baseline" in str(refusal.value.hint)


def steep() -> onnx.ModelProto:
    """Return ``y = sigmoid(50 (x - 0.5))``: one gradient in the middle says it is 12.5, and it is 1."""
    nodes = [
        helper.make_node("Sub", ["x", "half"], ["c"]),
        helper.make_node("Mul", ["c", "fifty"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["s"]),
        helper.make_node("ReduceSum", ["s"], ["y"], keepdims=0),
    ]
    constants = {"half": np.array([0.5]), "fifty": np.array([50.0])}
    return tiny.model(nodes, [("x", tiny.DOUBLE, [1, 1])], [("y", tiny.DOUBLE, [])], constants)


ONE = {"x": np.ones((1, 1))}


def test_an_explanation_that_misses_is_refused_and_more_steps_mend_it() -> None:
    with pytest.raises(CompletenessError, match="miss the score's difference of 1 by 12"):
        onnxsal.explain(steep(), ONE, method="integrated_gradients", steps=1)
    result = onnxsal.explain(steep(), ONE, method="integrated_gradients", steps=100)
    np.testing.assert_allclose(result.values["x"], 1, rtol=1e-3)
    assert not any("miss" in note for note in result.provenance.notes)


def test_a_miss_that_is_accepted_is_noted() -> None:
    result = onnxsal.explain(steep(), ONE, method="integrated_gradients", steps=1, completeness_tolerance=float("inf"))
    np.testing.assert_allclose(result.completeness, 11.5, rtol=1e-6)
    result = onnxsal.explain(steep(), ONE, method="integrated_gradients", steps=16)
    assert any("miss the score's difference of 1 by" in note for note in result.provenance.notes)


def test_the_tolerance_can_be_as_strict_as_wanted() -> None:
    with pytest.raises(CompletenessError):
        onnxsal.explain(steep(), ONE, method="integrated_gradients", steps=20, completeness_tolerance=1e-6)
    onnxsal.explain(steep(), ONE, method="deep_lift", completeness_tolerance=1e-12)


@pytest.mark.parametrize("shape", [["N"], []])
def test_inputs_of_one_number_are_summed_too(shape: list[str]) -> None:
    proto = tiny.model(
        [helper.make_node("Mul", ["x", "x"], ["y"])], [("x", tiny.DOUBLE, shape)], [("y", tiny.DOUBLE, shape)]
    )
    x = np.array([3.0, 2.0]) if shape else np.array(3.0)
    result = onnxsal.explain(proto, {"x": x}, method="deep_lift")
    np.testing.assert_allclose(result.values["x"], x**2)
    np.testing.assert_allclose(result.completeness, 0, atol=1e-12)


def test_a_zero_input_is_not_said_to_be_cut_off() -> None:
    zero = {"x": np.zeros((1, 3), np.float32)}
    for method, cut_off in (("deep_lift", False), ("saliency", True)):
        notes = " ".join(onnxsal.explain(tiny.square(), zero, method=method).provenance.notes)
        assert ("no differentiable way" in notes) is cut_off
