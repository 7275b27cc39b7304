"""One method measured, and several ranked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

import onnxsal
from onnxsal.entries import Metric
from onnxsal.errors import CompletenessError, InputError, PluginError, UsageError
from onnxsal.plugins import Provider, registry
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of, model

X = np.float32([[1, 2, 4], [-1, 0.5, 2]])
LINEAR: dict[str, Any] = {"model": tiny.linear(), "feeds": {"x": X}, "target": 0}


@pytest.fixture
def plugin() -> Iterator[Any]:
    """Return a way to add metrics that go again after the test."""

    def add(name: str, measure: Any, higher_is_better: bool = True) -> None:
        entry = Metric(name, measure, higher_is_better)
        registry().add("metrics", entry, Provider("acme", "1", "acme"))

    yield add
    registry.cache_clear()


def test_what_nobody_names_is_all_that_can_be_measured() -> None:
    found = onnxsal.evaluate(**LINEAR, method="input_x_gradient")
    everything = {entry.name for entry, _ in registry().items("metrics") if not entry.needs_region}
    assert set(found.measurements) | set(found.skipped) == everything
    assert set(found.skipped) == {"road"}
    assert "no picture" in found.skipped["road"]
    marked = onnxsal.evaluate(**LINEAR, method="input_x_gradient", region={"x": [1, 0, 1]})
    assert set(marked.measurements) - set(found.measurements) == {"pointing_game", "relevance_mass", "relevance_rank"}


def test_the_explanation_comes_with_its_figures() -> None:
    found = onnxsal.evaluate(
        **LINEAR, method="integrated_gradients", steps=5, metrics=["completeness", "deletion:steps=2"]
    )
    plain = onnxsal.explain(tiny.linear(), {"x": X}, target=0, method="integrated_gradients", steps=5)
    np.testing.assert_array_equal(found.attribution.values["x"], plain.values["x"])
    assert found.attribution.options["steps"] == 5
    assert list(found.measurements) == ["completeness", "deletion"]
    assert found.measurements["deletion"].options["steps"] == 2
    assert found.meta["metrics"]["completeness"]["higher_is_better"] is False
    assert found.meta["method"] == "integrated_gradients"


def test_a_metric_may_be_a_pair() -> None:
    text, pair = (
        onnxsal.evaluate(**LINEAR, metrics=[said]).measurements["deletion"]
        for said in ("deletion:steps=2,baseline=1", ("deletion", {"steps": 2, "baseline": 1}))
    )
    np.testing.assert_array_equal(text.values, pair.values)


def test_a_metric_of_a_plugin_is_measured(plugin: Any) -> None:
    plugin("size", lambda explanation: explanation.values["x"].abs().sum(1))
    found = onnxsal.evaluate(**LINEAR, metrics=["size"])
    np.testing.assert_allclose(found.measurements["size"].values, abs(tiny.WEIGHT[:, 0]).sum())


@pytest.mark.parametrize(
    ("measure", "told"),
    [
        (lambda explanation: explanation.values["x"], r"returned \[2, 3\]"),
        (lambda _: 3.0, "returned float"),
        (lambda _: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_a_broken_metric_is_named(plugin: Any, measure: Any, told: str) -> None:
    plugin("broken", measure)
    with pytest.raises(PluginError, match=f"metric 'broken' of acme 1 {told}"):
        onnxsal.evaluate(**LINEAR, metrics=["broken"])


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        (["deletoin"], "did you mean 'deletion'"),
        (["deletion:stpes=3"], "did you mean 'steps'"),
        (["deletion:steps=many"], "not a value of type int"),
        (["deletion:baseline=zreo"], "did you mean 'zero'"),
        (["pointing_game"], "needs a region"),
        (["deletion", "deletion:steps=3"], "is given twice"),
        (["road"], "no picture"),
        ([3], "int is no metric"),
        ([], "no metrics to measure"),
    ],
)
def test_a_metric_that_cannot_be_measured_is_refused_with_a_way_out(metrics: Any, told: str) -> None:
    with pytest.raises(UsageError) as refusal:
        onnxsal.evaluate(**LINEAR, metrics=metrics)
    assert told in str(refusal.value)
    assert refusal.value.hint


def test_a_region_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit"):
        onnxsal.evaluate(**LINEAR, region={"x": [1, 0, 1, 1]})


@pytest.mark.parametrize(("region", "bad"), [([[1, 0, 1], [0, 0, 0]], 1), ([[0, 0, 0], [1, 0, 1]], 0)])
def test_every_example_is_marked_somewhere(region: Any, bad: int) -> None:
    with pytest.raises(InputError, match=f"nothing of example {bad} is marked"):
        onnxsal.evaluate(**LINEAR, region={"x": region})


def test_an_example_may_be_marked_in_any_of_its_inputs() -> None:
    region = {"x": [[1, 0, 0], [0, 0, 0]], "y": [[0, 0], [0, 1]]}
    inputs = {name: value[:2] for name, value in inputs_of("two_inputs").items()}
    found = onnxsal.evaluate(
        model("two_inputs"), inputs, target=0, verify=False, metrics=["relevance_mass"], region=region
    )
    assert np.isfinite(found.measurements["relevance_mass"].values).all()


def test_a_call_without_a_batch_axis_is_one_example() -> None:
    weight = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", ["x", "row"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
        helper.make_node("Reshape", ["scores", "line"], ["y"]),
    ]
    constants = {"row": np.array([1, 20]), "line": np.array([3]), "weight": weight}
    proto = tiny.model(nodes, [("x", tiny.FLOAT, [4, 5])], [("y", tiny.FLOAT, [3])], constants)
    x = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    found = onnxsal.evaluate(proto, {"x": x}, method="input_x_gradient", target=1, region={"x": [0, 0, 1, 1, 0]})
    assert set(found.skipped) == {"road"}
    for measurement in found.measurements.values():
        assert measurement.values.shape == (1,)
    moments = (x * weight[:, 1].reshape(4, 5)).sum(0).clip(0)
    mass = found.measurements["relevance_mass"].values[0]
    assert mass == pytest.approx(moments[2:4].sum() / moments.sum(), rel=1e-5)


def test_one_target_at_a_time() -> None:
    with pytest.raises(UsageError, match="2 targets to explain"):
        onnxsal.evaluate(tiny.linear(), {"x": X}, target="top2")


def test_the_engine_without_gradients_is_measured_too() -> None:
    asked: dict[str, Any] = {"metrics": ["deletion", "max_sensitivity"], "method": "occlusion"}
    one, other = (onnxsal.evaluate(**LINEAR, **asked, engine=engine) for engine in ("onnxruntime", "torch"))
    for name, measurement in one.measurements.items():
        np.testing.assert_allclose(measurement.values, other.measurements[name].values, rtol=1e-4, atol=1e-6)


def test_weights_are_shuffled_also_where_the_original_file_is_explained() -> None:
    found = onnxsal.evaluate(**LINEAR, method="occlusion", engine="onnxruntime", metrics=["weight_randomisation"])
    assert (found.measurements["weight_randomisation"].values < 1).any()


# --- several ----------------------------------------------------------------------------------------------------------


def test_the_better_explanation_of_a_linear_score_comes_first() -> None:
    metrics = ["completeness", "infidelity"]
    found = onnxsal.compare(**LINEAR, methods=["saliency", "input_x_gradient"], metrics=metrics)
    assert list(found.mean_ranks) == ["input_x_gradient", "saliency"]
    assert list(found.evaluations) == ["saliency", "input_x_gradient"]
    np.testing.assert_array_equal(found.mean_ranks["input_x_gradient"], [1, 1])
    np.testing.assert_array_equal(found.ranks["completeness"]["saliency"], [2, 2])
    assert found.meta["ranking"][0] == {
        "method": "input_x_gradient",
        "mean_rank": 1.0,
        "deviation": 0.0,
        "ranks": [1.0, 1.0],
    }


def test_results_tell_themselves_in_a_line() -> None:
    one = onnxsal.evaluate(**LINEAR, method="input_x_gradient", metrics="sparseness")
    assert repr(one) == f"<Evaluation of input_x_gradient: sparseness {one.measurements['sparseness'].mean:.4g}>"
    found = onnxsal.compare(**LINEAR, methods=["saliency", "input_x_gradient"], metrics=["completeness"])
    assert repr(found) == "<Comparison by mean rank: input_x_gradient 1.00, saliency 2.00>"


def test_methods_carry_their_options() -> None:
    pair = ("integrated_gradients", {"steps": 3, "baseline": "blur"})
    found = onnxsal.compare(**LINEAR, methods=["saliency:abs=no", pair, "saliency"], metrics=["sparseness"])
    assert set(found.evaluations) == {"saliency:abs=no", "integrated_gradients:steps=3,baseline=blur", "saliency"}
    assert found.evaluations["saliency:abs=no"].attribution.options == {"abs": False}


def test_every_method_is_disturbed_alike(plugin: Any) -> None:
    seen = []

    def measure(explanation: Any) -> torch.Tensor:
        seen.append(explanation.score.normal(explanation.feeds, -2)["x"])
        return seen[-1].sum(1)

    plugin("spy", measure)
    onnxsal.compare(**LINEAR, methods=["saliency", "input_x_gradient"], metrics=["spy"])
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=0)


def test_what_only_some_methods_can_be_measured_by_does_not_rank(plugin: Any) -> None:
    def measure(explanation: Any) -> torch.Tensor:
        if explanation.baselines is None:
            raise UsageError("there is no baseline")
        return explanation.values["x"].sum(1)

    plugin("picky", measure)
    found = onnxsal.compare(**LINEAR, methods=["saliency", "integrated_gradients"])
    assert "picky" not in found.ranks
    assert found.evaluations["saliency"].skipped["picky"] == "there is no baseline"
    assert "deletion" in found.ranks


def test_a_method_that_cannot_explain_the_answer_is_left_out() -> None:
    steep: dict[str, Any] = LINEAR | {"model": tiny.square(), "target": None, "metrics": ["sparseness"]}
    methods = [
        "saliency",
        "integrated_gradients:steps=1,baseline=0.3,quadrature=riemann_left",
        "grad_cam",
        "input_x_gradient",
    ]
    found = onnxsal.compare(**steep, methods=methods, completeness_tolerance=0)
    assert set(found.mean_ranks) == {"saliency", "input_x_gradient"}
    assert list(found.left_out) == methods[1:3]
    assert "miss the score's difference" in found.left_out[methods[1]]
    assert found.meta["left_out"] == found.left_out
    with pytest.raises(CompletenessError, match="miss the score's difference"):
        onnxsal.compare(**steep, methods=methods[:3], completeness_tolerance=0)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"methods": ["saliency"]}, "1 method to compare"),
        ({"methods": ["saliency", "saliency"]}, "is given twice"),
        ({"methods": ["saliency", "salience"]}, "did you mean 'saliency'"),
        ({"methods": ["saliency", "integrated_gradients:stpes=3"]}, "did you mean 'steps'"),
        ({"methods": ["saliency", "input_x_gradient"], "steps": 3}, "no setting 'steps'"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as refusal:
        onnxsal.compare(**LINEAR, **asked)
    assert told in str(refusal.value)
    assert refusal.value.hint
