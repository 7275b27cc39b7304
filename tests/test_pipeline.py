from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxsal
from onnxsal.errors import InputError, ParityError, UsageError
from onnxsal.types import Attribution
from tests import models_for_tests as tiny

X = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]], np.float32)


def test_saliency_of_a_linear_model_is_its_weight() -> None:
    a = onnxsal.explain(tiny.linear(), {"x": X}, target=1, abs=False)
    np.testing.assert_array_equal(a.values["x"], [tiny.WEIGHT[:, 1]] * 2)
    np.testing.assert_allclose(a.score, X @ tiny.WEIGHT[:, 1] + tiny.BIAS[1], rtol=1e-6)


def test_saliency_is_absolute_unless_asked_otherwise() -> None:
    a = onnxsal.explain(tiny.linear(), {"x": X}, target=0)
    np.testing.assert_array_equal(a.values["x"], [abs(tiny.WEIGHT[:, 0])] * 2)
    assert a.options == {"abs": True}


def test_each_example_may_have_its_own_target() -> None:
    a = onnxsal.explain(tiny.linear(), {"x": X}, target=[1, 0], abs=False)
    np.testing.assert_array_equal(a.values["x"], tiny.WEIGHT.T[[1, 0]])
    assert [str(t) for t in a.target] == ["logits[1]", "logits[0]"]


def test_the_default_target_is_the_highest_class_of_each_example() -> None:
    a = onnxsal.explain(tiny.linear(labels='["down", "up"]'), {"x": X})
    best = (X @ tiny.WEIGHT + tiny.BIAS).argmax(1)
    assert [t.index for t in a.target] == [(b,) for b in best]
    assert [t.label for t in a.target] == [["down", "up"][b] for b in best]


def test_top_targets_come_ranked() -> None:
    a = onnxsal.explain(tiny.linear(), {"x": X[:1]}, target="top2")
    assert [str(r.target[0]) for r in a.ranked] == ["logits[0]", "logits[1]"]
    assert a.ranked[0].score > a.ranked[1].score
    np.testing.assert_array_equal(a.ranked[1].values["x"], [abs(tiny.WEIGHT[:, 1])])


def test_input_x_gradient_of_a_square() -> None:
    a = onnxsal.explain(tiny.square(), {"x": X}, method="input_x_gradient")
    np.testing.assert_allclose(a.values["x"], 2 * X**2)


@pytest.mark.parametrize(
    ("quadrature", "error"),
    [("gausslegendre", 1e-5), ("riemann_middle", 1e-5), ("riemann_trapezoid", 1e-5), ("riemann_left", 0.7)],
)
def test_integrated_gradients_of_a_square(quadrature: str, error: float) -> None:
    a = onnxsal.explain(tiny.square(), {"x": X}, method="integrated_gradients", quadrature=quadrature, steps=20)
    np.testing.assert_allclose(a.values["x"], X**2, atol=error)
    assert a.completeness is not None
    np.testing.assert_allclose(a.completeness, a.values["x"].sum(1) - a.score, atol=1e-5)


def test_a_left_riemann_sum_says_how_far_from_complete_it_is() -> None:
    a = onnxsal.explain(tiny.square(), {"x": X}, method="integrated_gradients", quadrature="riemann_left", steps=10)
    assert a.completeness is not None
    np.testing.assert_allclose(a.completeness, -(X**2).sum(1) / 10, rtol=1e-4)


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("zero", X**2),
        (1, X**2 - 1),
        ("0.5", X**2 - 0.25),
        ({"x": np.float32([[1, 0, -1]])}, X**2 - [[1, 0, 1]]),
    ],
)
def test_integrated_gradients_start_from_the_baseline(baseline: Any, expected: np.ndarray) -> None:
    a = onnxsal.explain(tiny.square(), {"x": X}, method="integrated_gradients", baseline=baseline)
    np.testing.assert_allclose(a.values["x"], expected, atol=1e-5)


def test_a_baseline_may_come_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "start.npy", np.ones((1, 3), np.float32))
    a = onnxsal.explain(tiny.square(), {"x": X}, method="integrated_gradients", baseline=str(tmp_path / "start.npy"))
    np.testing.assert_allclose(a.values["x"], X**2 - 1, atol=1e-5)


def test_a_baseline_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit"):
        onnxsal.explain(tiny.square(), {"x": X}, method="integrated_gradients", baseline={"x": np.zeros((1, 4))})


@pytest.mark.parametrize("rows", [1, 3, 7, 1000])
def test_results_do_not_depend_on_the_batch_size(rows: int) -> None:
    options: dict[str, Any] = {"method": "integrated_gradients", "steps": 9}
    whole = onnxsal.explain(tiny.linear(), {"x": X}, **options)
    parts = onnxsal.explain(tiny.linear(), {"x": X}, batch_size=rows, **options)
    np.testing.assert_allclose(parts.values["x"], whole.values["x"], rtol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_batch_is_respected(batch: int) -> None:
    a = onnxsal.explain(tiny.square(batch), {"x": X[:batch]}, method="integrated_gradients", steps=7)
    np.testing.assert_allclose(a.values["x"], X[:batch] ** 2, atol=1e-5)


def reshaping_model() -> onnx.ModelProto:
    """A model whose batch of one is written into a Reshape."""
    nodes = [
        onnx.helper.make_node("Reshape", ["x", "shape"], ["flat"], name="reshape"),
        onnx.helper.make_node("Mul", ["flat", "flat"], ["y"], name="mul"),
    ]
    ports = [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, [1, 3])]
    return tiny.model(nodes, *ports, {"shape": np.array([1, 3])})


def test_a_batch_that_only_looks_open_is_run_row_by_row() -> None:
    a = onnxsal.explain(reshaping_model(), {"x": X[:1]}, method="integrated_gradients", target=2)
    np.testing.assert_allclose(a.values["x"], [[0, 0, 9]], atol=1e-5)


def test_rows_that_change_each_other_are_explained_alone() -> None:
    nodes = [
        onnx.helper.make_node("ReduceMax", ["x"], ["top"], name="max", keepdims=1, axes=[0]),
        onnx.helper.make_node("Mul", ["x", "top"], ["y"], name="mul"),
    ]
    mixing = tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 3])])
    a = onnxsal.explain(mixing, {"x": X}, target=0, abs=False)
    np.testing.assert_allclose(a.values["x"], [[2, 0, 0], [-2, 0, 0]], atol=1e-6)


def test_a_model_without_batch_axis_is_one_example() -> None:
    nodes = [onnx.helper.make_node("ReduceSumSquare", ["x"], ["y"], name="sum", keepdims=0)]
    whole = tiny.model(nodes, [("x", tiny.FLOAT, [2, 3])], [("y", tiny.FLOAT, [])])
    a = onnxsal.explain(whole, {"x": X}, method="integrated_gradients")
    np.testing.assert_allclose(a.values["x"], X**2, atol=1e-5)
    assert a.score.shape == (1,)


def test_other_inputs_stay_fixed_and_follow_their_example() -> None:
    feeds = {"a": X[:, :2], "gate": np.float32([[2, 3], [5, 7]]), "ids": np.array([0, 3])}
    a = onnxsal.explain(tiny.two_inputs(), feeds, inputs=["a"], target=1, method="integrated_gradients")
    assert list(a.values) == ["a"]
    np.testing.assert_allclose(a.values["a"], [[0, 3 * X[0, 1]], [0, 7 * X[1, 1]]], atol=1e-5)
    assert a.inputs["ids"].dtype == np.int64


def test_every_float_input_is_explained_by_default() -> None:
    feeds = {"a": X[:, :2], "gate": np.float32([[2, 3], [5, 7]]), "ids": np.array([0, 3])}
    a = onnxsal.explain(tiny.two_inputs(), feeds, target=0, abs=False)
    np.testing.assert_array_equal(a.values["gate"], X[:, :2] * [1, 0])
    np.testing.assert_array_equal(a.values["a"], feeds["gate"] * [1, 0])


def test_an_input_the_score_does_not_depend_on_gets_zeros_and_a_note() -> None:
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"], name="relu")]
    idle = tiny.model(
        nodes, [("x", tiny.FLOAT, ["N", 3]), ("idle", tiny.FLOAT, ["N", 2])], [("y", tiny.FLOAT, ["N", 3])]
    )
    a = onnxsal.explain(idle, {"x": X, "idle": X[:, :2]}, target=0)
    assert not a.values["idle"].any()
    assert any("'idle'" in note for note in a.provenance.notes)


def test_provenance_names_everything_the_result_rests_on(tmp_path: Path) -> None:
    path = tiny.save(tiny.linear(), tmp_path)
    a = onnxsal.explain(onnxsal.load(path), {"x": X}, seed=5)
    p = a.provenance
    assert len(p.model_sha256) == 64
    assert p.model == "model.onnx"
    assert p.opset == {"": 17}
    assert (p.engine, p.device, p.seed, p.dtype) == ("torch", onnxsal.device.choose_device("auto"), 5, {"x": "float32"})
    assert {"onnxsal", "torch", "onnx", "onnxruntime", "numpy"} <= set(p.versions)
    assert set(p.inputs_sha256) == {"x"}
    assert p.seconds > 0
    assert a.parity is not None
    assert a.parity["outputs"][0]["name"] == "logits"
    assert a.parity["outputs"][0]["max_rel"] < 1e-6


def test_results_are_frozen() -> None:
    a = onnxsal.explain(tiny.linear(), {"x": X})
    with pytest.raises(ValueError, match="read-only"):
        a.values["x"][0] = 0


def test_feeds_are_not_touched() -> None:
    x = X.copy()
    onnxsal.explain(tiny.linear(), {"x": x}, method="integrated_gradients")
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize(
    ("arguments", "fault", "says"),
    [
        ({"method": "salience"}, UsageError, "did you mean 'saliency'"),
        ({"steps": 3}, UsageError, "no option 'steps'"),
        ({"device": "cuda:99"}, UsageError, "here: cpu"),
        ({"device": "gpu"}, UsageError, "no device 'gpu'"),
        ({"engine": "tensorrt"}, UsageError, "no engine 'tensorrt'"),
        ({"engine": "onnxruntime"}, UsageError, "needs gradients"),
        ({"inputs": ["y"]}, InputError, "no input 'y'"),
        ({"target": 2}, UsageError, "outside"),
        ({"method": "integrated_gradients", "quadrature": "simpson"}, UsageError, "not a choice"),
        ({"method": "integrated_gradients", "steps": "many"}, UsageError, "type int"),
        ({"method": "integrated_gradients", "steps": 0}, UsageError, "too few"),
        ({"method": "integrated_gradients", "baseline": "gray"}, UsageError, "no baseline 'gray'"),
    ],
)
def test_wrong_requests_are_refused(arguments: dict[str, Any], fault: type[Exception], says: str) -> None:
    with pytest.raises(fault, match=says.replace("(", r"\(")):
        onnxsal.explain(tiny.linear(), {"x": X}, **arguments)


def test_another_answer_than_onnx_runtimes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = onnxsal.load(tiny.linear().SerializeToString())
    broken.torch().get_parameter(next(n for n, _ in broken.torch().named_parameters())).data.mul_(1.5)
    with pytest.raises(ParityError, match="node 'gemm'"):
        onnxsal.explain(broken, {"x": X})
    assert isinstance(onnxsal.explain(broken, {"x": X}, verify=False), Attribution)


def test_nan_is_refused_unless_allowed() -> None:
    nodes = [
        onnx.helper.make_node("IsNaN", ["x"], ["gone"]),
        onnx.helper.make_node("Where", ["gone", "zero", "x"], ["y"]),
    ]
    mending = tiny.model(
        nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 3])], {"zero": np.zeros(3, np.float32)}
    )
    x = np.float32([[1, np.nan, 3]])
    with pytest.raises(InputError, match="--allow-nan"):
        onnxsal.explain(mending, {"x": x})
    a = onnxsal.explain(mending, {"x": x}, target="y.sum()", allow_nan=True)
    np.testing.assert_array_equal(a.values["x"], [[1, 0, 1]])


def test_a_tables_columns_are_called_what_the_model_calls_them() -> None:
    named = tiny.linear(features='["height", "weight", "age"]')
    a = onnxsal.explain(named, {"x": X}, target=0)
    assert a.features == ("height", "weight", "age")
    assert b"weight = 2" in onnxsal.render(a, "text")
    assert onnxsal.explain(tiny.linear(features='["height"]'), {"x": X}).features == ()
