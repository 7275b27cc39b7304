"""Activations, conductance and internal influence: a layer's values, by ways that begin at the inputs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.options import choose
from tests import models_for_tests as tiny
from tests.methods.models import Inputs, inputs_of, model

TARGETS = [2, 0, 1]
METHODS = ["activation", "conductance", "internal_influence"]
LAYERS = {
    kind: next(n.outputs[0] for n in model(kind).graph.nodes if n.op_type == operator)
    for kind, operator in {"cnn": "Relu", "mlp": "Relu", "two_inputs": "Mul"}.items()
}
"""A value through which all of the score passes."""

CASES = [(method, kind) for method in METHODS for kind in LAYERS]


def explained(method: str, kind: str, inputs: Inputs | None = None, **options: object) -> onnxsal.Attribution:
    options = {"target": TARGETS, "layer": LAYERS[kind], "verify": False} | options
    return onnxsal.explain(model(kind), inputs or inputs_of(kind), method=method, **options)


@pytest.mark.parametrize("kind", LAYERS)
def test_conductance_through_a_layer_that_all_passes_sums_to_the_scores_difference(kind: str) -> None:
    whole = onnxsal.explain(
        model(kind), inputs_of(kind), method="integrated_gradients", steps=200, target=TARGETS, verify=False
    )
    difference = sum(v.reshape(len(v), -1).sum(1) for v in whole.values.values()) - whole.completeness
    (values,) = explained("conductance", kind, steps=200).values.values()
    np.testing.assert_allclose(values.reshape(3, -1).sum(1), difference, rtol=1e-3)


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_the_result_is_the_layers(method: str, kind: str) -> None:
    result = explained(method, kind)
    assert result.layer == (LAYERS[kind],)
    for name, value in result.values.items():
        assert value.shape == result.inputs[name].shape
        assert value.dtype == np.float64
        assert np.isfinite(value).all()
    assert onnxsal.render(result, "text")


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_an_example_is_explained_the_same_in_any_company(method: str, kind: str) -> None:
    inputs = inputs_of(kind)
    whole = explained(method, kind).values[LAYERS[kind]]
    turned = {name: value.flip(0) for name, value in inputs.items()}
    other = explained(method, kind, turned, target=TARGETS[::-1], batch_size=2).values[LAYERS[kind]]
    np.testing.assert_allclose(other[::-1], whole, rtol=1e-6, atol=1e-12)
    alone = explained(method, kind, {name: value[1:2] for name, value in inputs.items()}, target=TARGETS[1])
    np.testing.assert_allclose(alone.values[LAYERS[kind]], whole[1:2], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_without_a_layer_it_is_refused(method: str) -> None:
    with pytest.raises(UsageError, match="none is named") as refusal:
        onnxsal.explain(model("mlp"), inputs_of("mlp"), method=method, verify=False)
    assert "--layer" in str(refusal.value.hint)


@pytest.mark.parametrize("method", METHODS)
def test_within_another_method_it_is_refused(method: str) -> None:
    with pytest.raises(UsageError, match="cannot stand within"):
        choose("smoothgrad", {"of": method})


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="too few"):
        explained("conductance", "mlp", steps=0)


def test_activations_are_the_layers_values_whatever_is_explained() -> None:
    result = explained("activation", "cnn")
    np.testing.assert_array_equal(result.values[LAYERS["cnn"]], result.inputs[LAYERS["cnn"]])
    assert (result.values[LAYERS["cnn"]] > 0).any()


def test_activations_need_no_gradient_and_so_no_input_with_one() -> None:
    table = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"]), helper.make_node("ReduceSum", ["rows"], ["y"])]
    proto = tiny.model(nodes, [("ids", tiny.INT64, ["N", 4])], [("y", tiny.FLOAT, [1, 1, 1])], {"table": table})
    ids = np.array([[1, 5, 0, 2]])
    result = onnxsal.explain(proto, {"ids": ids}, method="activation", layer="rows", target=(0, 0))
    np.testing.assert_array_equal(result.values["rows"], table[ids])


@pytest.mark.parametrize("method", ["saliency", "feature_ablation", "conductance"])
def test_a_layer_that_the_score_is_not_computed_from_is_refused(method: str) -> None:
    asked = {"layer": "/Tanh", "neuron": "/right/Gemm[1]", "verify": False}
    with pytest.raises(UsageError, match="no way leads from '/Tanh_output_0' to '/right/Gemm_output_0'"):
        onnxsal.explain(model("two_inputs"), inputs_of("two_inputs"), method=method, **asked)
    seen = onnxsal.explain(model("two_inputs"), inputs_of("two_inputs"), method="activation", **asked)
    assert seen.values["/Tanh_output_0"].any()


@pytest.mark.parametrize(
    ("neuron", "told"), [("/1/Rel[0]", "no value or node"), ("/1/Relu[9]", "value '/1/Relu_output_0'")]
)
def test_a_neuron_that_is_not_there_is_told_as_one(neuron: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as refusal:
        onnxsal.explain(model("mlp"), inputs_of("mlp"), neuron=neuron, verify=False)
    assert refusal.value.where == "neuron"
    assert refusal.value.hint
