"""Deletion, insertion and monotonicity: by a slow implementation, and on paper."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate

from onnxsal.errors import UsageError
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of
from tests.metrics.support import examined, measured, of_network, scorer

X = np.float32([[1, 2, 3], [-1, 0.5, 2]])


def slow_curve(kind: str, importance: np.ndarray, first: np.ndarray, last: np.ndarray, steps: int, example: int):
    """Walk from one picture to another, pixel by pixel in order of importance; return scores and parts behind."""
    score = scorer(kind)
    order = sorted(range(importance.size), key=lambda i: -importance.flat[i])
    scores, parts = [], []
    for step in range(steps + 1):
        count = int(np.rint(importance.size * step / steps))
        x = first.copy()
        for place in order[:count]:
            at = np.unravel_index(place, importance.shape)
            x[(slice(None), *at)] = last[(slice(None), *at)]
        scores.append(score(x, example))
        parts.append(count / importance.size)
    return np.array(scores), np.array(parts)


@pytest.mark.parametrize("steps", [1, 7, 64])
@pytest.mark.parametrize("metric", ["deletion", "insertion", "monotonicity"])
def test_it_is_what_the_paper_says(metric: str, steps: int) -> None:
    explanation = of_network()
    found = measured(explanation, metric, steps=steps, baseline=0.25)
    for example, x in enumerate(inputs_of("cnn")["x"].numpy()):
        importance = explanation.values["x"][example].numpy().sum(0)
        base = np.full_like(x, 0.25)
        ends = (x, base) if metric == "deletion" else (base, x)
        if metric == "monotonicity":
            importance = -abs(importance)
        scores, parts = slow_curve("cnn", importance, *ends, steps, example)
        expected = (
            (np.diff(scores) >= 0).mean() if metric == "monotonicity" else scipy.integrate.trapezoid(scores, parts)
        )
        assert found[example] == pytest.approx(expected, rel=1e-9)


def test_deletion_of_a_linear_score_is_known() -> None:
    """The parts x·w go one after the other, the greatest first: each step is a trapezoid."""
    found = measured(examined(tiny.linear(), {"x": X}, target=0), "deletion")
    for x, area in zip(X, found, strict=True):
        shares = sorted(x * tiny.WEIGHT[:, 0], reverse=True)
        heights = tiny.BIAS[0] + sum(shares) - np.concatenate([[0], np.cumsum(shares)])
        assert area == pytest.approx((heights[:-1] + heights[1:]).sum() / 6, rel=1e-6)


def test_insertion_is_deletion_turned_round_where_nothing_is_blurred() -> None:
    flat = np.float32([[2, 2, 2]])
    explanation = examined(tiny.linear(), {"x": flat}, target=0)
    assert measured(explanation, "insertion") == pytest.approx(measured(explanation, "insertion", baseline=2), rel=1e-6)
    assert measured(explanation, "insertion", baseline=0) > measured(explanation, "deletion", baseline=0)


def test_a_better_order_deletes_faster() -> None:
    right = examined(tiny.linear(), {"x": X}, target=0)
    wrong = examined(tiny.linear(), {"x": X}, {"x": -right.values["x"]}, target=0)
    assert (measured(right, "deletion") < measured(wrong, "deletion")).all()
    assert (measured(right, "insertion") > measured(wrong, "insertion")).all()


def test_monotonicity_counts_the_parts_that_speak_for_a_linear_score() -> None:
    found = measured(examined(tiny.linear(), {"x": X}, target=0), "monotonicity")
    np.testing.assert_allclose(found, (X * tiny.WEIGHT[:, 0] >= 0).mean(1), rtol=1e-6)


def test_several_inputs_are_one_order() -> None:
    feeds = {name: value.numpy() for name, value in inputs_of("two_inputs").items()}
    explanation = of_network("two_inputs")
    whole = measured(explanation, "deletion", steps=1)
    ends = explanation.score(explanation.feeds), explanation.score({n: v * 0 for n, v in explanation.feeds.items()})
    np.testing.assert_allclose(whole, (ends[0] + ends[1]).numpy() / 2, rtol=1e-12)
    finer = measured(explanation, "deletion", steps=50)
    assert sum(value.shape[1] for value in feeds.values()) == 5
    np.testing.assert_allclose(finer, measured(explanation, "deletion", steps=5), rtol=1e-12)


@pytest.mark.parametrize("metric", ["deletion", "insertion", "monotonicity"])
def test_no_steps_are_refused(metric: str) -> None:
    with pytest.raises(UsageError, match=f"metric {metric}: steps=0"):
        measured(examined(tiny.linear(), {"x": X}, target=0), metric, steps=0)
