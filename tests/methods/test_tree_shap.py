"""Shapley values of trees, against the exact ones over all subsets and against the shap package."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import shap
from onnx import helper
from skl2onnx import to_onnx
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import onnxsal
from onnxsal.errors import UsageError
from tests import models_for_tests as tiny

COLUMNS = 6
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(200, COLUMNS)).astype(np.float32)
Y = X[:, 0] * X[:, 1] + np.sin(3 * X[:, 2]) + (X[:, 3] > 0) * X[:, 4]
CLASSES = np.digitize(Y, [-0.5, 0.5])
FED, BACKGROUND = X[:5], X[50:57]

REGRESSORS = [GradientBoostingRegressor(n_estimators=20), ExtraTreesRegressor(n_estimators=7, max_depth=6)]
CLASSIFIERS = [RandomForestClassifier(n_estimators=7, max_depth=6), DecisionTreeClassifier(max_depth=7)]


def exported(estimator: Any, y: np.ndarray) -> tuple[Any, onnx.ModelProto]:
    """Return the fitted estimator, and its file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = estimator.set_params(**({"random_state": 0} if "random_state" in estimator.get_params() else {}))
        fitted.fit(X, y)
        options = {"zipmap": False} if hasattr(fitted, "classes_") else None
        return fitted, to_onnx(fitted, X[:1], options={id(fitted): options} if options else None, target_opset=17)


def explained(proto: onnx.ModelProto, method: str = "tree_shap", target: Any = None, **options: Any) -> np.ndarray:
    options = {"baselines": {"X": BACKGROUND}, **options}
    return onnxsal.explain(proto, {"X": FED}, method=method, target=target, **options).values["X"]


@pytest.mark.parametrize("estimator", REGRESSORS, ids=lambda e: type(e).__name__)
def test_regressors_are_explained_as_by_all_subsets_and_by_shap(estimator: Any) -> None:
    fitted, proto = exported(estimator, Y)
    found = explained(proto)
    np.testing.assert_allclose(found, explained(proto, "shapley"), atol=2e-6)
    expected = shap.TreeExplainer(fitted, BACKGROUND).shap_values(FED)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers_are_explained_as_by_all_subsets_and_by_shap(estimator: Any, classes: int) -> None:
    fitted, proto = exported(estimator, CLASSES if classes == 3 else CLASSES > 0)
    targets = [0, 1, classes - 1, 0, 1]
    targets = [f"probabilities[{target}]" for target in targets]
    found = explained(proto, target=targets)
    np.testing.assert_allclose(found, explained(proto, "shapley", targets), atol=2e-6)
    expected = shap.TreeExplainer(fitted, BACKGROUND).shap_values(FED)
    picked = [expected[row, :, int(target[-2])] for row, target in enumerate(targets)]
    np.testing.assert_allclose(found, picked, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_sum_before_a_transform_is_explained_in_its_own_scale(classes: int) -> None:
    fitted, proto = exported(GradientBoostingClassifier(n_estimators=10), CLASSES if classes == 3 else CLASSES > 0)
    with pytest.raises(UsageError, match=r"LOGISTIC|SOFTMAX") as refusal:
        explained(proto, target="probabilities[1]")
    assert "tree_shap_margin" in str(refusal.value.hint)

    def margin(rows: np.ndarray) -> np.ndarray:
        values = fitted.decision_function(rows)
        return values if classes == 2 else values[:, 1]

    found = explained(proto, "tree_shap_margin", "probabilities[1]")
    np.testing.assert_allclose(found.sum(1), margin(FED) - margin(BACKGROUND).mean(), rtol=1e-5, atol=1e-5)
    if classes == 2:
        expected = shap.TreeExplainer(fitted, BACKGROUND).shap_values(FED)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(explained(proto, "tree_shap_margin", "probabilities[0]"), -found, atol=1e-6)


def test_an_example_is_explained_the_same_in_any_company_and_again() -> None:
    _, proto = exported(GradientBoostingRegressor(n_estimators=10), Y)
    fed = FED.copy()
    whole = explained(proto)
    np.testing.assert_array_equal(FED, fed)
    np.testing.assert_array_equal(explained(proto), whole)
    alone = onnxsal.explain(proto, {"X": FED[2:3]}, method="tree_shap", baselines={"X": BACKGROUND}).values["X"]
    np.testing.assert_allclose(alone, whole[2:3], rtol=1e-6)
    assert whole.dtype == np.float32


def test_columns_may_be_scaled_on_the_way_to_the_trees() -> None:
    _, proto = exported(make_pipeline(StandardScaler(), ExtraTreesRegressor(5, max_depth=4, random_state=0)), Y)
    assert next(node.op_type for node in proto.graph.node) == "Scaler"
    np.testing.assert_allclose(explained(proto), explained(proto, "shapley"), atol=2e-6)


def test_columns_may_not_be_mixed_on_the_way_to_the_trees() -> None:
    _, proto = exported(make_pipeline(Normalizer(), ExtraTreesRegressor(5, max_depth=4, random_state=0)), Y)
    with pytest.raises(UsageError, match=r"the trees' columns are not the input's.*comes between"):
        explained(proto)


def trees(dtype: Any = np.float32, **changes: Any) -> onnx.ModelProto:
    """Return two trees as opset 5 writes them, with every kind of branch but one; the file is free to mix them."""
    given: dict[str, Any] = {
        "aggregate_function": 1,
        "leaf_targetids": [0] * 7,
        "leaf_weights": np.array([1, 2, 4, 8, 16, 32, 64], dtype),
        "membership_values": np.array([1, 3, np.nan], dtype),
        "n_targets": 1,
        "nodes_falseleafs": [0, 1, 0, 1, 1],
        "nodes_falsenodeids": [1, 1, 4, 4, 6],
        "nodes_featureids": [0, 1, 2, 0, 2],
        "nodes_modes": np.array([1, 3, 6, 4, 2], np.uint8),
        "nodes_splits": np.array([0.5, 0.25, 0, 2, -1], dtype),
        "nodes_trueleafs": [1, 1, 0, 1, 1],
        "nodes_truenodeids": [0, 2, 3, 3, 5],
        "post_transform": 0,
        "tree_roots": [0, 2],
        "nodes_missing_value_tracks_true": [1, 0, 0, 0, 1],
        **changes,
    }
    node = helper.make_node("TreeEnsemble", ["X"], ["Y"], domain="ai.onnx.ml")
    for name, value in given.items():
        if isinstance(value, np.ndarray):
            value = onnx.numpy_helper.from_array(value, name)  # noqa: PLW2901
        node.attribute.append(helper.make_attribute(name, value))
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("X", tiny.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("Y", tiny.FLOAT, ["N", 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 5)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


ODD = np.float32([[0.4, 0.3, 1], [0.6, 0.2, 2], [2, 0.25, 3], [2, 0.1, -1], [0.5, 0.5, 0]])


@pytest.mark.parametrize("baseline", [0.0, 2.0, {"X": ODD}])
def test_branches_of_every_kind_are_followed(baseline: Any) -> None:
    found, exact = (
        onnxsal.explain(trees(), {"X": ODD}, method=method, baselines=baseline).values["X"]
        for method in ("tree_shap", "shapley")
    )
    assert np.abs(exact).max() > 1
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-6)


def test_missing_values_go_where_the_trees_send_them() -> None:
    x = np.float32([[np.nan, 0.3, 1], [2, np.nan, np.nan]])
    found, exact = (
        onnxsal.explain(trees(), {"X": x}, method=method, allow_nan=True).values["X"]
        for method in ("tree_shap", "shapley")
    )
    assert np.abs(exact).max() > 1
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-6)


def test_averages_are_sums_and_extremes_are_not() -> None:
    mean = onnxsal.explain(trees(aggregate_function=0), {"X": ODD}, method="tree_shap").values["X"]
    whole = onnxsal.explain(trees(), {"X": ODD}, method="tree_shap").values["X"]
    np.testing.assert_allclose(mean, whole / 2, rtol=1e-6)
    with pytest.raises(UsageError, match="no single node of trees whose leaves are added up: node"):
        onnxsal.explain(trees(aggregate_function=2), {"X": ODD}, method="tree_shap")


def test_a_model_without_trees_is_told_what_else_there_is() -> None:
    with pytest.raises(UsageError, match=r"no single node of trees.*: none") as refusal:
        onnxsal.explain(tiny.linear(), {"x": np.ones((1, 3), np.float32)}, method="tree_shap")
    assert "shapley" in str(refusal.value.hint)


def test_a_tree_whose_leaves_agree_says_nothing_of_the_columns() -> None:
    stump = trees(
        leaf_targetids=[0, 0],
        leaf_weights=np.float32([3, 3]),
        membership_values=np.zeros(0, np.float32),
        nodes_falseleafs=[1],
        nodes_falsenodeids=[1],
        nodes_featureids=[0],
        nodes_modes=np.uint8([0]),
        nodes_splits=np.float32([0.5]),
        nodes_trueleafs=[1],
        nodes_truenodeids=[0],
        nodes_missing_value_tracks_true=[0],
        tree_roots=[0],
    )
    found = onnxsal.explain(stump, {"X": ODD}, method="tree_shap")
    assert not found.values["X"].any()
