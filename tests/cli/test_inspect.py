"""``onnxsal inspect``."""

from __future__ import annotations

import json

import numpy as np
import onnx
from onnx import helper

from tests import models_for_tests as tiny


def test_it_tells_ports_operators_and_gradients(run):
    result = run("inspect", "model.onnx")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "input x float32 [batch, 4]" in lines
    assert "output logits float32 [batch, 3]" in lines
    assert "parameters 12 (48 bytes)" in lines
    assert any(line.startswith("MatMul 1 1 yes onnxsal") for line in lines)
    assert "logits x" in lines


def test_json_carries_the_same_facts(run, folder):
    found = json.loads(run("inspect", "model.onnx", "--json").stdout)
    assert found["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 4]}]
    assert found["size"] == (folder / "model.onnx").stat().st_size
    assert found["opset"] == {"": 17}
    assert found["supported"] is True
    assert [use["name"] for use in found["operators"]] == ["MatMul"]


def test_nodes_are_named_where_asked_for(run):
    assert "classify" not in run("inspect", "model.onnx").stdout
    assert "classify" in run("inspect", "model.onnx", "--nodes").stdout


def test_unsupported_operators_are_told_and_no_fault(run, folder):
    nodes = [helper.make_node("Whirl", ["x"], ["y"], name="turn", domain="com.example")]
    onnx.save(tiny.model(nodes, [("x", tiny.FLOAT, [2])], [("y", tiny.FLOAT, [2])]), folder / "odd.onnx")
    result = run("inspect", "odd.onnx")
    assert result.exit_code == 0
    assert "node 'turn': Whirl of domain 'com.example' is unknown" in result.stdout
    found = json.loads(run("inspect", "odd.onnx", "--json").stdout)
    assert found["supported"] is False
    assert found["gradients"] == [
        {
            "output": "y",
            "reaches": [],
            "cut": "node 'turn' (com.example.Whirl, opset 1)",
            "why": "is served by nobody, so that its slope is unknown",
        }
    ]


def test_what_is_no_model_is_a_fault(run, folder):
    (folder / "text.onnx").write_text("this is no model")
    result = run("inspect", "text.onnx")
    assert result.exit_code == 3
    assert result.stdout == ""


def test_layers_are_named_and_tokens_are_told_where_to_go(run, folder):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"], name="embed"),
        helper.make_node("ReduceMean", ["embedded"], ["y"], name="mean", axes=[1]),
    ]
    table = {"table": np.ones((5, 3), np.float32)}
    proto = tiny.model(nodes, [("ids", tiny.INT64, ["N", 4])], [("y", tiny.FLOAT, None)], table)
    onnx.save(proto, folder / "tokens.onnx")
    shown = run("inspect", "tokens.onnx").stdout
    assert "embedding  1 of 1  Gather   embedded" in shown
    assert "explain the embeddings (--layer)" in shown
    facts = json.loads(run("inspect", "tokens.onnx", "--json").stdout)
    assert facts["layers"] == [{"kind": "embedding", "value": "embedded", "node": "embed", "operators": ["Gather"]}]


def test_where_a_gradient_ends_comes_with_the_reason(run, folder):
    nodes = [helper.make_node("Floor", ["x"], [f"y{i}"], name=f"floor {i}") for i in range(5)]
    onnx.save(tiny.model(nodes, [("x", tiny.FLOAT, [2])], [(f"y{i}", tiny.FLOAT, [2]) for i in range(5)]),
              folder / "cut.onnx")  # fmt: skip
    shown = run("inspect", "cut.onnx").stdout
    assert "floor 0, floor 1, floor 2 and 2 more  stays where it is when its input moves a little: round down" in shown
    assert "floor 3, floor 4  stays where" in run("inspect", "cut.onnx", "--nodes").stdout
