"""Inputs that are not floats: ids are explained at what they index, bytes at the numbers they become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxsal
from onnxsal.errors import InputError, UsageError
from onnxsal.importer.entrances import entrances_of
from onnxsal.types import Attribution
from tests import models_for_tests as tiny

RANDOM = np.random.default_rng(3)
TABLE = RANDOM.normal(size=(7, 4)).astype(np.float32)
WEIGHT = RANDOM.normal(size=(4, 2)).astype(np.float32)
IDS = np.array([[3, 1, 6], [2, 2, 5]])
WORTH = TABLE @ WEIGHT
"""What each token adds to either score."""


def model(
    before: Sequence[onnx.NodeProto],
    kind: int = TensorProto.INT64,
    shape: Sequence[Any] = ("N", "T"),
    constants: dict[str, np.ndarray] | None = None,
    more: Sequence[tuple[str, int, Sequence[Any]]] = (),
) -> onnxsal.Model:
    """Return a model whose score is the sum over all tokens of their embeddings ``e`` times a weight."""
    nodes = [
        *before,
        helper.make_node("MatMul", ["e", "weight"], ["scores"]),
        helper.make_node("ReduceSum", ["scores", "places"], ["y"], keepdims=0),
    ]
    held = {"table": TABLE, "weight": WEIGHT, "places": np.array([1]), **(constants or {})}
    return onnxsal.load(tiny.model(nodes, [("ids", kind, shape), *more], [("y", tiny.FLOAT, ["N", 2])], held))


LOOKUP = [helper.make_node("Gather", ["table", "ids"], ["e"])]


def explained(
    model: onnxsal.Model, ids: np.ndarray = IDS, method: str = "integrated_gradients", **options: Any
) -> Attribution:
    more = options.pop("feeds", {})
    return onnxsal.explain(model, {"ids": ids, **more}, method=method, device="cpu", **{"target": 1} | options)


def worth(ids: np.ndarray = IDS) -> np.ndarray:
    return WORTH[ids.astype(int), 1]


def test_ids_are_explained_at_the_embedding_they_index() -> None:
    a = explained(model(LOOKUP))
    np.testing.assert_allclose(a.values["ids"], worth(), rtol=1e-5)
    assert a.values["ids"].dtype == np.float32
    assert a.inputs["ids"].dtype == np.int64
    np.testing.assert_allclose(a.completeness, 0, atol=1e-5)


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "gradient_shap", "smoothgrad"])
def test_gradient_methods_need_know_nothing_of_it(method: str) -> None:
    a = explained(model(LOOKUP), method=method)
    assert a.values["ids"].shape == IDS.shape
    if method == "saliency":
        np.testing.assert_allclose(a.values["ids"], np.abs(WEIGHT[:, 1]).sum(), rtol=1e-5)
    if method == "input_x_gradient":
        np.testing.assert_allclose(a.values["ids"], worth(), rtol=1e-5)


def cast(to: int) -> list[onnx.NodeProto]:
    return [helper.make_node("Cast", ["ids"], ["whole"], to=to), helper.make_node("Gather", ["table", "whole"], ["e"])]


WAYS: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray]]] = {
    "cast": (cast(TensorProto.INT32), {}),
    "shifted": (
        [helper.make_node("Sub", ["ids", "one"], ["less"]), helper.make_node("Gather", ["table", "less"], ["e"])],
        {"one": np.array(1)},
    ),
    "turned": (
        [
            helper.make_node("Transpose", ["ids"], ["turned"]),
            helper.make_node("Gather", ["table", "turned"], ["wrong"]),
            helper.make_node("Transpose", ["wrong"], ["e"], perm=[1, 0, 2]),
        ],
        {},
    ),
    "one-hot by Equal": (
        [
            helper.make_node("Unsqueeze", ["ids", "last"], ["deep"]),
            helper.make_node("Equal", ["deep", "classes"], ["same"]),
            helper.make_node("Cast", ["same"], ["hot"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["hot", "table"], ["e"]),
        ],
        {"last": np.array([-1]), "classes": np.arange(7).reshape(1, 1, 7)},
    ),
    "OneHot": (
        [
            helper.make_node("OneHot", ["ids", "depth", "ends"], ["hot"]),
            helper.make_node("MatMul", ["hot", "table"], ["e"]),
        ],
        {"depth": np.array(7), "ends": np.float32([0, 1])},
    ),
    "8-bit table": (
        [
            helper.make_node("Gather", ["small", "ids"], ["picked"]),
            helper.make_node("DequantizeLinear", ["picked", "scale", "zero"], ["e"]),
        ],
        {"small": np.round(TABLE * 25).astype(np.int8), "scale": np.float32(1 / 25), "zero": np.int8(0)},
    ),
    "half table": (
        [
            helper.make_node("Cast", ["half"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("Gather", ["wide", "ids"], ["e"]),
        ],
        {"half": TABLE.astype(np.float16)},
    ),
}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "turned"])
def test_the_embedding_is_found_whatever_leads_to_it(way: str) -> None:
    nodes, constants = WAYS[way]
    ids = IDS + 1 if way == "shifted" else IDS
    a = explained(model(nodes, constants=constants), ids, steps=4)
    np.testing.assert_allclose(a.values["ids"], worth(), atol=0.05 if "table" in way else 1e-5)


def test_tokens_come_back_in_their_places_where_they_were_moved() -> None:
    nodes, constants = WAYS["turned"]
    a = explained(model(nodes, constants=constants), IDS[:1])
    np.testing.assert_allclose(a.values["ids"], worth()[:1], rtol=1e-5)
    with pytest.raises(UsageError, match="one example at a time"):
        explained(model(nodes, constants=constants))


def test_ids_fed_as_floats_are_found() -> None:
    a = explained(model(cast(TensorProto.INT64), TensorProto.FLOAT), IDS.astype(np.float32))
    np.testing.assert_allclose(a.values["ids"], worth(), rtol=1e-5)


def test_a_float_that_is_computed_with_is_no_id() -> None:
    nodes = [helper.make_node("Mul", ["ids", "ids"], ["square"]), *cast(TensorProto.INT64)]
    proto = model(nodes, TensorProto.FLOAT)
    assert entrances_of(proto.graph, "ids") == ()


def test_rows_of_one_input_may_index_several_tables() -> None:
    nodes = [
        helper.make_node("Gather", ["ids", "first"], ["words"], axis=1),
        helper.make_node("Gather", ["ids", "second"], ["signs"], axis=1),
        helper.make_node("Gather", ["table", "words"], ["a"]),
        helper.make_node("Gather", ["other", "signs"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["e"]),
    ]
    constants = {"first": np.array(0), "second": np.array(1), "other": 2 * TABLE[::-1].copy()}
    ids = np.stack([IDS, IDS[::-1]], 1)
    a = explained(model(nodes, shape=["N", 2, "T"], constants=constants), ids)
    np.testing.assert_allclose(a.values["ids"], np.stack([worth(), 2 * WORTH[6 - IDS[::-1], 1]], 1), rtol=1e-5)


def test_columns_of_categories_are_explained_beside_numbers_where_asked() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["looked"]),
        helper.make_node("Add", ["looked", "numbers"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "places"], ["e"]),
    ]
    mixed = model(nodes, shape=["N"], more=[("numbers", tiny.FLOAT, ["N", 4])])
    numbers = RANDOM.normal(size=(2, 4)).astype(np.float32)
    ids = np.array([4, 0])
    a = explained(mixed, ids, feeds={"numbers": numbers}, target="y[1]", inputs=["numbers", "ids"])
    assert list(a.values) == ["numbers", "ids"]
    np.testing.assert_allclose(a.values["ids"], WORTH[ids, 1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(a.values["numbers"], numbers * WEIGHT[:, 1], rtol=1e-4, atol=1e-6)
    assert list(explained(mixed, ids, feeds={"numbers": numbers}).values) == ["numbers"]


def test_a_baseline_may_be_a_token_or_ids() -> None:
    expected = worth() - WORTH[6, 1]
    for baseline in ("token:id=6", {"ids": np.full((1, 3), 6)}):
        a = explained(model(LOOKUP), baseline=baseline)
        np.testing.assert_allclose(a.values["ids"], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(a.completeness, 0, atol=1e-5)


def masked() -> onnxsal.Model:
    """Return a model in which what the mask hides counts all the same, as no model should."""
    nodes = [
        helper.make_node("Cast", ["mask"], ["seen"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["seen", "last"], ["wide"]),
        helper.make_node("Gather", ["table", "ids"], ["words"]),
        helper.make_node("Add", ["words", "wide"], ["e"]),
    ]
    return model(nodes, constants={"last": np.array([-1])}, more=[("mask", TensorProto.INT64, ["N", "T"])])


@pytest.mark.parametrize("method", ["integrated_gradients", "saliency", "smoothgrad", "gradient_shap"])
def test_what_a_mask_fills_up_gets_nothing(method: str) -> None:
    ids, mask = np.array([[3, 1, 0, 0], [2, 5, 6, 0]]), np.array([[1, 1, 0, 0], [1, 1, 1, 0]])
    a = explained(masked(), ids, method, feeds={"mask": mask})
    assert list(a.values) == ["ids"]
    assert (a.values["ids"] != 0).astype(int).tolist() == mask.tolist()
    if method == "integrated_gradients":
        np.testing.assert_allclose(a.values["ids"], worth(ids) * mask, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(a.completeness, 0, atol=1e-5)


def test_a_mask_meant_the_other_way_round_hides_no_words() -> None:
    ids, mask = np.array([[3, 1, 0, 0]]), np.array([[0, 0, 1, 1]])
    assert explained(masked(), ids, feeds={"mask": mask}).values["ids"][0, :2].all()


def test_what_kind_of_token_one_is_stays_fixed() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"]),
        helper.make_node("Gather", ["kinds", "types"], ["kind"]),
        helper.make_node("Add", ["words", "kind"], ["e"]),
    ]
    two = model(nodes, constants={"kinds": TABLE[:2]}, more=[("types", TensorProto.INT64, ["N", "T"])])
    types = np.array([[0, 0, 1], [0, 1, 1]])
    assert list(explained(two, feeds={"types": types}).values) == ["ids"]
    a = explained(two, feeds={"types": types}, inputs=["types"])
    np.testing.assert_allclose(a.values["types"], WORTH[types, 1], rtol=1e-4)


def test_ids_inside_a_fused_embedding_are_explained_where_it_ends() -> None:
    fused = helper.make_node(
        "EmbedLayerNormalization",
        ["ids", "", "table", "where", "", "gain", "shift"],
        ["e", "lengths"],
        domain="com.microsoft",
    )
    constants = {
        "where": RANDOM.normal(size=(5, 4)).astype(np.float32),
        "gain": np.ones(4, np.float32),
        "shift": np.zeros(4, np.float32),
    }
    nodes = [
        fused,
        helper.make_node("MatMul", ["e", "weight"], ["scores"]),
        helper.make_node("ReduceSum", ["scores", "places"], ["y"], keepdims=0),
    ]
    held = {"table": TABLE, "weight": WEIGHT, "places": np.array([1]), **constants}
    proto = tiny.model(nodes, [("ids", TensorProto.INT32, ["N", "T"])], [("y", tiny.FLOAT, ["N", 2])], held)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    a = explained(onnxsal.load(proto), IDS.astype(np.int32))
    np.testing.assert_allclose(a.values["ids"].sum(1), a.score, rtol=1e-4)


def test_pictures_of_bytes_are_explained_at_the_numbers_they_become() -> None:
    nodes = [helper.make_node("Cast", ["ids"], ["e"], to=TensorProto.FLOAT)]
    pixels = RANDOM.integers(0, 255, (2, 3, 4)).astype(np.uint8)
    a = explained(model(nodes, TensorProto.UINT8, ["N", 3, 4]), pixels)
    np.testing.assert_allclose(a.values["ids"], pixels * WEIGHT[:, 1], rtol=1e-4)


def test_classes_have_no_gradient_and_what_stands_before_them_is_named() -> None:
    nodes = [
        *LOOKUP,
        helper.make_node("MatMul", ["e", "weight"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["best"], axis=2),
    ]
    held = {"table": TABLE, "weight": WEIGHT}
    tagger = tiny.model(nodes, [("ids", TensorProto.INT64, ["N", "T"])], [("best", TensorProto.INT64, None)], held)
    with pytest.raises(UsageError, match=r"holds int64(.|\n)*--neuron 'y\["):
        onnxsal.explain(tagger, {"ids": IDS}, target="best[0,0]", method="saliency")
    a = onnxsal.explain(tagger, {"ids": IDS}, neuron="y[0,1]", method="integrated_gradients")
    np.testing.assert_allclose(a.values["ids"], worth() * [1, 0, 0], rtol=1e-4, atol=1e-6)


def test_ids_that_are_lost_sight_of_are_refused_with_a_way_out() -> None:
    nodes = [
        helper.make_node("Mul", ["ids", "ids"], ["same"]),
        helper.make_node("Gather", ["table", "same"], ["e"]),
    ]
    with pytest.raises(InputError, match="no input with a gradient"):
        explained(model(nodes), IDS % 3)


def test_tokens_are_drawn_and_told() -> None:
    a = explained(model(LOOKUP), IDS[:1])
    assert b"ids[0] = 3" in onnxsal.render(a, "text")
    many = model(LOOKUP, constants={"table": np.ones((30_000, 4), np.float32)})
    assert b"ids[1] = 29876" in onnxsal.render(explained(many, np.array([[1, 29876]])), "text")
    assert onnxsal.render(a, "png", dpi=30)


@pytest.mark.parametrize("method", ["integrated_gradients", "saliency", "feature_ablation", "occlusion", "kernel_shap"])
def test_tokens_that_are_kept_get_nothing(method: str) -> None:
    ids = np.array([[6, 1, 3, 5], [6, 2, 2, 5]])
    a = explained(model(LOOKUP), ids, method, keep_tokens=[6, 5])
    assert (a.values["ids"] != 0).tolist() == [[False, True, True, False]] * 2
    assert any("4 of 8 ids" in note for note in a.provenance.notes)
    if method != "saliency":
        base = 0 if method == "integrated_gradients" else WORTH[0, 1]
        np.testing.assert_allclose(a.values["ids"][:, 1:3], worth(ids)[:, 1:3] - base, rtol=1e-3)


def test_black_boxes_vary_ids_and_no_masks() -> None:
    ids, mask = np.array([[3, 1, 0, 0]]), np.array([[1, 1, 0, 0]])
    a = explained(masked(), ids, "feature_ablation", feeds={"mask": mask})
    assert a.provenance.engine == "onnxruntime"
    np.testing.assert_allclose(a.values["ids"], (worth(ids) - WORTH[0, 1]) * mask, rtol=1e-4, atol=1e-6)
