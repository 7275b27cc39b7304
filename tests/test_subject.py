"""What is explained: inputs, values inside the graph in their place, numbers inside it in place of an output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.types import Attribution
from tests.methods.models import inputs_of, model
from tests.test_layers_of_a_score import network

X = np.array([[1.0, -2.0, 3.0], [0.5, 1.0, -1.0]], np.float32)


def explained(**options: Any) -> Attribution:
    return onnxsal.explain(network(), {"x": X}, **{"method": "integrated_gradients"} | options)


@pytest.mark.parametrize("name", ["hidden", "act"])
def test_a_layer_is_explained_under_its_onnx_name(name: str) -> None:
    a = explained(layer=name, method="input_x_gradient")
    assert list(a.values) == list(a.layer) == ["hidden"]
    np.testing.assert_allclose(a.values["hidden"], np.maximum(X, 0) * [1, 2, 3])
    np.testing.assert_allclose(a.inputs["hidden"], np.maximum(X, 0))
    np.testing.assert_allclose(a.score, np.maximum(X, 0) @ [1, 2, 3] + X.sum(1))


def test_several_layers_are_explained_at_once() -> None:
    a = explained(layer=["a", "b"], method="input_x_gradient")
    np.testing.assert_allclose(sum(a.values[name][:, 0] for name in ("a", "b")), a.score, rtol=1e-6)


def test_a_baseline_is_said_in_terms_of_the_inputs() -> None:
    start = np.float32([[0.5, 0.5, -7]])
    a = explained(layer="hidden", baseline={"x": start})
    np.testing.assert_allclose(a.values["hidden"], (np.maximum(X, 0) - np.maximum(start, 0)) * [1, 2, 3], rtol=1e-5)
    assert a.completeness is not None
    np.testing.assert_allclose(a.completeness, 0, atol=1e-5)


def test_baselines_and_inner_methods_follow_to_the_layer() -> None:
    several = {"x": np.float32([[0, 0, 0], [1, 1, 1]])}
    a = explained(layer="hidden", method="gradient_shap", baselines=several, samples=40)
    np.testing.assert_allclose(a.values["hidden"], (np.maximum(X, 0) - 0.5) * [1, 2, 3], atol=2)
    b = explained(layer="hidden", method="smoothgrad", of="integrated_gradients:steps=3", samples=4, noise=0.0)
    np.testing.assert_allclose(b.values["hidden"], np.maximum(X, 0) * [1, 2, 3], rtol=1e-4)


def test_a_neuron_is_explained_in_place_of_an_output() -> None:
    a = explained(neuron="hidden[2]", method="saliency")
    np.testing.assert_allclose(a.values["x"], [[0, 0, 1], [0, 0, 0]])
    assert [str(t) for t in a.target] == ["hidden[2]"] * 2
    assert a.neuron == "hidden[2]"
    assert explained(neuron="act.sum()", method="saliency").values["x"].sum() == 4


def test_a_layer_and_a_neuron_at_once() -> None:
    a = explained(layer="hidden", neuron="a[0]", method="saliency", abs=False)
    np.testing.assert_allclose(a.values["hidden"], [[1, 2, 3]] * 2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layer": "hiden"}, "did you mean 'hidden'"),
        ({"neuron": "hiden[1]"}, "did you mean 'hidden'"),
        ({"neuron": "hidden[7]"}, "outside"),
        ({"neuron": "hidden"}, None),
        ({"neuron": "hidden[1]", "target": 0}, "cannot both"),
        ({"layer": "hidden", "inputs": ["x"]}, "cannot both"),
        ({"layer": "hidden", "engine": "onnxruntime"}, "needs gradients"),
    ],
)
def test_wrong_names_are_refused(options: dict[str, Any], says: str | None) -> None:
    if says is None:  # the highest
        assert str(explained(**options).target[0]) == "hidden[2]"
        return
    with pytest.raises(UsageError, match=says):
        explained(**options)


@pytest.mark.parametrize("format", ["npz", "json", "safetensors"])
def test_what_was_explained_is_written_and_read_back(tmp_path: Path, format: str) -> None:
    a = explained(layer="hidden", neuron="a[0]")
    back = onnxsal.load_attribution(a.save(tmp_path / f"why.{format}"))
    np.testing.assert_allclose(back.values["hidden"], a.values["hidden"])
    assert (back.layer, back.neuron) == (("hidden",), "a[0]")


def test_values_that_cannot_vary_are_refused() -> None:
    shape = next(node for node in model("lstm").graph.nodes if node.op_type == "Shape")
    with pytest.raises(UsageError, match="holds int64"):
        onnxsal.explain(model("lstm"), inputs_of("lstm"), layer=shape.name, target=0, verify=False)


@pytest.mark.parametrize("kind", ["cnn", "lstm", "transformer"])
def test_layers_of_every_shape_can_be_shown(kind: str) -> None:
    names = [o for node in model(kind).graph.nodes for o in node.outputs if o]
    shown = 0
    for name in names:
        try:
            a = onnxsal.explain(model(kind), inputs_of(kind), method="saliency", layer=name, target=0, verify=False)
        except UsageError:  # shapes, and values whose first axis counts something else
            continue
        shown += 1
        assert onnxsal.render(a, "text")
        assert onnxsal.render(a, "png", dpi=20)
    assert shown >= 3
