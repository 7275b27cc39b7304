"""``--quantized`` and ``--precision``: how a model is read."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from tests import models_quantised as quantised


@pytest.fixture
def quantised_model(folder):
    onnx.save(quantised.qdq_linear(), folder / "int8.onnx")
    np.save(folder / "three.npy", np.float32([[0.1, 0.7, 2.2]]))


@pytest.mark.usefixtures("quantised_model")
def test_explain_records_how_the_model_was_read(run):
    for reading in ("ste", "float"):
        result = run("explain", "int8.onnx", "three.npy", "-t", "0", "--quantized", reading, "--json", "-o", "a.npz")
        assert result.exit_code == 0, result.stderr
        facts = json.loads(result.stdout)
        assert facts["provenance"]["quantized"] == reading
        assert facts["parity"]["quantized"] == reading
        assert len(facts["provenance"]["notes"]) == (reading == "float")


@pytest.mark.usefixtures("quantised_model")
def test_verify_states_the_distance_of_the_reading_without_rounding(run):
    found = [
        json.loads(run("verify", "int8.onnx", "three.npy", "--quantized", reading, "--json").stdout)
        for reading in ("ste", "float")
    ]
    assert [f["tolerance"] for f in found] == [0.03, 0.25]
    assert found[0]["outputs"][0]["max_rel"] == 0
    assert found[1]["outputs"][0]["max_rel"] > 0.001
    refused = run("verify", "int8.onnx", "three.npy", "--quantized", "float", "--tolerance", "1e-6")
    assert refused.exit_code == 6
    assert "--quantized ste explains what is deployed" in refused.stderr


def test_half_precision_is_raised_where_asked(run, folder):
    onnx.save(quantised.half_overflow(), folder / "half.onnx")
    np.save(folder / "half.npy", np.ones((1, 3), np.float16))
    refused = run("verify", "half.onnx", "half.npy")
    assert refused.exit_code == 6
    assert "--precision float32 computes in float32" in refused.stderr
    assert run("verify", "half.onnx", "half.npy", "--precision", "float32").exit_code == 0
    result = run("explain", "half.onnx", "half.npy", "-t", "0", "--precision", "float32", "--json", "-o", "a.npz")
    assert json.loads(result.stdout)["provenance"]["precision"] == "float32"


def test_another_word_is_a_usage_fault(run):
    assert run("explain", "model.onnx", "one.npy", "--quantized", "int4").exit_code == 2
