"""Attributions made by hand, for tests of what is done with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxsal.types import Attribution, Provenance, Target


def provenance(**changes: Any) -> Provenance:
    """Return a provenance with something in every field."""
    facts: dict[str, Any] = {
        "model": "model.onnx",
        "model_sha256": "ab" * 32,
        "inputs_sha256": {"input": "cd" * 32},
        "opset": {"": 18},
        "producer": "pytorch 2.4",
        "engine": "torch",
        "device": "cpu",
        "dtype": {"input": "float32"},
        "seed": 7,
        "versions": {"onnxsal": "0.1.0"},
        "seconds": 0.25,
        "notes": ("a note",),
    }
    return Provenance(**{**facts, **changes})


def attribution(values: dict[str, np.ndarray] | None = None, **changes: Any) -> Attribution:
    """Return an attribution; by default of one small picture-like input, two examples, signed."""
    if values is None:
        values = {"input": np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)}
    examples = next((len(v) for v in values.values() if v.ndim), 1)
    facts: dict[str, Any] = {
        "inputs": {name: np.zeros_like(value) for name, value in values.items()},
        "score": np.linspace(0.5, 2.5, examples, dtype=np.float32),
        "target": tuple(Target("logits", (3,), None, "tabby cat") for _ in range(examples)),
        "method": "integrated-gradients",
        "options": {"steps": 50, "abs": False},
        "provenance": provenance(),
        "completeness": np.full(examples, 1e-6, np.float32),
        "parity": {"logits": {"max_abs": 1e-6, "max_rel": 2e-6}},
    }
    return Attribution(values=values, **{**facts, **changes})
