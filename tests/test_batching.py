"""How many rows a call has: bounded by memory, and never to be seen in the result."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import onnxsal
from onnxsal import batching
from onnxsal.engines.onnxruntime import open_onnxruntime
from onnxsal.types import Feeds
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of, model
from tests.test_score import bound

X = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


def test_the_meter_counts_what_is_computed_and_no_views() -> None:
    x = torch.ones(10, 4)
    with batching.Meter() as meter:
        (x.reshape(4, 10) + 1).T.sum(0)
    assert meter.bytes == 4 * (40 + 4)


def test_large_rows_are_few_and_small_rows_many() -> None:
    large, small = {"x": torch.empty(2, 3, 572, 572, device="meta")}, {"x": torch.zeros(2, 8)}
    assert batching.first_rows(large, "cpu") < batching.FIRST_ROWS
    assert batching.first_rows(small, "cpu") == batching.MOST_ROWS
    assert batching.more_rows(small, "cpu", measured=batching.HOST_BYTES // 5) == 5
    assert batching.more_rows(small, "cpu", measured=2 * batching.HOST_BYTES) == 1


def test_rows_are_measured_at_first_and_then_as_many_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    score = bound(lambda x: (x.repeat(1, 100) ** 2).sum(1))
    feeds = {"x": torch.arange(80.0).reshape(40, 2)}
    monkeypatch.setattr("onnxsal.score.first_rows", lambda *_: 4)
    monkeypatch.setattr(batching, "HOST_BYTES", 10 * 1608)  # a row is repeated, squared and summed
    torch.testing.assert_close(score(feeds), (feeds["x"] ** 2).sum(1) * 100)
    assert score.engine.rows[-5:] == [4, 10, 10, 10, 6]  # type: ignore[attr-defined]


def test_an_asked_for_size_is_not_measured() -> None:
    score = bound(lambda x: x.sum(1), rows=5)
    score({"x": torch.zeros(12, 2)})
    assert score.engine.rows[-3:] == [5, 5, 2]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["cnn", "lstm", "transformer", "two_inputs"])
@pytest.mark.parametrize("first", [1, 2, 5])
def test_chunks_of_any_size_give_the_same_attributions(monkeypatch: pytest.MonkeyPatch, kind: str, first: int) -> None:
    options: dict[str, Any] = {"method": "integrated_gradients", "target": [2, 0, 1], "steps": 5, "verify": False}
    whole = onnxsal.explain(model(kind), inputs_of(kind), **options)
    monkeypatch.setattr("onnxsal.score.first_rows", lambda *_: first)
    monkeypatch.setattr("onnxsal.pipeline.first_rows", lambda *_: first)
    monkeypatch.setattr("onnxsal.score.more_rows", lambda *_: 4)
    parts = onnxsal.explain(model(kind), inputs_of(kind), **options)
    np.testing.assert_allclose(parts.score, whole.score, rtol=1e-12)
    for name, value in whole.values.items():
        np.testing.assert_allclose(parts.values[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "method", ["deep_lift_shap", "gradient_shap", "smoothgrad", "conductance", "kernel_shap", "recipro_cam"]
)
@pytest.mark.parametrize("first", [1, 3])
def test_no_method_shows_how_its_rows_were_cut(monkeypatch: pytest.MonkeyPatch, method: str, first: int) -> None:
    options: dict[str, Any] = {"method": method, "target": [2, 0, 1], "verify": False, "engine": "torch"}
    options |= (
        {"layer": next(n.name for n in model("cnn").graph.nodes if "Relu" in n.op_type)}
        if method == "conductance"
        else {}
    )
    whole = onnxsal.explain(model("cnn"), inputs_of("cnn"), **options)
    monkeypatch.setattr("onnxsal.score.first_rows", lambda *_: first)
    monkeypatch.setattr("onnxsal.score.more_rows", lambda *_: 2)
    parts = onnxsal.explain(model("cnn"), inputs_of("cnn"), **options)
    for name, value in whole.values.items():
        np.testing.assert_allclose(parts.values[name], value, rtol=1e-7, atol=1e-10 * np.abs(value).max())


def test_a_call_of_many_examples_is_run_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    loaded = onnxsal.load(tiny.linear())
    module = loaded.torch()
    monkeypatch.setattr(module, "forward", lambda x, f=module.forward: sizes.append(len(x)) or f(x))
    monkeypatch.setattr("onnxsal.pipeline.first_rows", lambda *_: 3)
    a = onnxsal.explain(loaded, {"x": X}, method="saliency", verify=False, target="argmax", device="cpu")
    assert sizes[:3] == [3, 3, 1]
    assert [t.index[0] for t in a.target] == list((X @ tiny.WEIGHT + tiny.BIAS).argmax(1))


def test_an_answer_without_rows_is_not_taken_apart() -> None:
    feeds = {"x": torch.ones(6, 2)}
    assert batching.in_parts(lambda f: {"y": f["x"].sum()}, feeds, ["x"], 2) is None
    assert batching.in_parts(lambda f: {"y": f["x"].T}, feeds, ["x"], 4) is None
    whole = batching.in_parts(lambda f: {"y": f["x"] * 2}, feeds, ["x"], 4)
    assert whole is not None
    torch.testing.assert_close(whole["y"], feeds["x"] * 2)


def deep(layers: int, side: int) -> onnx.ModelProto:
    names = ["x", *(f"h{i}" for i in range(layers))]
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)]
    ports = [("x", tiny.FLOAT, ["N", 3, side, side])], [(names[-1], tiny.FLOAT, None)]
    return tiny.model(nodes, *ports, {"unused": np.zeros((64, 3), np.float32)})


def test_onnxruntime_is_given_many_rows_of_a_tiny_model_and_few_of_a_large_one() -> None:
    def rows(proto: onnx.ModelProto, feeds: Feeds) -> int:
        return open_onnxruntime(onnxsal.load(proto), "cpu").rows_at_once(feeds)

    assert rows(tiny.linear(), {"x": torch.zeros(1, 3)}) == batching.MOST_ROWS
    assert rows(deep(200, 64), {"x": torch.zeros(1, 3, 64, 64)}) == batching.FIRST_ROWS
    assert rows(deep(3, 8), {"x": torch.empty(1, 3, 2048, 2048, device="meta")}) == 1


def test_onnxruntime_without_memory_is_given_fewer_rows() -> None:
    engine = open_onnxruntime(onnxsal.load(tiny.linear()), "cpu")

    class Starving:
        def run(self, *_: object) -> None:
            raise RuntimeError("bad allocation: Failed to allocate memory for requested buffer")

    engine.session = Starving()  # type: ignore[assignment]
    with pytest.raises(MemoryError):
        engine.run({"x": torch.zeros(1, 3)})
