"""A compiled file answers what the model answers and explains it as the torch engine does, at any batch size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import onnxsal
from onnxsal.compiler.lower import lowerings
from onnxsal.entries import Method
from onnxsal.errors import CompileFault, InputError, ParityError, UsageError
from onnxsal.plugins import registry
from tests import models_for_tests as tiny

MODELS = Path(__file__).parents[2] / "models"
DIGITS = MODELS / "digits_cnn.onnx"


def digits(count: int) -> dict[str, np.ndarray]:
    return {"image": np.load(MODELS / "samples" / "digits.npz")["image"][:count]}


def run(compiled: onnxsal.CompiledModel, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a compiled model as anybody would: by ONNX Runtime."""
    session = onnxruntime.InferenceSession(compiled.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(compiled.outputs, session.run(None, feeds), strict=True))


def close(got: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


@pytest.fixture(scope="module")
def saliency() -> onnxsal.CompiledModel:
    return onnxsal.compile(DIGITS, method="saliency", abs=False)


@pytest.mark.parametrize("examples", [1, 2, 5, 10])
def test_any_number_of_examples(saliency, examples):
    answers = run(saliency, digits(examples))
    model = onnxsal.load(DIGITS)
    np.testing.assert_array_equal(answers["logits"], model.session().run(None, digits(examples))[0])
    expected = onnxsal.explain(model, digits(examples), method="saliency", abs=False)
    close(answers["image_attribution"], expected.values["image"])


def test_outputs_keep_their_names_and_the_batch_its_symbol(saliency):
    assert saliency.outputs == ["logits", "image_attribution"]
    ports = [*saliency.proto.graph.input, *saliency.proto.graph.output]
    assert {p.type.tensor_type.shape.dim[0].dim_param for p in ports} == {"batch"}


def test_weights_are_kept_once(saliency):
    assert saliency.proto.ByteSize() < 1.3 * DIGITS.stat().st_size


def test_only_the_standard_domain(saliency):
    assert {entry.domain for entry in saliency.proto.opset_import} == {""}
    assert {node.domain for node in saliency.proto.graph.node} == {""}


def test_metadata_says_where_it_comes_from(saliency):
    facts = json.loads({p.key: p.value for p in saliency.proto.metadata_props}["onnxsal"])
    assert facts["method"] == "saliency"
    assert facts["options"] == {"abs": False}
    assert facts["target"] == "logits[argmax]"
    assert facts["model_sha256"] == onnxsal.load(DIGITS).sha256
    assert facts["checked"]["examples"] == 3


DRAWING = {"deep_lift_shap", "gradient_shap", "smoothgrad", "rise"}
"""Methods whose draws are alike for every example in a file, and each example's own in the engine."""

BESIDE = "tests/methods/test_black_box.py compiles it"
LEFT_OUT = {
    "attention_rollout": "it is for attention",
    "feature_ablation": BESIDE,
    "feature_permutation": "it sets the examples of a call beside one another",
    "guided_ig": "it takes minutes: each of its steps follows from the one before",
    "hsic": "its masks are found by values",
    "kernel_shap": BESIDE,
    "lime": BESIDE,
    "neuron_conductance": "it needs a neuron's name",
    "partition_shap": "it cuts finer where the values tell it to",
    "shapley": BESIDE,
    "shapley_sampling": BESIDE,
    "sobol": BESIDE,
    "tree_shap": "it is for trees",
    "tree_shap_margin": "it is for trees",
    "xrai": "it cuts each picture into segments",
}
"""Methods that are not compiled here, and why not."""

QUICK = ["deep_lift", "gradient_shap", "grad_cam", "guided_backprop", "integrated_gradients", "occlusion", "smoothgrad"]
"""What every run of the tests looks at; the other methods are marked ``slow``."""

METHODS = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in (
        e.name for e, provider in registry().items("methods") if provider.distribution == "onnxsal" and not e.through
    )
    if name not in LEFT_OUT
]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_compiles(method):
    compiled = onnxsal.compile(DIGITS, method=method, target=3)
    assert compiled.facts["fixed"] == []
    assert compiled.facts["checked"]["image_attribution"] <= 1e-4
    if method not in DRAWING:
        expected = onnxsal.explain(DIGITS, digits(4), method=method, target=3, completeness_tolerance=10)
        close(run(compiled, digits(4))["image_attribution"], expected.values["image"], 1e-4)


def test_conductance_through_a_neuron():
    asked = {"method": "neuron_conductance", "neuron": "relu_1[0,2,2]", "target": 3}
    expected = onnxsal.explain(DIGITS, digits(4), **asked).values["image"]
    assert expected.any()
    close(run(onnxsal.compile(DIGITS, **asked), digits(4))["image_attribution"], expected, 1e-4)


@pytest.mark.parametrize("method", ["activation", "conductance"])
def test_a_method_of_a_layer_is_refused(method):
    with pytest.raises(CompileFault, match="explains a layer"):
        onnxsal.compile(DIGITS, method=method, target=3)


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("hsic", "hsic, .*: picks by a mask: how many are picked depends on values"),
        (
            "partition_shap",
            r"method, partition_shap.py line \d+: .* a number that is computed decides what is done next",
        ),
        ("xrai", r"method, xrai.py line \d+: .* numbers that are computed leave the graph"),
    ],
)
def test_a_method_that_cannot_be_written_says_where(method, says):
    with pytest.raises(CompileFault, match=says):
        onnxsal.compile(DIGITS, method=method, target=3)


def test_target_at_run_time():
    compiled = onnxsal.compile(DIGITS, target_input=True, abs=False)
    assert compiled.inputs == ["image", "target"]
    answers = run(compiled, digits(3) | {"target": np.array([7, 0, -1])})
    expected = onnxsal.explain(DIGITS, digits(3), target=[7, 0, 9], abs=False)
    close(answers["image_attribution"], expected.values["image"])


def maps() -> onnx.ModelProto:
    """Return ``y = x * x`` with two axes per example, and a sum."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["y"], name="square"),
        helper.make_node("ReduceSum", ["y", "axes"], ["total"], name="sum", keepdims=0),
    ]
    ports = [("y", tiny.FLOAT, ["N", 3, 4]), ("total", tiny.FLOAT, ["N"])]
    return tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3, 4])], ports, {"axes": np.array([1, 2])})


@pytest.mark.parametrize("target", ["y[1,2]", "y[1].sum()", "y[1,argmax]", "y[argmax,0]", "y[:,1:3].mean()", "total"])
def test_every_kind_of_target(target):
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    compiled = onnxsal.compile(maps(), target=target, abs=False)
    expected = onnxsal.explain(maps(), {"x": x}, target=target, abs=False)
    close(run(compiled, {"x": x})["x_attribution"], expected.values["x"])


def test_target_at_run_time_of_several_axes():
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    compiled = onnxsal.compile(maps(), target="y", target_input=True, abs=False)
    answers = run(compiled, {"x": x, "target": np.array([[0, 1], [2, 3]])})
    expected = np.zeros_like(x)
    expected[0, 0, 1], expected[1, 2, 3] = 2 * x[0, 0, 1], 2 * x[1, 2, 3]
    np.testing.assert_allclose(answers["x_attribution"], expected, rtol=1e-6)


@pytest.mark.parametrize("target", [[1, 2], "top3"])
def test_targets_that_differ_from_example_to_example_are_refused(target):
    with pytest.raises(UsageError, match="target"):
        onnxsal.compile(DIGITS, target=target)


def test_an_input_beside_the_explained_one():
    model = tiny.model(
        [helper.make_node("Mul", ["a", "b"], ["y"], name="product")],
        [("a", tiny.FLOAT, ["N", 3]), ("b", tiny.FLOAT, ["N", 3])],
        [("y", tiny.FLOAT, ["N", 3])],
    )
    compiled = onnxsal.compile(model, method="integrated_gradients", inputs=["a"], target="y.sum()")
    a, b = np.random.default_rng(1).standard_normal((2, 4, 3)).astype(np.float32)
    answers = run(compiled, {"a": a, "b": b})
    assert compiled.outputs == ["y", "a_attribution"]
    np.testing.assert_allclose(answers["a_attribution"], a * b, rtol=1e-5)


def test_a_quantised_model_is_kept_as_it_is():
    compiled = onnxsal.compile(MODELS / "digits_cnn_int8.onnx")
    kept = {node.op_type for node in compiled.proto.graph.node}
    original = {node.op_type for node in onnx.load(MODELS / "digits_cnn_int8.onnx").graph.node}
    assert original <= kept
    expected = onnxsal.explain(MODELS / "digits_cnn_int8.onnx", digits(4))
    close(run(compiled, digits(4))["image_attribution"], expected.values["image"])


def test_labels_of_a_classifier_still_come_out():
    compiled = onnxsal.compile(MODELS / "tumours_mlp.onnx")
    with np.load(MODELS / "samples" / "tumours.npz") as archive:
        feeds = dict(archive)
    answers = run(compiled, feeds)
    expected = onnxsal.explain(MODELS / "tumours_mlp.onnx", feeds)
    assert compiled.outputs == ["label", "probabilities", "X_attribution"]
    close(answers["X_attribution"], expected.values["X"], 1e-4)


def test_a_model_without_real_inputs_is_refused():
    with pytest.raises(InputError, match="no floating-point input"):
        onnxsal.compile(MODELS / "language_lstm.onnx")


def test_a_graph_that_answers_something_else_is_refused(monkeypatch):
    monkeypatch.setitem(lowerings(), "aten.abs.default", lambda g, x: g.Neg(x))
    with pytest.raises(ParityError, match="image_attribution"):
        onnxsal.compile(DIGITS)


def test_an_operator_without_a_lowering_is_named(monkeypatch):
    monkeypatch.delitem(lowerings(), "aten.threshold_backward.default")
    monkeypatch.setattr("onnxsal.compiler.trace._decompositions", dict)
    with pytest.raises(CompileFault, match=r"saliency, node .*\(Relu, .*threshold_backward.* has no lowering"):
        onnxsal.compile(DIGITS)


def test_a_method_that_looks_at_values_says_so(monkeypatch):
    def explain(score, feeds):
        """Look at a number."""
        return {n: g * 2 if float(g.sum()) > 0 else g for n, g in score.gradients(feeds).items()}

    _, provider = registry().find("methods", "saliency")
    monkeypatch.setattr(registry(), "find", lambda *_: (Method("peeking", explain), provider))
    with pytest.raises(CompileFault, match=r"method, test_compile.py line \d+: .*decides what is done next"):
        onnxsal.compile(DIGITS, method="peeking")


def test_saving_is_whole_or_not_at_all(saliency, tmp_path):
    path = saliency.save(tmp_path / "explained.onnx")
    assert path.read_bytes() == saliency.proto.SerializeToString()
    assert [p.name for p in tmp_path.iterdir()] == ["explained.onnx"]
    with pytest.raises(onnxsal.errors.OutputError):
        saliency.save(tmp_path / "nowhere" / "explained.onnx")
