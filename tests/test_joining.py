"""A call of more examples than the file was exported for is answered as each is alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import onnxsal
from onnxsal.engines.onnxruntime import OnnxRuntimeEngine
from onnxsal.engines.torch import TorchEngine
from onnxsal.errors import InputError, UsageError
from onnxsal.joining import calls_of
from onnxsal.parity import verify
from onnxsal.types import Attribution, Feeds, Port
from tests import corpus
from tests import models_for_tests as tiny
from tests.test_rebatching import fixed, heads

EXAMPLES = np.random.default_rng(1).standard_normal((3, 4, 3)).astype(np.float32)
TARGETS = [5, 0, 11]
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("saliency", {}),
    ("integrated_gradients", {"steps": 60}),
    ("smoothgrad", {}),
    ("gradient_shap", {}),
    ("lrp", {}),
    ("occlusion", {}),
    ("kernel_shap", {"samples": 40}),
    ("rise", {"samples": 20}),
]


def normed() -> onnx.ModelProto:
    """Values over the sum of all squares: whoever stands beside an example changes it, so the batch stays closed."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["squares"], name="square"),
        helper.make_node("ReduceSum", ["squares"], ["sum"], name="sum", keepdims=0),
        helper.make_node("Add", ["sum", "one"], ["more"], name="more"),
        helper.make_node("Div", ["x", "more"], ["d"], name="div"),
        helper.make_node("Reshape", ["d", "flat"], ["y"], name="flatten"),
    ]
    return fixed(nodes, {"one": np.float32(1), "flat": np.array([1, 12])}, [1, 12])


def alone(made: Callable[[], onnx.ModelProto], targets: list[int], **asked: Any) -> list[Attribution]:
    """Return what is said of each example by itself."""
    model = onnxsal.load(made())
    return [
        onnxsal.explain(model, {"x": x[None]}, target=target, **asked)
        for x, target in zip(EXAMPLES, targets, strict=True)
    ]


def assert_joined(found: Attribution, each: list[Attribution]) -> None:
    scale = np.abs(found.values["x"]).max()
    np.testing.assert_allclose(found.values["x"], np.concatenate([a.values["x"] for a in each]), atol=1e-4 * scale)
    np.testing.assert_allclose(found.score, np.concatenate([a.score for a in each]), rtol=1e-5)
    assert [str(t) for t in found.target] == [str(t) for a in each for t in a.target]
    assert (found.completeness is None) is (each[0].completeness is None)


@pytest.mark.parametrize(("method", "options"), METHODS, ids=[name for name, _ in METHODS])
@pytest.mark.parametrize("made", [heads, normed])
def test_examples_are_explained_as_each_alone(
    made: Callable[[], onnx.ModelProto], method: str, options: dict[str, Any]
) -> None:
    found = onnxsal.explain(onnxsal.load(made()), {"x": EXAMPLES}, method=method, target=TARGETS, seed=3, **options)
    assert_joined(found, alone(made, TARGETS, method=method, seed=3, **options))
    np.testing.assert_array_equal(found.inputs["x"], EXAMPLES)


def largest(monkeypatch: pytest.MonkeyPatch, kind: Any) -> list[int]:
    """Return a list to which the rows of every run are added."""
    rows: list[int] = []
    run = kind.run

    def counted(self: Any, values: Feeds, wanted: Any = None) -> Feeds:
        rows.append(len(values["x"]))
        return run(self, values, wanted)

    monkeypatch.setattr(kind, "run", counted)
    return rows


@pytest.mark.parametrize(("engine", "kind"), [("torch", TorchEngine), ("onnxruntime", OnnxRuntimeEngine)])
def test_many_rows_at_once_only_where_that_is_proved(engine: str, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = largest(monkeypatch, kind)
    onnxsal.explain(normed(), {"x": EXAMPLES}, method="occlusion", target=5, engine=engine)
    assert max(rows) == 1
    onnxsal.explain(heads(), {"x": EXAMPLES}, method="occlusion", target=5, engine=engine)
    assert max(rows) > 3


def test_each_rank_of_several_targets() -> None:
    found = onnxsal.explain(normed(), {"x": EXAMPLES}, target="top3")
    assert len(found.ranked) == 3
    for rank, one in enumerate(found.ranked):
        best = [int(np.argsort(-x.ravel())[rank]) for x in EXAMPLES]
        assert [t.index for t in one.target] == [(b,) for b in best]
        assert_joined(one, alone(normed, best))


def test_one_provenance_of_the_whole_call() -> None:
    model = onnxsal.load(heads())
    found = onnxsal.explain(model, {"x": torch.from_numpy(EXAMPLES)}, method="integrated_gradients", steps=1)
    (first, *_) = each = alone(heads, [int(t.index[0]) for t in found.target], method="integrated_gradients", steps=1)
    assert found.provenance.model_sha256 == first.provenance.model_sha256
    assert found.provenance.inputs_sha256 not in [one.provenance.inputs_sha256 for one in each]
    assert found.parity is not None
    assert found.parity["ok"]
    missed = np.concatenate([one.completeness for one in each])
    np.testing.assert_allclose(found.completeness, missed, atol=1e-4 * np.abs(missed).max())
    assert len(set(found.provenance.notes)) == len(found.provenance.notes)


def test_a_batch_of_two_is_called_twice_for_four() -> None:
    x = EXAMPLES.reshape(-1, 3)[:4]
    found = onnxsal.explain(tiny.linear(2), {"x": x}, method="integrated_gradients", target=[0, 1, 1, 0])
    expected = onnxsal.explain(tiny.linear(), {"x": x}, method="integrated_gradients", target=[0, 1, 1, 0])
    np.testing.assert_allclose(found.values["x"], expected.values["x"], rtol=1e-5)
    with pytest.raises(InputError, match="batches of exactly 2"):
        onnxsal.explain(tiny.linear(2), {"x": x[:3]})


def test_explanations_of_several_examples_are_measured() -> None:
    asked: dict[str, Any] = {"method": "saliency", "target": TARGETS, "metrics": ["deletion", "random_logit"]}
    found = onnxsal.evaluate(normed(), {"x": EXAMPLES}, **asked)
    for number, x in enumerate(EXAMPLES):
        one = onnxsal.evaluate(normed(), {"x": x[None]}, **asked | {"target": TARGETS[number]})
        for name, measurement in found.measurements.items():
            np.testing.assert_allclose(measurement.values[number], one.measurements[name].values[0], rtol=1e-3)


def test_inner_values_too() -> None:
    found = onnxsal.explain(normed(), {"x": EXAMPLES}, layer="d", target=5)
    assert found.values["d"].shape == (3, 4, 3)
    with pytest.raises(UsageError, match="does not count the examples"):
        onnxsal.explain(normed(), {"x": EXAMPLES}, layer="more", target=5)


def embedded(batch: int | str) -> onnx.ModelProto:
    """A sum of looked up rows, of ids beside a mask."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="gather"),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"], name="wide"),
        helper.make_node("Mul", ["rows", "wide"], ["seen"], name="seen"),
        helper.make_node("Mul", ["seen", "rows"], ["squares"], name="squares"),
        helper.make_node("ReduceSum", ["squares", "first"], ["y"], name="sum", keepdims=0),
    ]
    constants = {
        "table": np.random.default_rng(2).standard_normal((9, 2)).astype(np.float32),
        "last": np.array([-1]),
        "first": np.array([1]),
    }
    inputs = [("ids", tiny.INT64, [batch, 4]), ("mask", tiny.FLOAT, [batch, 4])]
    return tiny.model(nodes, inputs, [("y", tiny.FLOAT, [batch, 2])], constants)


def test_ids_and_what_stands_beside_them() -> None:
    ids = np.array([[1, 2, 3, 4], [5, 6, 0, 0], [7, 0, 0, 0]])
    feeds = {"ids": ids, "mask": (ids > 0).astype(np.float32)}
    asked: dict[str, Any] = {"method": "integrated_gradients", "target": [0, 1, 1], "inputs": ["ids"]}
    found, expected = (onnxsal.explain(embedded(batch), feeds, **asked) for batch in (1, "N"))
    assert expected.values["ids"][0].all()
    np.testing.assert_allclose(found.values["ids"], expected.values["ids"], rtol=1e-4, atol=1e-6)


# --- what does not count examples -------------------------------------------------------------------------------------


def pooled() -> onnx.ModelProto:
    """The mean over four nodes of a graph."""
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], name="pool", axes=[0], keepdims=1)]
    return tiny.model(nodes, [("x", tiny.FLOAT, [4, 3])], [("y", tiny.FLOAT, [1, 3])])


def test_nodes_and_frames_are_refused() -> None:
    with pytest.raises(InputError, match="first axis of output 'y' does not count examples") as refusal:
        onnxsal.explain(pooled(), {"x": np.ones((8, 3), np.float32)})
    assert "batches of exactly 4: explain as many at a time" in str(refusal.value)


def stateful() -> onnx.ModelProto:
    """One example beside a state whose first axis counts layers."""
    nodes = [
        helper.make_node("ReduceSum", ["state"], ["s"], name="sum", keepdims=0),
        helper.make_node("Mul", ["x", "s"], ["y"], name="mul"),
        helper.make_node("Add", ["state", "one"], ["next"], name="next"),
    ]
    inputs = [("x", tiny.FLOAT, [1, 3]), ("state", tiny.FLOAT, [2, 1])]
    outputs = [("y", tiny.FLOAT, [1, 3]), ("next", tiny.FLOAT, [2, 1])]
    return tiny.model(nodes, inputs, outputs, {"one": np.float32(1)})


@pytest.mark.parametrize("examples", [2, 3])
def test_what_is_the_same_for_all_examples_is_not_explained_beside_them(examples: int) -> None:
    feeds = {"x": np.ones((examples, 3), np.float32), "state": np.float32([[2], [3]])}
    with pytest.raises(InputError, match="first axis of input 'state' does not count") as refusal:
        onnxsal.explain(stateful(), feeds, target=1)
    assert "--explain-input x" in str(refusal.value)
    found = onnxsal.explain(stateful(), feeds, target=1, inputs=["x"])
    np.testing.assert_array_equal(found.values["x"], np.float32([[0, 5, 0]] * examples))
    with pytest.raises(InputError, match="output 'next'"):
        onnxsal.explain(stateful(), feeds, target="next[0]", inputs=["x"])


def ports(**shapes: Any) -> list[Port]:
    return [Port(name, "float32", shape) for name, shape in shapes.items()]


@pytest.mark.parametrize(
    ("shapes", "given", "size", "count", "divided"),
    [
        ({"a": (1, 3)}, {"a": (3, 3)}, 1, 3, {"a"}),
        ({"a": (2, 3), "b": (2,)}, {"a": (6, 3), "b": (6,)}, 2, 3, {"a", "b"}),
        ({"a": (1, 3), "b": (2, 1)}, {"a": (3, 3), "b": (2, 1)}, 1, 3, {"a"}),
        ({"a": (1, 3), "b": ("T",)}, {"a": (3, 3), "b": (5,)}, 1, 3, {"a"}),
        ({"a": (1, 3)}, {"a": (1, 3)}, None, 1, set()),
        ({"a": ("N", 3)}, {"a": (3, 3)}, None, 1, set()),
        ({"a": (2, 3)}, {"a": (3, 3)}, None, 1, set()),
        ({"a": (1, 3)}, {"a": (3, 4)}, None, 1, set()),
        ({"a": (1, 3), "b": (1,)}, {"a": (3, 3), "b": (1,)}, None, 1, set()),
        ({"a": (1, 3), "b": (1,)}, {"a": (3, 3), "b": (2,)}, None, 1, set()),
        ({"a": (1, 3), "b": ("T",)}, {"a": (3, 3), "b": (3,)}, None, 1, set()),
    ],
)
def test_which_calls_feeds_are(shapes: Any, given: Any, size: Any, count: int, divided: set[str]) -> None:
    calls = calls_of(ports(**shapes), {name: np.zeros(shape) for name, shape in given.items()})
    assert (calls.size, calls.count, calls.inputs) == (size, count, divided)


# --- models that people deploy ----------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("oww_timer", {"method": "integrated_gradients", "steps": 16}),
        ("eff_word_resnet50", {"target": 0}),
        ("dtln_1", {"target": "activation_2.sum()"}),
        ("fsmn_vad", {"target": "logits[0,3]"}),
        ("swift_f0", {"target": "confidence.mean()", "inputs": ["audio"]}),  # the others' batches cannot be opened
        ("oww_hey_jarvis", {"method": "occlusion"}),
        ("oww_hey_jarvis", {}),
    ],
)
def test_models_that_people_deploy(name: str, asked: dict[str, Any]) -> None:
    model, feeds = onnxsal.load(corpus.model(name)), corpus.inputs(name)
    several = {n: [np.roll(array, step, -1) for step in range(3)] for n, array in feeds.items() if array.ndim}
    found = onnxsal.explain(model, feeds | {n: np.concatenate(rows) for n, rows in several.items()}, **asked)
    calls = [feeds | {n: rows[example] for n, rows in several.items()} for example in range(3)]
    each = [onnxsal.explain(model, one, **asked) for one in calls]
    for explained, value in found.values.items():
        expected = np.concatenate([one.values[explained] for one in each])
        np.testing.assert_allclose(value, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["attacut_sc", "ddddocr_old_int8"])
def test_models_whose_answers_have_no_row_for_each_example(name: str) -> None:
    feeds = {n: np.concatenate([array] * 3) for n, array in corpus.inputs(name).items()}
    with pytest.raises(InputError, match="does not count examples"):
        onnxsal.explain(onnxsal.load(corpus.model(name)), feeds)


# --- verify -----------------------------------------------------------------------------------------------------------


def test_verify_compares_each_call_and_tells_the_worst() -> None:
    model = onnxsal.load(normed())
    each = [verify(model, {"x": x[None]}) for x in EXAMPLES]
    found = verify(model, {"x": EXAMPLES})
    assert found.outputs[0].max_rel == max(parity.outputs[0].max_rel for parity in each)
    assert found.ok
    strict = verify(model, {"x": EXAMPLES}, tolerance=-1.0)
    assert strict.first is not None
    assert strict.first.call == 0
