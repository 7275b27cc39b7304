"""``onnxsal verify``."""

from __future__ import annotations

import json

import onnx
import pytest
from onnx import helper

from onnxsal.importer.lookup import default_lookup
from tests import models_for_tests as tiny


@pytest.fixture
def wrong_tanh(folder, monkeypatch):
    """Put a model there whose second node the importer gets wrong."""
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"], name="first"),
        helper.make_node("Tanh", ["positive"], ["squashed"], name="second"),
        helper.make_node("Neg", ["squashed"], ["y"], name="third"),
    ]
    onnx.save(tiny.model(nodes, [("x", tiny.FLOAT, [1, 4])], [("y", tiny.FLOAT, [1, 4])]), folder / "wrong.onnx")
    for operator, _ in default_lookup():
        if operator.name == "Tanh":
            monkeypatch.setattr(operator, "function", lambda input: input * 2)


def test_agreement_is_a_table_and_zero(run):
    result = run("verify", "model.onnx", "x.npy")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split()[:2] == ["ok", "logits"]
    assert result.stderr == ""


def test_an_input_is_drawn_where_none_is_given(run):
    found = json.loads(run("verify", "model.onnx", "--json", "--seed", "3").stdout)
    assert found["ok"] is True
    assert found["outputs"][0]["scale"] > 0


@pytest.mark.usefixtures("wrong_tanh")
def test_a_difference_names_the_first_node_and_is_six(run):
    result = run("verify", "wrong.onnx", "one.npy")
    assert result.exit_code == 6
    assert result.stdout.splitlines()[1].startswith("DIFFERS  y")
    assert "the first to differ is node 'second' (Tanh)" in result.stdout
    assert result.stderr.startswith("error: wrong.onnx: output 'y' differs")
    found = run("verify", "wrong.onnx", "one.npy", "--json")
    assert json.loads(found.stdout)["first"]["node"] == "second"
    assert json.loads(found.stderr)["error"]["exit_code"] == 6


@pytest.mark.usefixtures("wrong_tanh")
def test_explain_refuses_what_differs(run):
    result = run("explain", "wrong.onnx", "one.npy", "-t", "0", "-o", "why.npz")
    assert result.exit_code == 6
    assert "'second'" in result.stderr
    accepted = run("explain", "wrong.onnx", "one.npy", "-t", "0", "-o", "why.npz", "--no-verify")
    assert accepted.exit_code == 0


def test_a_tolerance_of_the_file_holds(run, folder):
    (folder / "onnxsal.toml").write_text("[verify]\ntolerance = 0.25\n[explain]\nseed = 1\n")
    assert json.loads(run("verify", "model.onnx", "--json").stdout)["tolerance"] == 0.25
    assert json.loads(run("verify", "model.onnx", "--json", "--tolerance", "0.5").stdout)["tolerance"] == 0.5


def test_an_input_that_does_not_fit_is_four(run):
    assert run("verify", "model.onnx", "-i", "z=one.npy").exit_code == 4


@pytest.mark.usefixtures("wrong_tanh")
def test_the_node_that_differs_is_a_model_of_its_own(run, folder):
    result = run("verify", "wrong.onnx", "one.npy", "--export-node", "node.onnx")
    assert result.exit_code == 6
    assert "  imported      [1, 4] from" in result.stdout
    assert "  ONNX Runtime  [1, 4] from" in result.stdout
    alone = onnx.load(folder / "node.onnx")
    assert [node.name for node in alone.graph.node] == ["second"]
    again = run("verify", "node.onnx", "node.npz", "--json")
    assert again.exit_code == 6
    found = json.loads(again.stdout)
    assert found["first"]["node"] == "second"
    assert found["first"]["theirs"]["largest"] <= 1 < found["first"]["ours"]["largest"]


def test_where_nothing_differs_nothing_is_exported(run, folder):
    result = run("verify", "model.onnx", "x.npy", "--export-node", "node.onnx")
    assert result.exit_code == 0
    assert "nothing is exported" in result.stderr
    assert not (folder / "node.onnx").exists()
