"""What every attribution method promises, asked of each that is installed, on networks of every common kind."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.plugins import registry
from tests import models_for_tests as tiny
from tests.methods.models import KINDS, Inputs, inputs_of, model

METHODS = sorted(entry.name for entry, _ in registry().items("methods") if not entry.through)
"""Those that explain a layer by ways from the inputs are asked in `tests.methods.test_layers_on_a_way`."""

TARGETS = [2, 0, 1]
PAIRS = [(method, kind) for method in METHODS for kind in KINDS]
NEEDS = {
    "cnn": ("_cam", "_cam_plus_plus", "full_grad", "xrai"),  # feature maps, a picture
    "cnn mlp": ("guided_backprop", "deconvolution"),  # rectifiers
    "transformer": ("attention_rollout",),
    # trees, on which test_tree_shap.py tries them; a neuron, which test_neuron_conductance.py names
    "": ("tree_shap", "tree_shap_margin", "neuron_conductance"),
}
"""What only some of the networks have, and the methods that cannot do without it."""

REFUSED = [
    (method, kind)
    for method, kind in PAIRS
    if any(method.endswith(methods) and kind not in kinds.split() for kinds, methods in NEEDS.items())
]
CASES = [pair for pair in PAIRS if pair not in REFUSED]
ON_NETWORKS = sorted({method for method, _ in CASES})
WHATEVER_THE_TARGET = {"eigen_cam", "score_cam", "attention_rollout"}
"""Methods that show something even where the score never moves."""

COMPARING = {"feature_permutation"}
"""Methods that compare the examples of a call with each other, so that company matters."""


def values(kind: str, method: str, inputs: Inputs, target: Any = TARGETS, **options: Any) -> dict[str, np.ndarray]:
    # ONNX Runtime lacks double precision for some of the operators
    result = onnxsal.explain(model(kind), inputs, method=method, target=target, verify=False, engine="torch", **options)
    return dict(result.values)


def close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-10 * max(1, np.abs(value).max()))


@pytest.mark.parametrize(("method", "kind"), REFUSED)
def test_a_network_it_is_not_made_for_is_refused_with_a_way_out(method: str, kind: str) -> None:
    with pytest.raises(UsageError) as refusal:
        values(kind, method, inputs_of(kind))
    assert refusal.value.where
    assert refusal.value.hint


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_it_answers_in_the_inputs_shape_and_leaves_them_alone(method: str, kind: str) -> None:
    inputs = inputs_of(kind)
    for name, value in values(kind, method, inputs).items():
        assert value.shape == tuple(inputs[name].shape)
        assert value.dtype == np.float64
        assert np.isfinite(value).all()
        torch.testing.assert_close(inputs[name], inputs_of(kind)[name], rtol=0, atol=0)


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_it_answers_the_same_again(method: str, kind: str) -> None:
    again = values(kind, method, inputs_of(kind))
    for name, value in values(kind, method, inputs_of(kind)).items():
        np.testing.assert_array_equal(again[name], value)


@pytest.mark.parametrize(("method", "kind"), [case for case in CASES if case[0] not in COMPARING])
def test_an_example_is_explained_the_same_in_any_company(method: str, kind: str) -> None:
    inputs = inputs_of(kind)
    whole = values(kind, method, inputs)
    turned = values(kind, method, {n: v.flip(0) for n, v in inputs.items()}, TARGETS[::-1], batch_size=2)
    close({name: value[::-1] for name, value in turned.items()}, whole)
    alone = values(kind, method, {n: v[1:2] for n, v in inputs.items()}, TARGETS[1])
    close(alone, {name: value[1:2] for name, value in whole.items()})


@pytest.mark.parametrize("method", [m for m in ON_NETWORKS if m not in WHATEVER_THE_TARGET])
def test_a_score_that_never_moves_is_nobodys_work(method: str) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["maps"]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Mul", ["pooled", "nothing"], ["y"]),
    ]
    constants = {"weight": np.ones((2, 1, 1, 1), np.float32), "nothing": np.zeros(1, np.float32)}
    proto = tiny.model(nodes, [("x", tiny.FLOAT, ["N", 1, 4, 4])], [("y", tiny.FLOAT, ["N", 2, 1, 1])], constants)
    picture = np.random.default_rng(0).random((2, 1, 4, 4), np.float32)
    result = onnxsal.explain(proto, {"x": picture}, method=method, target=(0, 0, 0))
    np.testing.assert_allclose(result.values["x"], 0, atol=1e-7)


@pytest.mark.parametrize("method", [m for m in ON_NETWORKS if registry().get("methods", m).complete])
def test_a_complete_method_shares_out_a_linear_score_exactly(method: str) -> None:
    weight = np.random.default_rng(1).normal(size=(5, 3))
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["y"])]
    proto = tiny.model(nodes, [("x", tiny.DOUBLE, ["N", 5])], [("y", tiny.DOUBLE, ["N", 3])], {"weight": weight})
    x = np.random.default_rng(2).normal(size=(3, 5))
    result = onnxsal.explain(proto, {"x": x}, method=method, target=TARGETS, verify=False)
    np.testing.assert_allclose(result.values["x"], x * weight[:, TARGETS].T, rtol=1e-9, atol=1e-12)


ON_TABLES = [method for method in ON_NETWORKS if (method, "mlp") in CASES]
SPREADING = {
    "hsic": "measures a dependence on random masks, which chance gives to any column",
    "lime": "fits a regression to random samples",
    "lrp": "spreads relevance evenly over what enters the first layer",
    "rise": "gives each column the mean score of the masks that show it",
}
"""Methods that give an ignored column something, and why."""


@pytest.mark.parametrize("method", [m for m in ON_TABLES if m not in SPREADING])
def test_columns_that_the_score_ignores_get_nothing(method: str) -> None:
    first = np.random.default_rng(3).normal(size=(6, 4))
    first[4:] = 0
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["z"]),
        helper.make_node("Relu", ["z"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "second"], ["y"]),
    ]
    constants = {"first": first, "second": np.random.default_rng(4).normal(size=(4, 3))}
    proto = tiny.model(nodes, [("x", tiny.DOUBLE, ["N", 6])], [("y", tiny.DOUBLE, ["N", 3])], constants)
    x = np.random.default_rng(5).normal(size=(3, 6))
    found = onnxsal.explain(proto, {"x": x}, method=method, target=TARGETS, verify=False, engine="torch").values["x"]
    assert np.abs(found[:, :4]).max() > 1e-3
    np.testing.assert_allclose(found[:, 4:], 0, atol=1e-9 * np.abs(found).max())


@pytest.mark.parametrize("method", [m for m in ON_NETWORKS if (m, "cnn") in CASES])
def test_a_model_in_single_precision_is_answered_in_single_precision(method: str) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "weight", "bias"], ["maps"]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["y"]),
    ]
    random = np.random.default_rng(6)
    constants = {"weight": random.random((3, 1, 3, 3), np.float32), "bias": random.random(3, np.float32)}
    proto = tiny.model(nodes, [("x", tiny.FLOAT, ["N", 1, 9, 9])], [("y", tiny.FLOAT, ["N", 3, 1, 1])], constants)
    result = onnxsal.explain(proto, {"x": random.random((2, 1, 9, 9), np.float32)}, method=method, target=(1, 0, 0))
    assert result.values["x"].dtype == np.float32
    assert np.abs(result.values["x"]).max() > 0


@pytest.mark.parametrize("method", METHODS)
def test_no_option_hides_behind_a_parameter_of_explain(method: str) -> None:
    parameters = set(inspect.signature(onnxsal.explain).parameters) - {"options"}
    taken = parameters & set(registry().get("methods", method).options)
    assert taken <= {"layer", "neuron"}  # which explain hands on to the methods that take them
