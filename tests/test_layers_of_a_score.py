"""Scores from and at inner values of the graph, and with backward rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor

import onnxsal
from onnxsal.engines.torch import TorchEngine
from onnxsal.errors import UsageError
from onnxsal.importer.rules import Call
from onnxsal.score import BoundScore
from onnxsal.types import Feeds, Target
from tests import models_for_tests as tiny

X = torch.tensor([[1.0, -2.0, 3.0], [0.5, 1.0, -1.0]])


def network() -> onnx.ModelProto:
    """``y = relu(x)·[1,2,3] + x·[1,1,1]`` per example: the input reaches the output past the layer too."""
    nodes = [
        helper.make_node("Relu", ["x"], ["hidden"], name="act"),
        helper.make_node("MatMul", ["hidden", "w"], ["a"], name="first"),
        helper.make_node("MatMul", ["x", "ones"], ["b"], name="second"),
        helper.make_node("Add", ["a", "b"], ["y"], name="add"),
    ]
    constants = {"w": np.float32([[1], [2], [3]]), "ones": np.ones((3, 1), np.float32)}
    return tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 1])], constants)


def score(feeds: Feeds | None = None, output: str = "y", **options: Any) -> BoundScore:
    feeds = {"x": X} if feeds is None else feeds
    targets = [Target(output, (0,))] * 2
    engine = TorchEngine(onnxsal.load(network()), "cpu")
    return BoundScore(engine, feeds, ["x"], targets, **{"stacked": True} | options)


@pytest.mark.parametrize("name", ["hidden", "act"])
def test_a_layer_is_named_by_value_or_node(name: str) -> None:
    layer = score().layer(name)
    assert layer.names == ("hidden",)
    torch.testing.assert_close(layer.activations({"x": X})["hidden"], X.relu())
    torch.testing.assert_close(layer.gradients({"x": X})["hidden"], torch.tensor([[1.0, 2, 3]] * 2))


def test_several_layers_at_once_get_their_whole_gradients() -> None:
    gradients = score().layer("hidden", "a").gradients({"x": X})
    torch.testing.assert_close(gradients["hidden"], torch.tensor([[1.0, 2, 3]] * 2))
    torch.testing.assert_close(gradients["a"], torch.ones(2, 1))


def test_layers_follow_stacked_rows() -> None:
    rows = {"x": torch.cat([X, 2 * X, 3 * X])}
    torch.testing.assert_close(score(rows=4).layer("hidden").activations(rows)["hidden"], rows["x"].relu())


def test_a_score_at_a_layer_is_a_function_of_the_layer_alone() -> None:
    inner = score().at("hidden")
    assert list(inner.feeds) == ["hidden"]
    torch.testing.assert_close(inner.feeds["hidden"], X.relu())
    rows = {"hidden": torch.zeros(6, 3)}
    torch.testing.assert_close(inner(rows), X.sum(1).repeat(3))
    torch.testing.assert_close(inner.gradients(rows)["hidden"], torch.tensor([[1.0, 2, 3]] * 6))


def test_an_inner_value_may_be_the_target() -> None:
    torch.testing.assert_close(score(output="a")({"x": X}), X.relu() @ torch.tensor([1.0, 2, 3]))


def test_the_nodes_between_inputs_and_score() -> None:
    assert [node.name for node in score().nodes] == ["act", "first", "second", "add"]
    assert [node.name for node in score(output="a").nodes] == ["act", "first"]
    assert [node.name for node in score().at("hidden").nodes] == ["first", "add"]


def test_an_unknown_layer_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="'hidden'"):
        score().layer("hiden")


def test_a_rule_changes_the_way_back_at_its_operator_only() -> None:
    def straight_through(call: Call, gradient: Tensor) -> tuple[Tensor]:
        assert call.node.name == "act"
        return (gradient,)

    torch.testing.assert_close(
        score().gradients({"x": X}, rules={"Relu": straight_through})["x"], torch.tensor([[2.0, 3, 4]] * 2)
    )


def test_a_rule_may_be_chosen_by_node() -> None:
    def stop(call: Call, gradient: Tensor) -> tuple[Tensor]:
        return (torch.zeros_like(call.inputs[0]),)

    gradients = score().gradients({"x": X}, rules=lambda node: stop if node.name == "second" else None)
    torch.testing.assert_close(gradients["x"], torch.tensor([[1.0, 0, 3], [1, 2, 0]]))


def test_a_rule_that_asks_for_the_ordinary_gradient_changes_nothing() -> None:
    def ordinary(call: Call, gradient: Tensor) -> tuple[Tensor, ...]:
        return call.vjp(gradient)

    plain = score().gradients({"x": X})["x"]
    torch.testing.assert_close(score().gradients({"x": X}, rules=lambda _: ordinary)["x"], plain)


def test_a_rule_sees_the_reference_run() -> None:
    def rescale(call: Call, gradient: Tensor) -> tuple[Tensor]:
        assert call.reference is not None
        (x,), (x0,) = call.inputs, call.reference.inputs
        return (gradient * (call.output - call.reference.output) / (x - x0),)

    reference = {"x": torch.full_like(X, -1.0)}
    for rows in (1, 2):
        multipliers = score(rows=rows).gradients({"x": X}, rules={"Relu": rescale}, reference=reference)["x"]
        contributions = (X + 1) * multipliers.nan_to_num()
        bound = score()
        torch.testing.assert_close(contributions.sum(1), bound({"x": X}) - bound(reference))


def test_constant_inputs_of_a_call_are_known() -> None:
    seen = {}

    def look(call: Call, gradient: Tensor) -> tuple[Tensor, ...]:
        seen[call.node.name] = call.constant
        return call.vjp(gradient)

    score().gradients({"x": X}, rules=lambda _: look)
    assert seen["add"] == (False, False)
    assert seen["act"] == (False,)


def test_gradients_at_a_layer_behind_integers() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"], name="embed"),
        helper.make_node("Mul", ["embedded", "embedded"], ["y"], name="square"),
    ]
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    proto = tiny.model(nodes, [("ids", tiny.INT64, ["N"])], [("y", tiny.FLOAT, ["N", 2])], {"table": table})
    ids = {"ids": torch.tensor([2, 1])}
    bound = BoundScore(TorchEngine(onnxsal.load(proto), "cpu"), ids, ["ids"], [Target("y", (1,))] * 2, stacked=True)
    torch.testing.assert_close(bound.layer("embedded").gradients(ids)["embedded"], torch.tensor([[0.0, 10], [0, 6]]))
    inner = bound.at("embedded")
    torch.testing.assert_close(inner.gradients(inner.feeds)["embedded"], torch.tensor([[0.0, 10], [0, 6]]))


def test_other_feeds_stand_in_the_examples_place() -> None:
    """The layer's neighbours, which stay fixed, are then those of the other feeds."""
    rows = {"x": torch.cat([X + 1, X * 2, X - 1])}
    other = score(rows=2).with_feeds(rows)
    torch.testing.assert_close(other(rows), score()(rows))
    torch.testing.assert_close(other.feeds["x"], rows["x"])
    inner = other.at("hidden")
    torch.testing.assert_close(inner({"hidden": torch.zeros(12, 3)}), rows["x"].sum(1).repeat(2))
    again = inner.with_feeds({"hidden": torch.zeros(12, 3)})
    torch.testing.assert_close(again({"hidden": torch.zeros(12, 3)}), rows["x"].sum(1).repeat(2))


def test_other_feeds_of_a_call_without_a_batch_axis() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["hidden"]),
        helper.make_node("Add", ["hidden", "x"], ["both"]),
        helper.make_node("ReduceSum", ["both"], ["y"], keepdims=0),
    ]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, [2, 3])], [("y", tiny.FLOAT, [])])
    alone = BoundScore(TorchEngine(onnxsal.load(proto), "cpu"), {"x": X}, ["x"], [Target("y", ())], stacked=False)
    rows = {"x": torch.stack([X, X + 1, X * 2])}
    other = alone.with_feeds(rows)
    expected = (rows["x"].relu() + rows["x"]).sum((1, 2))
    torch.testing.assert_close(other(rows), expected)
    inner = other.at("hidden")
    torch.testing.assert_close(inner.feeds["hidden"], rows["x"].relu())
    torch.testing.assert_close(inner({"hidden": torch.zeros(3, 2, 3)}), rows["x"].sum((1, 2)))
    torch.testing.assert_close(inner.gradients(inner.feeds)["hidden"], torch.ones(3, 2, 3))
