"""Gradient SHAP, point by point."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import onnxsal
from onnxsal.errors import UsageError
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of, model, network, score_of

SAMPLES = 6
TARGETS = [2, 0, 1]


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_it_is_what_the_points_say_one_by_one(noise: float) -> None:
    """The loop draws in the order that is promised: baselines and places of draw 0, noise of the draws after it."""
    inputs = inputs_of("two_inputs")
    rows = {n: torch.randn(4, *v.shape[1:], dtype=v.dtype, generator=_seeded()) for n, v in inputs.items()}
    options = {"baselines": rows, "samples": SAMPLES, "noise": noise}
    found = onnxsal.explain(
        model("two_inputs"), inputs, method="gradient_shap", target=TARGETS, seed=5, verify=False, **options
    )
    expected = {n: torch.zeros_like(v) for n, v in inputs.items()}
    score = score_of("two_inputs", inputs, TARGETS, seed=5)
    for example, target in enumerate(TARGETS):
        starts, inside = score.uniform(inputs, 2 * SAMPLES)[example].chunk(2)
        which = (starts * 4).long()
        for sample in range(SAMPLES):
            drawn = score.normal(inputs, sample + 1)
            end = {n: v[example] + noise * drawn[n][example] for n, v in inputs.items()}
            start = {n: v[which[sample]] for n, v in rows.items()}
            place = (sample + inside[sample]) / SAMPLES
            point = [(start[n] + place * (end[n] - start[n])).requires_grad_() for n in inputs]
            network("two_inputs")(*(p[None] for p in point))[0, target].backward()
            for n, p in zip(inputs, point, strict=True):
                expected[n][example] += (end[n] - start[n]) * p.grad / SAMPLES
    for n, value in expected.items():
        np.testing.assert_allclose(found.values[n], value, rtol=1e-9, atol=1e-12)


def test_from_one_baseline_it_comes_to_integrated_gradients() -> None:
    inputs = inputs_of("transformer")
    exact = onnxsal.explain(
        model("transformer"), inputs, method="integrated_gradients", baseline=0.5, target=TARGETS, verify=False
    ).values["x"]
    far, near = (
        np.abs(
            onnxsal.explain(
                model("transformer"),
                inputs,
                method="gradient_shap",
                baselines=0.5,
                samples=samples,
                target=TARGETS,
                verify=False,
            ).values["x"]
            - exact
        ).max()
        / np.abs(exact).max()
        for samples in (5, 200)
    )
    assert near < 2e-3
    assert near < far / 10  # places spread evenly: the error falls faster than with the root of the samples


def test_no_samples_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to average"):
        onnxsal.explain(tiny.square(), {"x": np.ones((1, 3), np.float32)}, method="gradient_shap", samples=0)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)
