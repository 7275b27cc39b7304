"""Random numbers of a compiled file: settled, taken at run time, or drawn by the graph."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

import onnxsal
from onnxsal.compiler import check
from onnxsal.compiler.agreement import Agreement
from onnxsal.compiler.draws import Drawing, drawing_graph
from onnxsal.errors import CompileFault, ParityError, UsageError
from tests import models_for_tests as tiny

W = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
V = np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32)
X = np.random.default_rng(2).standard_normal((5, 4)).astype(np.float32)


def curved(shape: list[Any] | None = None, element: int = tiny.FLOAT) -> onnx.ModelProto:
    """Return ``tanh(x W) V``."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["inner"], name="first"),
        helper.make_node("Tanh", ["inner"], ["bent"], name="tanh"),
        helper.make_node("MatMul", ["bent", "v"], ["y"], name="second"),
    ]
    dtype = helper.tensor_dtype_to_np_dtype(element)
    shape = shape or ["N", 4]
    weights = {"w": W.astype(dtype), "v": V.astype(dtype)}
    return tiny.model(nodes, [("x", element, shape)], [("y", element, [*shape[:-1], 3])], weights)


def gradient(x: np.ndarray, target: int) -> np.ndarray:
    """Return the gradient of ``curved``, by hand."""
    bent = np.tanh(x @ W)
    return ((1 - bent**2) * V[:, target]) @ W.T


def run(compiled: onnxsal.CompiledModel, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(compiled.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(compiled.outputs, session.run(None, feeds), strict=True))


def test_noise_at_run_time_is_added_as_it_comes():
    compiled = onnxsal.compile(curved(), method="smoothgrad", draws="input", target=1, samples=11, noise=0.2)
    assert compiled.inputs == ["x", "x_noise"]
    noise = np.random.default_rng(3).standard_normal((5, 11, 4)).astype(np.float32)
    width = 0.2 * (X.max(1) - X.min(1))
    expected = gradient(X[:, None] + width[:, None, None] * noise, 1).mean(1)
    np.testing.assert_allclose(run(compiled, {"x": X, "x_noise": noise})["x_attribution"], expected, atol=1e-5)


def test_uniform_numbers_at_run_time():
    options = {"method": "gradient_shap", "samples": 7, "target": 2}
    compiled = onnxsal.compile(curved(), draws="input", **options)
    assert compiled.inputs == ["x", "uniform_draws"]
    numbers = np.random.default_rng(3).random((5, 14), np.float32)
    places = (np.arange(7) + numbers[:, 7:]) / 7
    expected = X * gradient(places[:, :, None] * X[:, None], 2).mean(1)
    np.testing.assert_allclose(run(compiled, {"x": X, "uniform_draws": numbers})["x_attribution"], expected, atol=1e-5)


def test_one_example_without_a_batch():
    compiled = onnxsal.compile(curved([4]), method="smoothgrad", draws="input", target="y[1]", samples=3)
    noise = np.random.default_rng(3).standard_normal((3, 4)).astype(np.float32)
    x = X[0]
    expected = gradient(x + 0.15 * (x.max() - x.min()) * noise, 1).mean(0)
    np.testing.assert_allclose(run(compiled, {"x": x, "x_noise": noise})["x_attribution"], expected, atol=1e-5)


def test_methods_within_draw_for_themselves():
    options = {"method": "smoothgrad", "of": "gradient_shap:noise=0.1", "samples": 3, "target": 0}
    compiled = onnxsal.compile(curved(), draws="input", **options)
    counts = {name: value["count"] for name, value in compiled.facts["draws"]["values"].items()}
    assert counts == {"x_noise": 3 + 3 * 50, "uniform_draws": 3 * 100}


@pytest.mark.parametrize("element", [tiny.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16], ids=str)
def test_drawn_in_the_graph_the_mean_is_the_methods(element):
    options = {"method": "smoothgrad", "target": 1, "samples": 16, "noise": 0.2}
    compiled = onnxsal.compile(curved(element=element), draws="fresh", **options)
    assert compiled.inputs == ["x"]
    dtype = helper.tensor_dtype_to_np_dtype(element)
    session = onnxruntime.InferenceSession(compiled.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = np.stack([session.run(["x_attribution"], {"x": X.astype(dtype)})[0] for _ in range(200)]).astype(np.float64)
    noise = np.random.default_rng(3).standard_normal((5, 20000, 4))
    single = gradient(X[:, None] + 0.2 * (X.max(1) - X.min(1))[:, None, None] * noise, 1)
    error = single.std(1) / np.sqrt(200 * 16)
    assert (
        np.abs(runs.mean(0) - single.mean(1)) < 6 * error + (0.01 if element == onnx.TensorProto.FLOAT16 else 0)
    ).all()
    assert runs.std(0).mean() == pytest.approx(single.std(1).mean() / 4, rel=0.1)


def test_examples_of_a_batch_draw_each_their_own():
    compiled = onnxsal.compile(curved(), method="smoothgrad", draws="fresh", target=1, samples=5)
    answers = run(compiled, {"x": np.repeat(X[:1], 3, 0)})["x_attribution"]
    assert not np.array_equal(answers[0], answers[1])


def test_near_kinks_the_graph_that_takes_numbers_is_looked_at(monkeypatch):
    looked, compare = [], Agreement.compare

    def compare_one_more(agreement, got, expected, *, stacked):
        compare(agreement, got, expected, stacked=stacked)
        agreement.examples.append(0.1)  # as if it stood across a kink

    monkeypatch.setattr(Agreement, "compare", compare_one_more)
    monkeypatch.setattr(check, "look_on_the_same_side", lambda proto, arrays, *_: looked.append((proto, arrays)))
    onnxsal.compile(tiny.square(), method="smoothgrad", samples=3, draws="fresh")
    ((proto, arrays),) = looked
    names = {port.name for port in proto.graph.input}
    assert "x_noise" in names
    assert names <= set(arrays)
    assert not any(node.op_type.startswith("Random") for node in proto.graph.node)


def test_the_metadata_say_how_it_was_checked():
    compiled = onnxsal.compile(curved(), method="smoothgrad", draws="fresh", target=1, samples=4)
    facts = json.loads({p.key: p.value for p in compiled.proto.metadata_props}["onnxsal"])
    assert facts["draws"]["values"] == {"x_noise": {"distribution": "normal", "of": "x", "count": 4}}
    assert "drew" in facts["draws"]["check"]
    seen = facts["checked"]["draws"]["x_noise"]
    assert abs(seen["mean"]) < 0.1
    assert abs(seen["variance"] - 1) < 0.15
    assert onnxsal.compile(curved(), method="smoothgrad", target=1, samples=4).facts["draws"] == {"from": "constant"}


def test_open_sizes_take_noise_that_constants_cannot_hold():
    nodes = [
        helper.make_node("Tanh", ["x"], ["bent"], name="tanh"),
        helper.make_node("ReduceMean", ["bent"], ["y"], name="mean", axes=[1], keepdims=1),
    ]
    model = tiny.model(nodes, [("x", tiny.FLOAT, ["N", "T"])], [("y", tiny.FLOAT, ["N", 1])])
    feeds = {"x": np.zeros((2, 9), np.float32) + np.arange(9, dtype=np.float32)}
    with pytest.raises(CompileFault, match="open sizes"):
        onnxsal.compile(model, method="smoothgrad", feeds=feeds, samples=4)
    compiled = onnxsal.compile(model, method="smoothgrad", draws="fresh", feeds=feeds, samples=4)
    assert compiled.facts["fixed"] == []
    assert run(compiled, {"x": np.ones((4, 13), np.float32)})["x_attribution"].shape == (4, 13)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_methods_that_draw_nothing_are_refused(method):
    with pytest.raises(UsageError, match=f"{method} draws no random numbers"):
        onnxsal.compile(curved(), method=method, draws="input", target=1)


def test_draws_that_decide_what_stands_in_the_file_are_refused():
    with pytest.raises(UsageError, match="masks or baselines"):
        onnxsal.compile(curved(), method="deep_lift_shap", baselines="uniform:draws=4", draws="fresh", target=1)


def test_an_unknown_way_is_refused():
    with pytest.raises(UsageError, match="no way 'frsh'"):
        onnxsal.compile(curved(), method="smoothgrad", draws="frsh", target=1)


def test_what_stays_constant_is_told():
    options = {"method": "gradient_shap", "baselines": "noise:draws=4", "target": 1, "samples": 4}
    assert onnxsal.compile(curved(), draws="fresh", **options).facts["draws"]["also_constant"]
    assert not onnxsal.compile(curved(), draws="fresh", **options | {"baselines": 0}).facts["draws"]["also_constant"]


@pytest.mark.parametrize("fault", ["constant", "scaled"])
def test_a_graph_that_draws_wrongly_is_refused(monkeypatch, fault):
    def wrong(graph: onnx.GraphProto, drawings: list[Drawing], *args: Any, **options: Any) -> onnx.GraphProto:
        drawn = drawing_graph(graph, drawings, *args, **options)
        node = next(n for n in drawn.node if n.op_type == "RandomNormalLike")
        if fault == "scaled":
            node.attribute.append(helper.make_attribute("scale", 1.5))
        else:
            node.op_type = "Identity"
        return drawn

    monkeypatch.setattr("onnxsal.compiler.compile.drawing_graph", wrong)
    with pytest.raises(ParityError, match="is not drawn normal"):
        onnxsal.compile(curved(), method="smoothgrad", draws="fresh", target=1, samples=4)


def test_settled_draws_are_the_same_in_every_example():
    compiled = onnxsal.compile(curved(), method="gradient_shap", target=1)
    answers = run(compiled, {"x": np.repeat(X[:1], 3, 0)})["x_attribution"]
    torch.testing.assert_close(answers, np.repeat(answers[:1], 3, 0), rtol=1e-6, atol=1e-7)
