"""The table of Captum's methods names all of them, and each command in it runs."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from captum import attr
from click.testing import CliRunner

from onnxsal.cli import group
from tests.oracle.captum_names import EVERY, INPUT, LAYER, NEURON, command

MODELS = Path(__file__).parent.parent.parent / "models"
NO_METHODS = {"Attribution", "GradientAttribution", "PerturbationAttribution", "NeuronAttribution", "LayerAttribution"}
"""What Captum's methods are derived from."""

ABOUT_MORE = {"DataLoaderAttribution", "LLMAttribution", "LLMGradientAttribution", "RemoteLLMAttribution", "LimeBase"}
"""What runs a method over a data set or a language model's answers, and the frame of LIME."""

OF_SEVERAL = {"FeaturePermutation", "LayerFeaturePermutation"}
"""Methods that compare examples with each other."""


def test_every_method_of_captum_is_named() -> None:
    found = {name: getattr(attr, name) for name in attr.__all__}
    explaining = {n for n, f in found.items() if isinstance(f, type) and issubclass(f, attr.Attribution)}
    assert set(EVERY) == explaining - NO_METHODS - ABOUT_MORE
    assert (len(INPUT), len(LAYER), len(NEURON)) == (18, 12, 9)


@pytest.mark.parametrize("captum", EVERY)
def test_the_command_runs(captum: str, tmp_path: Path) -> None:
    example = MODELS / "samples" / ("digits.npz" if captum in OF_SEVERAL else "digit-3.png")
    said = command(captum, "3", "node_relu_1", "0,2,2")
    more = ["--no-verify", "-o", str(tmp_path / "why.npz"), "-q"]
    run = CliRunner().invoke(
        group, ["explain", str(MODELS / "digits_cnn.onnx"), str(example), *shlex.split(said), *more]
    )
    assert run.exit_code == 0, run.output
    assert (tmp_path / "why.npz").stat().st_size > 1000
