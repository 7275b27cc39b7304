"""What a graph has learnt, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import onnxsal
from onnxsal.importer.weights import layers_before, shuffled
from tests import models_for_tests as tiny
from tests.methods.models import KINDS, model


def branches() -> onnxsal.Model:
    """Two layers to ``y``, one to ``z``; a resize, bounds and an axis that are no weights."""
    constants = {
        "first": np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1),
        "scales": np.float32([1, 1, 2, 2]),
        "low": np.float32(0),
        "last": np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1),
        "other": np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1),
        "bytes": np.arange(8, dtype=np.int8).reshape(2, 2, 2, 1),
        "scale": np.float32(0.1),
    }
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"]),
        helper.make_node("Resize", ["a", "", "scales"], ["b"], mode="nearest"),
        helper.make_node("Clip", ["b", "low"], ["c"]),
        helper.make_node("Conv", ["c", "last"], ["y"]),
        helper.make_node("DequantizeLinear", ["bytes", "scale"], ["kernel"]),
        helper.make_node("Conv", ["c", "other"], ["d"]),
        helper.make_node("Conv", ["d", "kernel"], ["z"]),
    ]
    ports = [("x", tiny.FLOAT, ["N", 2, 4, 4])], [(name, tiny.FLOAT, ["N", 2, None, None]) for name in "yz"]
    return onnxsal.load(tiny.model(nodes, *ports, constants))


@pytest.mark.parametrize(
    ("value", "layers"),
    [
        ("y", [("last",), ("first",)]),
        ("z", [("other",), ("bytes",), ("first",)]),
        ("c", [("first",)]),
        ("x", []),
    ],
)
def test_layers_come_from_the_value_back_to_the_inputs(value: str, layers: list[tuple[str, ...]]) -> None:
    assert layers_before(branches().graph, value) == layers


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_has_layers_and_runs_without_what_it_learnt(kind: str) -> None:
    from tests.methods.models import inputs_of

    network = model(kind)
    layers = layers_before(network.graph, network.outputs[0].name)
    assert layers
    names = [name for layer in layers for name in layer]
    inputs = inputs_of(kind).values()
    (before,) = network.torch()(*inputs)
    (after,) = network.with_graph(shuffled(network.graph, names, 0)).torch()(*inputs)
    assert after.isfinite().all()
    assert (after - before).abs().max() > 0.01
    assert (network.torch()(*inputs)[0] == before).all()


def test_weights_within_sub_graphs_are_one_layer_and_shuffled_there() -> None:
    """One branch holds a weight of its own, the other takes one from outside."""
    inside, outside = (np.random.default_rng(seed).normal(size=(3, 2)).astype(np.float32) for seed in (0, 1))
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("MatMul", ["x", weight], [f"{name}_y"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_y", tiny.FLOAT, None)],
            [numpy_helper.from_array(inside, "inside")] if weight == "inside" else [],
        )
        for name, weight in (("then", "inside"), ("else", "outside"))
    }
    ports = [("x", tiny.FLOAT, ["N", 3]), ("which", TensorProto.BOOL, [])], [("y", tiny.FLOAT, ["N", 2])]
    proto = tiny.model([helper.make_node("If", ["which"], ["y"], **branches)], *ports, {"outside": outside})
    network = onnxsal.load(proto)
    ((one, other),) = layers_before(network.graph, "y")
    random = network.with_graph(shuffled(network.graph, [one, other], 0))
    for which, weight in ((True, inside), (False, outside)):
        (found,) = random.torch()(torch.eye(3), torch.tensor(which))
        assert sorted(found.flatten().tolist()) == sorted(weight.flatten().tolist())
        assert (found.numpy() != weight).any()
        np.testing.assert_array_equal(network.torch()(torch.eye(3), torch.tensor(which))[0], weight)


def test_a_shuffle_keeps_the_numbers_and_depends_on_seed_and_name() -> None:
    graph = branches().graph
    one, again, other = (shuffled(graph, ["first", "last"], seed).constants for seed in (0, 0, 1))
    assert sorted(one["first"].flat) == sorted(graph.constants["first"].flat)
    assert one["first"].shape == (2, 2, 1, 1)
    np.testing.assert_array_equal(one["first"], again["first"])
    assert any((one[name] != other[name]).any() for name in ("first", "last"))
    assert one["other"] is graph.constants["other"]
