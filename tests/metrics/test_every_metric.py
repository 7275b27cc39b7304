"""What every metric promises, asked of each that is installed, on networks of every common kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.plugins import registry
from tests import models_for_tests as tiny
from tests.methods.models import KINDS, Inputs, inputs_of, model
from tests.metrics.support import TARGETS, examined

METRICS = registry().names("metrics")
PICTURES_ONLY = {"road"}
CASES = [(metric, kind) for metric in METRICS for kind in KINDS if kind == "cnn" or metric not in PICTURES_ONLY]


def values(kind: str, metric: str, inputs: Inputs, target: Any = TARGETS, **asked: Any) -> np.ndarray:
    region = {name: value > -0.7 for name, value in inputs.items()}
    found = onnxsal.evaluate(
        model(kind), inputs, method="input_x_gradient", metrics=[metric], region=region, target=target, verify=False
    )
    return found.measurements[metric].values


@pytest.mark.parametrize(("metric", "kind"), CASES)
def test_it_gives_one_number_per_example_and_changes_nothing(metric: str, kind: str) -> None:
    inputs = inputs_of(kind)
    found = values(kind, metric, inputs)
    assert (found.shape, found.dtype) == ((3,), np.float64)
    assert np.isfinite(found).all()
    for name, value in inputs.items():
        torch.testing.assert_close(value, inputs_of(kind)[name], rtol=0, atol=0)


@pytest.mark.parametrize(("metric", "kind"), CASES)
def test_an_example_is_measured_the_same_in_any_company(metric: str, kind: str) -> None:
    inputs = inputs_of(kind)
    whole = values(kind, metric, inputs)
    turned = values(kind, metric, {n: v.flip(0) for n, v in inputs.items()}, TARGETS[::-1])
    np.testing.assert_allclose(turned[::-1], whole, rtol=1e-5, atol=1e-9)
    alone = values(kind, metric, {n: v[1:2] for n, v in inputs.items()}, TARGETS[1])
    np.testing.assert_allclose(alone, whole[1:2], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_it_says_which_way_is_better_and_where_it_comes_from(metric: str) -> None:
    entry = registry().get("metrics", metric)
    assert isinstance(entry.higher_is_better, bool)
    assert entry.summary.endswith(".")
    assert "20" in (entry.function.__doc__ or "")
    assert all(option.help for option in entry.options.values())


@pytest.mark.parametrize("metric", [m for m in METRICS if m not in PICTURES_ONLY])
def test_attributions_that_are_no_numbers_cannot_be_measured(metric: str) -> None:
    from onnxsal.evaluation import _measured, choose_metrics

    feeds = {"x": np.float32([[1, 2, 3], [4, 5, 6]])}
    broken = {"x": torch.tensor([[1.0, float("nan"), 2.0], [1.0, 3.0, 2.0]])}
    region = {"x": [[0, 1, 0], [0, 1, 0]]}
    explanation = examined(tiny.linear(), feeds, broken, region, target=0)
    found = _measured(explanation, choose_metrics([metric], region)[0]).values
    assert np.isnan(found[0])
    assert np.isfinite(found[1])


def test_pictures_only_are_refused_elsewhere() -> None:
    for metric in PICTURES_ONLY:
        with pytest.raises(UsageError) as refusal:
            values("mlp", metric, inputs_of("mlp"))
        assert refusal.value.hint
