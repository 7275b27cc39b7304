"""Models that answer with maps from class to score: the scores can be explained by their places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

import onnxsal
from onnxsal.importer.values import as_table

X = np.array([[0.5, -1.0], [2.0, 0.25]], np.float32)
WEIGHTS = [[1.0, 2.0], [-3.0, 0.5], [0.0, -1.0]]


@pytest.fixture(scope="module")
def classifier() -> onnxsal.Model:
    ml = "ai.onnx.ml"
    weights = {"coefficients": np.ravel(WEIGHTS).tolist(), "intercepts": [0.0, 0.1, 0.2]}
    nodes = [
        helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain=ml, **weights,
                         classlabels_strings=["a", "b", "c"]),
        helper.make_node("ZipMap", ["scores"], ["maps"], domain=ml, classlabels_strings=["a", "b", "c"]),
    ]  # fmt: skip
    kind = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, ["N"]),
        helper.make_value_info("maps", helper.make_sequence_type_proto(kind)),
    ]
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])]
    graph = helper.make_graph(nodes, "graph", ports, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(ml, 1)], ir_version=8)
    return onnxsal.load(model.SerializeToString())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_score_is_explained_by_its_place(classifier: onnxsal.Model, place: int) -> None:
    explained = onnxsal.explain(classifier, {"x": X}, method="saliency", target=f"maps[{place}]", abs=False)
    assert np.allclose(explained.values["x"], [WEIGHTS[place]] * 2)


def test_the_winner_is_explained_by_default(classifier: onnxsal.Model) -> None:
    explained = onnxsal.explain(classifier, {"x": X}, method="saliency", abs=False)
    scores = X @ np.array(WEIGHTS, np.float32).T + np.array([0.0, 0.1, 0.2], np.float32)
    assert np.allclose(explained.values["x"], np.array(WEIGHTS)[scores.argmax(1)])
    assert [t.output for t in explained.target] == ["maps", "maps"]


def test_onnxruntime_gives_the_same_table(classifier: onnxsal.Model) -> None:
    from onnxsal.engines.onnxruntime import open_onnxruntime
    from onnxsal.engines.torch import open_torch

    feeds = {"x": torch.from_numpy(X)}
    ours, theirs = open_torch(classifier, "cpu").run(feeds), open_onnxruntime(classifier, "cpu").run(feeds)
    assert torch.allclose(ours["maps"], theirs["maps"])


def test_other_lists_stay_as_they_are() -> None:
    tensors = [torch.zeros(2)]
    assert as_table(tensors) is tensors
    uneven = [{"a": 1.0}, {"b": 1.0}]
    assert as_table(uneven) is uneven
    assert as_table([]) == []
