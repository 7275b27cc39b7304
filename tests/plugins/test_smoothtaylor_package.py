"""A third party's package: built and installed with pip, found by its entry point, proved by its own tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "plugins" / "onnxsal-smoothtaylor"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return installed_package(PACKAGE, tmp_path_factory.mktemp("installed"))


def installed_package(package, folder):
    """Install a package into a folder of its own, so that the tests' environment stays as it is."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(package)]
    subprocess.run(pip, check=True, capture_output=True)
    path = os.pathsep.join(filter(None, [str(folder), str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ONNXSAL_")}
    return environment | {"PYTHONPATH": path}


def python(environment, *arguments):
    command = [sys.executable, *arguments]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_it_is_found_by_its_entry_point(installed):
    code = (
        "from onnxsal.plugins import registry; r = registry(); print(r.provider('methods', 'smoothtaylor'), r.problems)"
    )
    assert python(installed, "-c", code).strip() == "onnxsal-smoothtaylor 0.1.0 []"


def test_finding_it_imports_no_torch(installed):
    code = "import sys, onnxsal_smoothtaylor; print([m for m in ('torch', 'numpy', 'onnx') if m in sys.modules])"
    assert python(installed, "-c", code).strip() == "[]"


def test_it_passes_its_own_tests(installed):
    assert "passed" in python(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PACKAGE))


def test_it_explains_a_sample_model_on_the_command_line(installed, tmp_path):
    import numpy as np

    out = tmp_path / "three.npz"
    digit = ROOT / "models" / "samples" / "digit-3.png"
    model = ROOT / "models" / "digits_cnn.onnx"
    command = ("-c", "import sys; from onnxsal.cli import main; sys.exit(main())", "explain", str(model), str(digit))
    python(installed, *command, "-m", "smoothtaylor", "-s", "samples=4", "-o", str(out))
    values = np.load(out)["image"]
    assert values.shape == (1, 1, 8, 8)
    assert np.abs(values).max() > 0
