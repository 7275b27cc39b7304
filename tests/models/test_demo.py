"""The demonstration: a production model, the right preparation, a picture where one is promised."""

import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

import onnxsal
from models import demo
from onnxsal.inputs import read_inputs
from tests import corpus

pytestmark = [pytest.mark.oracle, pytest.mark.slow]
SETTINGS = dict(pair.split("=") for pair in demo.PREPARED[3::2])


@pytest.mark.parametrize(
    ("photograph", "label", "probability"), [("chelsea.png", "Egyptian cat", 0.79), ("coffee.png", "espresso", 0.90)]
)
def test_the_model_sees_what_is_there(photograph, label, probability):
    path = corpus.model("efficientnet_lite0_ts13")
    model = onnxsal.load(path)
    feeds, _ = read_inputs(model.inputs, {None: demo.photograph(photograph)}, SETTINGS, demo.PREPARED[1])
    logits = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)[0][0]
    found = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    assert _IMAGENET_CATEGORIES[found.argmax()] == label
    assert found.max() == pytest.approx(probability, abs=0.01)


def test_the_demonstration_leaves_a_picture(tmp_path):
    from PIL import Image

    shutil.copyfile(corpus.model("efficientnet_lite0_ts13"), tmp_path / demo.MODEL)
    command = [sys.executable, "-m", "models.demo", "--into", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == f"The picture is {demo.picture(tmp_path).resolve()}"
    drawn = np.asarray(Image.open(demo.picture(tmp_path)).convert("RGB"))
    assert min(drawn.shape[:2]) > 200
    assert drawn.std() > 10
