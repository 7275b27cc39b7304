"""Metrics that look at the attributions alone, and at where they lie; against slow implementations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from onnxsal.errors import UsageError
from onnxsal.metrics._units import pieces
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of, model
from tests.metrics.support import TARGETS, examined, measured, of_network, scorer

X = np.float32([[1, 2, 3], [-1, 0.5, 2]])


def of_values(*rows: list[float], **options: Any) -> Any:
    feeds = {"x": np.ones((len(rows), 3), np.float32)}
    return examined(tiny.linear(), feeds, {"x": torch.tensor(rows)}, target=0, **options)


# --- sparseness and complexity ----------------------------------------------------------------------------------------


def test_sparseness_is_the_gini_index() -> None:
    sizes = abs(of_network().values["x"].sum(1).reshape(3, -1).numpy())
    pairs = abs(sizes[:, :, None] - sizes[:, None]).sum((1, 2))
    expected = pairs / (2 * sizes.shape[1] * sizes.sum(1))
    np.testing.assert_allclose(measured(of_network(), "sparseness"), expected, rtol=1e-9)


def test_complexity_is_the_entropy() -> None:
    sizes = abs(of_network().values["x"].sum(1).reshape(3, -1).numpy())
    np.testing.assert_allclose(measured(of_network(), "complexity"), scipy.stats.entropy(sizes, axis=1), rtol=1e-9)


def test_one_part_that_has_it_all_and_three_that_share() -> None:
    explanation = of_values([0, -7, 0], [2, -2, 2])
    np.testing.assert_allclose(measured(explanation, "sparseness"), [2 / 3, 0], atol=1e-7)
    np.testing.assert_allclose(measured(explanation, "complexity"), [0, np.log(3)], atol=1e-7)


def test_nothing_at_all_is_neither_sparse_nor_complex() -> None:
    assert np.isnan(measured(of_values([0, 0, 0]), "sparseness")).all()
    assert np.isnan(measured(of_values([0, 0, 0]), "complexity")).all()


# --- a region ---------------------------------------------------------------------------------------------------------


def test_pointing_is_exact() -> None:
    explanation = of_values([1, 5, 2], [1, 5, 2], region={"x": [[0, 1, 0], [1, 0, 1]]})
    np.testing.assert_array_equal(measured(explanation, "pointing_game"), [1, 0])


def test_the_mass_within_the_region_counts_what_speaks_for_the_score() -> None:
    explanation = of_values([3, 1, -9], [-1, -2, -3], region={"x": [[1, 0, 1], [1, 1, 1]]})
    np.testing.assert_allclose(measured(explanation, "relevance_mass"), [0.75, np.nan])


def test_the_rank_accuracy_looks_at_as_many_parts_as_the_region_has() -> None:
    explanation = of_values([3, 1, 2], [3, 1, 2], region={"x": [[1, 1, 0], [1, 0, 0]]})
    np.testing.assert_allclose(measured(explanation, "relevance_rank"), [0.5, 1])


def test_a_pixel_is_within_a_region_whatever_its_colour() -> None:
    feeds = inputs_of("cnn")
    values = {"x": torch.zeros(3, 2, 8, 8, dtype=torch.float64)}
    values["x"][:, :, 4, 5] = torch.tensor([3.0, -1.0])
    values["x"][:, 0, 0, 0] = 2.5  # the greatest number, but not the greatest pixel
    values["x"][:, 1, 0, 0] = -1
    region = np.zeros((3, 8, 8))
    region[:, 4, 5] = 1
    explanation = examined(model("cnn"), feeds, values, {"x": region}, target=TARGETS)
    np.testing.assert_array_equal(measured(explanation, "pointing_game"), [1, 1, 1])
    np.testing.assert_allclose(measured(explanation, "relevance_mass"), 2 / 3.5)


# --- what is promised -------------------------------------------------------------------------------------------------


def test_a_linear_score_is_shared_out_completely() -> None:
    np.testing.assert_allclose(measured(examined(tiny.linear(), {"x": X}, target=0), "completeness"), 0, atol=1e-6)
    gap = measured(examined(tiny.linear(), {"x": X}, target=0, method="saliency"), "completeness")
    np.testing.assert_allclose(gap, abs(abs(tiny.WEIGHT[:, 0]).sum() - X @ tiny.WEIGHT[:, 0]), rtol=1e-5)


def test_completeness_is_against_the_methods_own_baseline() -> None:
    explanation = examined(tiny.linear(), {"x": X}, target=0, method="integrated_gradients", baseline=1)
    np.testing.assert_allclose(measured(explanation, "completeness", baseline=0), 0, atol=1e-5)
    rows = {"x": np.float32([[0, 1, 0], [2, 2, 2]])}
    several = examined(tiny.linear(), {"x": X}, target=0, method="gradient_shap", baselines=rows)
    weight = tiny.WEIGHT[:, 0]
    gap = several.values["x"].sum(1).numpy() - (X @ weight - (rows["x"] @ weight).mean())
    np.testing.assert_allclose(measured(several, "completeness"), abs(gap), atol=1e-5)


def test_larger_attributions_stand_where_a_linear_score_depends_on_more() -> None:
    right = examined(tiny.linear(), {"x": X}, target=0)
    np.testing.assert_allclose(measured(right, "effect_correlation"), 1)
    wrong = examined(tiny.linear(), {"x": X}, {"x": 1 / right.values["x"]}, target=0)
    np.testing.assert_allclose(measured(wrong, "effect_correlation"), -1)


@pytest.mark.parametrize("groups", [64, 10])
def test_effect_correlation_is_what_the_paper_says(groups: int) -> None:
    explanation = of_network()
    found = measured(explanation, "effect_correlation", groups=groups)
    score = scorer("cnn")
    for example, x in enumerate(inputs_of("cnn")["x"].numpy()):
        sizes = abs(explanation.values["x"][example].numpy().sum(0)).reshape(-1)
        order = np.argsort(-sizes)
        group = np.empty(64, int)
        group[order] = np.arange(64) * groups // 64
        effects, sums = [], []
        for number in range(groups):
            inside = (group == number).reshape(8, 8)
            effects.append(abs(score(x, example) - score(np.where(inside, 0, x), example)))
            sums.append(sizes[group == number].sum())
        assert found[example] == pytest.approx(scipy.stats.spearmanr(sums, effects).statistic, abs=1e-9)


def test_one_group_is_no_order() -> None:
    with pytest.raises(UsageError, match="groups=1"):
        measured(of_values([1, 2, 3]), "effect_correlation", groups=1)


@pytest.mark.parametrize("part", [0, -1, 1.5])
def test_a_part_is_a_part(part: float) -> None:
    with pytest.raises(UsageError, match="is no part of the whole"):
        measured(of_values([1, 2, 3]), "infidelity", part=part)


def test_infidelity_of_a_linear_score_is_none() -> None:
    right = examined(tiny.linear(), {"x": X}, target=0)
    np.testing.assert_allclose(measured(right, "infidelity", rescale=False), 0, atol=1e-9)
    tripled = examined(tiny.linear(), {"x": X}, {"x": 3 * right.values["x"]}, target=0)
    np.testing.assert_allclose(measured(tripled, "infidelity"), 0, atol=1e-9)
    assert (measured(tripled, "infidelity", rescale=False) > 0.1).all()
    gradient = examined(tiny.linear(), {"x": X}, target=0, method="saliency", abs=False)
    np.testing.assert_allclose(measured(gradient, "infidelity", disturb="noise", rescale=False), 0, atol=1e-9)


def test_pictures_fall_to_pieces_and_tables_to_columns() -> None:
    found = pieces(of_network("cnn"), 3).reshape(8, 8)
    assert found[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert found[:, 0].tolist() == [0, 0, 0, 3, 3, 3, 6, 6]
    assert pieces(of_network("two_inputs"), 3).tolist() == [0, 1, 2, 3, 4]
    assert pieces(of_network("lstm"), 3).tolist() == [0, 1, 2, 3, 4, 5]
