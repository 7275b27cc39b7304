"""Inputs that a compiled file holds and no longer takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import onnxsal
from onnxsal.errors import CompileFault, InputError, UsageError
from tests import models_for_tests as tiny

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def branching() -> onnx.ModelProto:
    """Return ``x * x`` at a rate of 2, ``3 x`` at any other."""
    branches = {
        "then_branch": helper.make_node("Mul", ["x", "x"], ["squared"], name="square"),
        "else_branch": helper.make_node("Mul", ["x", "three"], ["tripled"], name="triple"),
    }
    bodies = {
        name: helper.make_graph([node], name, [], [helper.make_tensor_value_info(node.output[0], tiny.FLOAT, ["N", 3])])
        for name, node in branches.items()
    }
    nodes = [
        helper.make_node("Equal", ["rate", "two"], ["is_two"], name="compare"),
        helper.make_node("If", ["is_two"], ["y"], name="decide", **bodies),
    ]
    ports = [("x", tiny.FLOAT, ["N", 3]), ("rate", TensorProto.INT64, [])]
    constants = {"two": np.array(2, np.int64), "three": np.array(3, np.float32)}
    return tiny.model(nodes, ports, [("y", tiny.FLOAT, ["N", 3])], constants)


@pytest.mark.parametrize(("rate", "expected"), [(2, 2 * X), (5, np.full_like(X, 3))])
def test_the_branch_of_a_fixed_input(rate: int, expected: np.ndarray) -> None:
    compiled = onnxsal.compile(branching(), target="y.sum()", fixed={"rate": rate}, abs=False)
    assert compiled.inputs == ["x"]
    assert compiled.facts["fixed_inputs"] == {"rate": rate}
    assert compiled.facts["model_sha256"] == onnxsal.load(branching()).sha256
    session = onnxruntime.InferenceSession(compiled.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    y, attribution = session.run(None, {"x": X})
    np.testing.assert_allclose(y, X * X if rate == 2 else 3 * X, rtol=1e-6)
    np.testing.assert_allclose(attribution, expected, rtol=1e-6)


def test_a_branch_that_an_input_decides_says_how_to_fix_it() -> None:
    with pytest.raises(CompileFault, match=r"(?s)decides which branch is run.*--fix"):
        onnxsal.compile(branching(), target="y.sum()", feeds={"x": X, "rate": np.array(2)})


@pytest.mark.parametrize(
    ("fixed", "fault", "says"),
    [
        ({"rat": 2}, UsageError, "did you mean 'rate'"),
        ({"rate": 2, "x": X}, UsageError, "no input is left"),
        ({"rate": "fast"}, InputError, "cannot be fixed to 'fast'"),
        ({"x": X[:, :2]}, InputError, r"shape \[4, 2\]"),
    ],
)
def test_what_cannot_be_fixed(fixed: dict[str, object], fault: type[Exception], says: str) -> None:
    with pytest.raises(fault, match=says):
        onnxsal.compile(branching(), target="y.sum()", fixed=fixed)


def test_fixed_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from onnxsal.cli import group

    monkeypatch.chdir(tmp_path)
    onnx.save(branching(), "model.onnx")
    asked = ["compile", "model.onnx", "-t", "y.sum()", "-o", "out.onnx"]
    assert CliRunner().invoke(group, [*asked, "--fix", "rate=fast"]).exit_code == 2
    assert CliRunner().invoke(group, [*asked, "--fix", "rate=2"]).exit_code == 0
    assert [value.name for value in onnx.load("out.onnx").graph.input] == ["x"]
