"""``onnxsal compile``."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime

from tests.cli.conftest import WEIGHTS


def test_the_file_explains(run, folder):
    result = run("compile", "model.onnx", "-s", "abs=no", "-t", "1")
    assert result.exit_code == 0, result.stderr
    assert "wrote model-saliency.onnx" in result.stderr
    session = onnxruntime.InferenceSession(str(folder / "model-saliency.onnx"))
    _, gradient = session.run(None, {"x": np.load(folder / "x.npy")})
    np.testing.assert_allclose(gradient, np.tile(WEIGHTS[:, 1], (2, 1)))


def test_facts_as_json(run):
    result = run("compile", "model.onnx", "-m", "input_x_gradient", "-t", "label:dog", "-o", "out.onnx", "--json")
    facts = json.loads(result.stdout)
    assert facts["files"] == ["out.onnx"]
    assert facts["target"] == "logits[1]"
    assert facts["checked"]["x_attribution"] <= 1e-4


def test_the_target_comes_in_at_run_time(run, folder):
    assert run("compile", "model.onnx", "--target-input", "-s", "abs=no", "-o", "out.onnx").exit_code == 0
    session = onnxruntime.InferenceSession(str(folder / "out.onnx"))
    _, gradient = session.run(None, {"x": np.load(folder / "x.npy"), "target": np.array([2, 0])})
    np.testing.assert_allclose(gradient, WEIGHTS[:, [2, 0]].T)


def test_what_cannot_be_compiled_leaves_no_file(run, folder):
    result = run("compile", "model.onnx", "-m", "grad_cam", "-o", "out.onnx")
    assert result.exit_code == 2
    result = run("compile", "model.onnx", "-t", "top2", "-o", "out.onnx")
    assert result.exit_code == 2
    assert not (folder / "out.onnx").exists()


def test_names_are_checked_before_torch_is_imported(run):
    result = run("compile", "model.onnx", "-m", "salience")
    assert result.exit_code == 2
    assert "saliency" in result.stderr
    assert run("compile", "model.onnx", "-s", "steps=3").exit_code == 2


def test_noise_comes_in_at_run_time(run, folder):
    asked = ("compile", "model.onnx", "-m", "smoothgrad", "-s", "samples=3", "-t", "1", "-o", "out.onnx")
    assert run(*asked, "--draws", "input").exit_code == 0
    session = onnxruntime.InferenceSession(str(folder / "out.onnx"))
    assert [port.name for port in session.get_inputs()] == ["x", "x_noise"]
    assert run("compile", "model.onnx", "--draws", "input", "-o", "none.onnx").exit_code == 2
