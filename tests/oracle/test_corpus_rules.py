"""Backward rules on real models: recurrent, quantised, on graphs; every node has its rule, and DeepLIFT completes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import onnxsal
from tests import corpus

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

MODELS = {
    "aecmos": None,
    "arname_decoder": None,
    "brainmaze_seizure": "logits[0,0,argmax]",
    "minimol_gnn": "fingerprint[0,argmax]",
    "silero_vad_v6": None,
    "tashkeel_bilstm_int8": "logits[0,argmax]",
    "traceforge_t5_encoder": "last_hidden_state[0,argmax]",
    "voicefilter_embedder_int8": None,
}
"""The models, and what of their answers is explained."""

ROUNDED = {"tashkeel_bilstm_int8": 0.05, "traceforge_t5_encoder": 0.02, "voicefilter_embedder_int8": 0.05}
"""How far 8-bit rounding lets DeepLIFT miss; without it nothing is missed."""


def explained(name: str, method: str, **options: Any) -> onnxsal.Attribution:
    about = {} if MODELS[name] is None else {"target": MODELS[name]}
    result = onnxsal.explain(
        corpus.model(name), corpus.inputs(name), method=method, verify=False, device="cpu", **about, **options
    )
    assert "has a sound rule for each of the" in " ".join(result.provenance.notes)
    assert all(np.isfinite(value).all() for value in result.values.values())
    return result


@pytest.mark.parametrize("reading", ["ste", "float"])
@pytest.mark.parametrize("name", MODELS)
def test_deep_lift_completes(name: str, reading: str) -> None:
    result = explained(name, "deep_lift", quantized=reading, completeness_tolerance=np.inf)
    total = sum(float(value.sum()) for value in result.values.values())
    missed = float(np.abs(result.completeness).max())
    difference = abs(total - float(result.completeness[0]))
    limit = ROUNDED.get(name, 1e-4) if reading == "ste" else 1e-4
    assert missed < limit * difference + 1e-5 * float(np.abs(result.score).max())


@pytest.mark.parametrize("name", MODELS)
def test_lrp_finds_a_rule_for_every_node(name: str) -> None:
    """With an epsilon that holds sixteen layers of shortcuts down, whose summands cancel."""
    found = explained(name, "lrp", epsilon=0.25).values.values()
    assert any(np.abs(value).max() > 0 for value in found)
