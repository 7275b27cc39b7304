"""A compiled file runs where there is nothing but onnxruntime and numpy."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import onnxsal

MODELS = Path(__file__).parents[2] / "models"

SCRIPT = """
import importlib.util, sys
import numpy, onnxruntime
assert not any(importlib.util.find_spec(name) for name in ("torch", "onnx", "onnxsal"))
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
image = numpy.load(sys.argv[2])["image"]
numpy.savez(sys.argv[3], **dict(zip([o.name for o in session.get_outputs()], session.run(None, {"image": image}))))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of a fresh environment with onnxruntime and numpy."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    found = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    wanted = [f"{name}=={metadata.version(name)}" for name in ("onnxruntime", "numpy")]
    run = subprocess.run(
        [found, "-m", "pip", "install", "-q", *wanted], capture_output=True, text=True, check=False, timeout=600
    )
    if run.returncode:
        pytest.skip(f"no package index: {run.stderr[-200:]}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "smoothgrad", "grad_cam"])
def test_runs_without_torch_onnx_and_onnxsal(python, tmp_path, method):
    compiled = onnxsal.compile(MODELS / "digits_cnn.onnx", method=method, target=3)
    path, digits = compiled.save(tmp_path / "explained.onnx"), MODELS / "samples" / "digits.npz"
    command = [python, "-I", "-c", SCRIPT, path, digits, tmp_path / "out.npz"]
    subprocess.run(command, check=True, timeout=120, cwd=tmp_path)
    with np.load(tmp_path / "out.npz") as found, np.load(digits) as fed:
        model = onnxsal.load(MODELS / "digits_cnn.onnx")
        np.testing.assert_allclose(found["logits"], model.session().run(None, {"image": fed["image"]})[0], rtol=1e-5)
        if method != "smoothgrad":  # its draws are each example's own in the engine
            found_here = onnxsal.explain(
                model, {"image": fed["image"]}, method=method, target=3, completeness_tolerance=10
            )
            expected = found_here.values["image"]
            np.testing.assert_allclose(found["image_attribution"], expected, atol=1e-4 * np.abs(expected).max())
