"""Every model of the corpus that has a gradient compiles, and agrees with the torch engine; the rest is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

import onnxsal
from onnxsal.errors import CompileFault, ParityError
from tests import corpus

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

LIST = Path(__file__).parent / "uncompiled.txt"
UNCOMPILED = {
    line.split()[0]: line.split(maxsplit=1)[1] for line in LIST.read_text().splitlines() if line and line[0] != "#"
}


@pytest.mark.parametrize("name", corpus.ids())
def test_saliency_compiles(name):
    model, feeds = onnxsal.load(corpus.model(name)), corpus.inputs(name)
    outputs = [port.name for port in model.outputs if port.is_float]
    if not outputs or not any(port.is_float for port in model.inputs):
        pytest.skip("no number to explain, or no input with a gradient")
    target = f"{outputs[0]}.max()"
    if name in UNCOMPILED:
        with pytest.raises((CompileFault, ParityError)):
            onnxsal.compile(model, target=target, feeds=feeds, abs=False)
        return
    compiled = onnxsal.compile(model, target=target, feeds=feeds, abs=False)
    assert compiled.proto.ByteSize() <= 1.3 * model.size + 200_000  # small models are mostly nodes


@pytest.mark.parametrize("name", ["silero_vad_v6", "silero_vad_op18_ifless", "silero_vad_v4"])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_branch_that_an_input_decides_compiles_where_the_input_is_fixed(name, rate):
    model, feeds = onnxsal.load(corpus.model(name)), corpus.inputs(name)
    if rate == 8000:
        feeds["input"] = feeds["input"][:, : feeds["input"].shape[1] // 2]
    target = f"{model.outputs[0].name}.max()"
    compiled = onnxsal.compile(model, target=target, feeds=feeds, fixed={"sr": rate}, abs=False)
    assert "sr" not in compiled.inputs
    assert compiled.facts["checked"]["input_attribution"] <= 1e-4


def test_the_list_names_models_of_the_corpus():
    assert set(UNCOMPILED) <= set(corpus.ids())
