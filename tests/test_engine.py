"""The engine behind a method: chosen by what the method needs, the model allows and the machine has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import onnxsal
from onnxsal.entries import Method
from onnxsal.errors import ImportFault, InputError, ModelError, UsageError
from onnxsal.importer.lookup import default_lookup
from onnxsal.plugins import Provider, registry
from onnxsal.types import Feeds, Score
from tests import models_for_tests as tiny

X = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]], np.float32)


def without_each(score: Score, feeds: Feeds) -> Feeds:
    """What the score loses without each number."""
    lost = {}
    for name, value in feeds.items():
        flat = value.flatten(1)
        parts = [
            score(feeds | {name: flat.index_fill(1, torch.tensor([i]), 0).reshape(value.shape)})
            for i in range(flat.shape[1])
        ]
        lost[name] = (score(feeds)[:, None] - torch.stack(parts, 1)).reshape(value.shape)
    return lost


@pytest.fixture(autouse=True)
def black_box() -> Iterator[None]:
    """Install a method that only calls the score."""
    methods = registry().entries["methods"]
    registry().add("methods", Method("without_each", without_each, gradient=False), Provider("onnxsal", "0", "test"))
    yield
    del methods["without_each"]


def explained(model: Any, feeds: dict[str, Any], method: str = "without_each", **options: Any) -> onnxsal.Attribution:
    return onnxsal.explain(model, feeds, method=method, device="cpu", **options)


def test_a_method_that_only_calls_the_score_runs_the_file_itself() -> None:
    a = explained(tiny.linear(), {"x": X}, target=1)
    assert a.provenance.engine == "onnxruntime"
    assert a.parity is None  # nothing was imported
    np.testing.assert_allclose(a.values["x"], X * tiny.WEIGHT[:, 1], rtol=1e-5)


def test_gradients_and_inner_values_come_from_the_imported_graph() -> None:
    for method in ("saliency", "integrated_gradients"):
        assert explained(tiny.linear(), {"x": X}, method, target=1).provenance.engine == "torch"
    assert registry().get("methods", "score_cam").needs == "layers"
    with pytest.raises(UsageError, match="values inside the graph"):
        explained(tiny.linear(), {"x": X}, "score_cam", engine="onnxruntime")


def test_the_engine_may_be_asked_for() -> None:
    a = explained(tiny.linear(), {"x": X}, engine="torch")
    assert a.provenance.engine == "torch"
    assert a.parity is not None


def test_an_engine_is_opened_once_a_model() -> None:
    model = onnxsal.load(tiny.linear())
    explained(model, {"x": X})
    session = model.engines["onnxruntime", "cpu"].session
    explained(model, {"x": -X})
    assert model.engines["onnxruntime", "cpu"].session is session


def unknown_operator() -> onnx.ModelProto:
    """A model that ONNX Runtime runs, whose operator nobody here imports once it is `forgotten`."""
    nodes = [
        helper.make_node("Tokenizer", ["text"], ["words"], domain="com.microsoft", name="split", mark=0,
                         pad_value="", separators=[" "], mincharnum=1),
        helper.make_node("StringNormalizer", ["text"], ["same"], name="normal"),
        helper.make_node("Mul", ["x", "x"], ["y"], name="square"),
    ]  # fmt: skip
    ports = [("x", tiny.FLOAT, ["N", 3]), ("text", onnx.TensorProto.STRING, [1])]
    outputs = [("y", tiny.FLOAT, ["N", 3]), ("words", onnx.TensorProto.STRING, None)]
    proto = tiny.model(nodes, ports, outputs)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return proto


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget an operator: whatever is unknown today may be known tomorrow."""
    monkeypatch.delitem(default_lookup()._operators, ("com.microsoft", "Tokenizer"))


@pytest.mark.usefixtures("forgotten")
def test_a_model_that_cannot_be_imported_is_explained_all_the_same() -> None:
    feeds = {"x": X, "text": np.array(["how are you"], object)}
    a = explained(unknown_operator(), feeds, target=0)
    np.testing.assert_allclose(a.values["x"], X**2 * [1, 0, 0], rtol=1e-5)
    with pytest.raises(ImportFault, match=r"Tokenizer(.|\n)*methods that need no gradient: .*without_each"):
        explained(unknown_operator(), feeds, "saliency", target=0)


def tree() -> onnx.ModelProto:
    """``y = 1`` where the first feature is above 0, else 2."""
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], name="tree", domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0], nodes_values=[0.0, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0], target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[2.0, 1.0],
    )  # fmt: skip
    proto = tiny.model([node], [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 1])])
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return proto


def test_trees_are_explained_without_gradients_only() -> None:
    a = explained(tree(), {"x": X})
    np.testing.assert_allclose(a.values["x"], [[-1, 0, 0], [0, 0, 0]])
    with pytest.raises(UsageError, match=r"none passes node 'tree'(.|\n)*without_each"):
        explained(tree(), {"x": X}, "integrated_gradients")


def token_ids() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"]),
        helper.make_node("ReduceSum", ["embedded", "axes"], ["y"], keepdims=0),
    ]
    constants = {"table": np.array([[0, 0], [1, 2], [3, 5]], np.float32), "axes": np.array([1])}
    return tiny.model(nodes, [("ids", tiny.INT64, ["N", 2])], [("y", tiny.FLOAT, ["N", 2])], constants)


def test_whole_numbers_may_be_varied_where_no_gradient_is_asked_for() -> None:
    a = explained(token_ids(), {"ids": np.array([[1, 2], [2, 0]])}, target=1)
    np.testing.assert_allclose(a.values["ids"], [[2, 5], [5, 0]])


def test_an_input_of_text_is_refused_and_stays_as_it_is() -> None:
    with pytest.raises(InputError, match="'text' is no input of numbers"):
        explained(unknown_operator(), {"x": X, "text": np.array(["how"], object)}, inputs=["text"])


def test_an_accelerator_is_no_reason_to_refuse_the_original_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxsal import engine

    monkeypatch.setattr(engine, "choose_device", lambda name: "meta" if name == "auto" else name)
    method = registry().get("methods", "without_each")
    opened = engine.open_engine(onnxsal.load(tiny.linear()), method, "score", "onnxruntime", "auto")
    assert (opened.device, opened.original) == ("cpu", True)
    with pytest.raises(UsageError, match="no execution provider 'meta'"):
        engine.open_engine(onnxsal.load(tiny.linear()), method, "score", "onnxruntime", "meta")


def test_what_onnx_runtime_cannot_run_is_told_with_a_way_out() -> None:
    ports = [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 2])]
    proto = tiny.model([helper.make_node("Reshape", ["x", "shape"], ["y"])], *ports, {"shape": np.array([-1, 2])})
    with pytest.raises(ModelError, match=r"ONNX Runtime cannot run it: .*Reshape") as fault:
        explained(proto, {"x": X[:1]}, target=0)
    assert "-e torch" in str(fault.value.hint)
