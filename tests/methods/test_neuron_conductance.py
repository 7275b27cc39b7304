"""What inputs bring about through one neuron."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import onnxsal
from onnxsal.errors import UsageError
from tests.methods.models import inputs_of, model

TARGETS = [2, 0, 1]
THROUGH = {"mlp": ("/1/Relu", 8), "two_inputs": ("/Mul", 4)}
"""A layer that all of the score passes, and how many numbers it has."""


def explained(kind: str, neuron: str, **options: Any) -> onnxsal.Attribution:
    more = {"method": "neuron_conductance", "target": TARGETS, "neuron": neuron, "verify": False, "steps": 20} | options
    return onnxsal.explain(model(kind), inputs_of(kind), **more)


@pytest.mark.parametrize("kind", THROUGH)
def test_all_neurons_of_a_layer_together_are_the_integrated_gradients(kind: str) -> None:
    node, count = THROUGH[kind]
    each = [explained(kind, f"{node}[{number}]").values for number in range(count)]
    asked = {"method": "integrated_gradients", "target": TARGETS, "steps": 20, "verify": False}
    whole = onnxsal.explain(model(kind), inputs_of(kind), **asked)
    for name, value in whole.values.items():
        np.testing.assert_allclose(sum(values[name] for values in each), value, rtol=1e-9, atol=1e-12)


def test_an_example_is_explained_the_same_in_any_company() -> None:
    whole = explained("cnn", "/5/GlobalAveragePool[1,0,0]").values["x"]
    assert whole.any(axis=(1, 2, 3)).all()
    in_parts = explained("cnn", "/5/GlobalAveragePool[1,0,0]", batch_size=2).values["x"]
    np.testing.assert_allclose(in_parts, whole, rtol=1e-9, atol=1e-12)
    inputs = {name: value[1:2] for name, value in inputs_of("cnn").items()}
    asked = {"target": TARGETS[1], "neuron": "/5/GlobalAveragePool[1,0,0]", "steps": 20, "verify": False}
    alone = onnxsal.explain(model("cnn"), inputs, method="neuron_conductance", **asked).values["x"]
    np.testing.assert_allclose(alone, whole[1:2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("neuron", "told"),
    [
        ("", "none is named"),
        ("/1/Rel[2]", "no value or node"),
        ("/1/Relu[8]", "index 8 is outside"),
        ("/1/Relu.sum()", "not one number"),
    ],
)
def test_what_is_no_neuron_is_refused_with_a_way_out(neuron: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as refusal:
        explained("mlp", neuron)
    assert refusal.value.hint
