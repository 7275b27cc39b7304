"""A batch of one, opened where that changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

import onnxsal
from onnxsal.engines.onnxruntime import OnnxRuntimeEngine
from onnxsal.engines.torch import TorchEngine
from onnxsal.importer.rebatch import rebatch
from onnxsal.model import Model
from onnxsal.rebatching import rebatched
from onnxsal.score import BoundScore
from onnxsal.types import Feeds, Target
from tests import corpus
from tests import models_for_tests as tiny

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 4, 3)


def fixed(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], out: list[int], **more: int
) -> onnx.ModelProto:
    """Return a model from ``x`` of shape [1, 4, 3] to ``y``."""
    return tiny.model(nodes, [("x", tiny.FLOAT, [1, 4, 3])], [("y", tiny.FLOAT, out)], constants, **more)


def heads() -> onnx.ModelProto:
    """Values put into heads and back, as exporters of transformers write it."""
    nodes = [
        helper.make_node("Reshape", ["x", "split"], ["h"], name="split"),
        helper.make_node("Transpose", ["h"], ["t"], name="turn", perm=[0, 2, 1, 3]),
        helper.make_node("Softmax", ["t"], ["s"], name="softmax"),
        helper.make_node("Reshape", ["s", "joined"], ["y"], name="join"),
    ]
    return fixed(nodes, {"split": np.array([1, 2, 2, 3]), "joined": np.array([1, -1])}, [1, 12])


def below_one_another() -> onnx.ModelProto:
    """The batch goes into the rows of a matrix and comes back by a shape that is put together."""
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["r"], name="rows"),
        helper.make_node("MatMul", ["r", "w"], ["m"], name="product"),
        helper.make_node("Concat", ["one", "rest"], ["back"], name="shape", axis=0),
        helper.make_node("Reshape", ["m", "back"], ["y"], name="back"),
    ]
    constants = {
        "rows": np.array([4, 3]),
        "w": np.arange(6, dtype=np.float32).reshape(3, 2),
        "one": np.array([1]),
        "rest": np.array([4, 2]),
    }
    return fixed(nodes, constants, [1, 4, 2])


def recurrent() -> onnx.ModelProto:
    """A GRU that starts from a constant state, over time-major values."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], name="time", perm=[1, 0, 2]),
        helper.make_node("GRU", ["t", "w", "r", "", "", "h0"], ["", "h"], name="gru", hidden_size=2),
        helper.make_node("Transpose", ["h"], ["y"], name="back", perm=[1, 0, 2]),
    ]
    constants = {
        "w": random.standard_normal((1, 6, 3)).astype(np.float32),
        "r": random.standard_normal((1, 6, 2)).astype(np.float32),
        "h0": np.float32([[[0.5, -0.5]]]),
    }
    return fixed(nodes, constants, [1, 1, 2])


def class_token() -> onnx.ModelProto:
    """A constant row put before the values of each example."""
    nodes = [helper.make_node("Concat", ["token", "x"], ["y"], name="token", axis=1)]
    return fixed(nodes, {"token": np.float32([[[7, 8, 9]]])}, [1, 5, 3])


@pytest.mark.parametrize("made", [heads, below_one_another, recurrent, class_token])
def test_what_exporters_fix_is_opened(made: Callable[[], onnx.ModelProto]) -> None:
    model = onnxsal.load(made())
    opened = rebatched(model, {"x": X})
    assert opened is not None
    examples = np.concatenate([X, X[:, ::-1] * 3, X**2])
    together = opened.session().run(None, {"x": examples})[0]
    alone = [model.session().run(None, {"x": x[None]})[0] for x in examples]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5)
    (imported,) = opened.torch()(torch.from_numpy(examples))
    np.testing.assert_allclose(imported.numpy(), together, rtol=1e-5, atol=1e-6)


def test_names_and_the_file_itself_stay() -> None:
    proto = heads()
    before = proto.SerializeToString()
    opened = rebatched(onnxsal.load(proto), {"x": X})
    assert proto.SerializeToString() == before
    assert opened is not None
    assert {"split", "turn", "softmax", "join"} <= {node.name for node in opened.graph.nodes}
    assert {"h", "t", "s", "y"} <= {name for node in opened.graph.nodes for name in node.outputs}


def mixing() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], name="largest", keepdims=0),
        helper.make_node("Div", ["x", "m"], ["y"], name="div"),
    ]
    return fixed(nodes, {}, [1, 4, 3])


def choosing() -> onnx.ModelProto:
    def branch(name: str, op_type: str) -> onnx.GraphProto:
        node = helper.make_node(op_type, ["x"], [name])
        return helper.make_graph([node], name, [], [helper.make_empty_tensor_value_info(name)])

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], name="largest", keepdims=0),
        helper.make_node("Greater", ["m", "limit"], ["c"], name="compare"),
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch("t", "Neg"), else_branch=branch("e", "Abs")),
    ]
    return fixed(nodes, {"limit": np.float32(1e6)}, [1, 4, 3])


def without_a_row() -> onnx.ModelProto:
    nodes = [helper.make_node("Reshape", ["x", "flat"], ["y"], name="flat")]
    return fixed(nodes, {"flat": np.array([-1])}, [12])


def rounding_by_all() -> onnx.ModelProto:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="dequantize"),
    ]
    return fixed(nodes, {}, [1, 4, 3])


@pytest.mark.parametrize("made", [mixing, choosing, without_a_row, rounding_by_all])
def test_a_model_whose_examples_would_meet_stays_as_it_is(made: Callable[[], onnx.ModelProto]) -> None:
    assert rebatched(onnxsal.load(made()), {"x": X}) is None


def test_a_choice_by_the_numbers_is_not_even_tried() -> None:
    """The examples it would be tried on might all choose the same branch."""
    assert list(rebatch(choosing())) == []


def test_what_was_found_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for proto, found in ((heads(), True), (mixing(), False)):
        model = onnxsal.load(tiny.save(proto, tmp_path))
        assert (rebatched(model, {"x": X}) is not None) is found
        with monkeypatch.context() as patch:
            patch.setattr(Model, "session", lambda *_, **__: pytest.fail("ran again"))
            assert (rebatched(model, {"x": X}) is not None) is found


def test_external_data_are_found_from_the_opened_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(below_one_another(), path, save_as_external_data=True, location="weights.bin", size_threshold=52)
    opened = rebatched(onnxsal.load(path), {"x": X})
    assert opened is not None
    assert opened.session().run(None, {"x": np.concatenate([X, X])})[0].shape == (2, 4, 2)


@pytest.mark.parametrize("kind", [TorchEngine, OnnxRuntimeEngine])
def test_a_score_answers_many_rows_at_once(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    run = kind.run

    def counted(self: Any, values: Feeds, wanted: Any = None) -> Feeds:
        rows.append(len(values["x"]))
        return run(self, values, wanted)

    monkeypatch.setattr(kind, "run", counted)
    model = onnxsal.load(heads())
    score = BoundScore(
        kind(model, "cpu"), {"x": torch.from_numpy(X)}, ["x"], [Target("y", (5,))], stacked=True, rows=12
    )
    many = torch.from_numpy(X).repeat(12, 1, 1) * torch.arange(12.0).reshape(-1, 1, 1)
    answers = score({"x": many})
    assert max(rows) == 12
    alone = [model.session().run(None, {"x": x[None].numpy()})[0][0, 5] for x in many]
    np.testing.assert_allclose(answers.numpy(), alone, rtol=1e-5)


def test_gradients_too() -> None:
    a = onnxsal.explain(heads(), {"x": X}, method="integrated_gradients", target=5, steps=20)
    assert np.abs(a.completeness).max() < 1e-3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchEngine, "rebatched", lambda *_: None)
        alone = onnxsal.explain(heads(), {"x": X}, method="integrated_gradients", target=5, steps=20)
    np.testing.assert_allclose(a.values["x"], alone.values["x"], rtol=1e-4, atol=1e-7)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "opens"),
    [
        *((n, True) for n in ("fsmn_vad", "eff_word_resnet50", "dtln_1", "oww_timer", "unidic_imitator")),
        ("ddddocr_old_int8", False),  # rounds by the range of the whole batch
        ("swift_f0", False),  # the frames of all examples in one axis, which is padded at its ends
        ("aecmos", False),  # the first two of all answers are treated apart
        ("oww_hey_jarvis", False),  # chooses a branch by its answer
        ("attacut_sc", False),  # an answer without an axis for the examples
        ("khmersm", False),  # a batch of one written into the middle of shapes
        ("minimol_gnn", False),  # the first axis counts nodes
    ],
)
def test_models_that_people_deploy(name: str, opens: bool) -> None:
    assert (rebatched(onnxsal.load(corpus.model(name)), corpus.inputs(name)) is not None) is opens
