"""Owen values over a tree of halves, against their definition and the shap package, in double precision."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import shap
import torch

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.features import make_features
from onnxsal.methods._game import Game
from onnxsal.methods._hierarchy import Group, centres, halved
from tests.methods.models import inputs_of, model, network
from tests.methods.test_black_box import LABELS, TARGETS, by_feature, coalition_scores, ours


def tree_of(kind: str, features: Any) -> Group:
    labels = make_features(features, inputs_of(kind))
    count = int(max(value.max() for value in labels.values())) + 1
    return halved(centres(labels, 0, count))


def orders(group: Group) -> list[tuple[int, ...]]:
    """Return all orders of the features in which every group comes in one piece."""
    if not group.halves:
        return [group.features]
    parts = [orders(half) for half in group.halves]
    pairs = [*itertools.product(*parts), *itertools.product(*parts[::-1])]
    return [(*first, *second) for first, second in pairs]


def owen_values(kind: str, features: Any) -> np.ndarray:
    """Return the mean of what each feature adds, over all orders that keep the groups together."""
    tree = tree_of(kind, features)
    count = len(tree.features)
    kept = np.array(list(itertools.product([False, True], repeat=count)))
    scores = {
        tuple(row): value for row, value in zip(kept.tolist(), coalition_scores(kind, features, kept), strict=True)
    }
    total = np.zeros((3, count))
    taken = orders(tree)
    for order in taken:
        there = [False] * count
        for feature in order:
            before = scores[tuple(there)]
            there[feature] = True
            total[:, feature] += scores[tuple(there)] - before
    return total / len(taken)


@pytest.mark.parametrize(
    ("kind", "features"),
    [("mlp", "elements"), ("cnn", LABELS["cnn"]), ("lstm", LABELS["lstm"]), ("two_inputs", "elements")],
)
def test_with_runs_enough_they_are_owen_values(kind: str, features: Any) -> None:
    found = by_feature(ours(kind, "partition_shap", features=features), kind, features, total=True)
    np.testing.assert_allclose(found, owen_values(kind, features), rtol=1e-9, atol=1e-12)


def test_they_are_those_of_the_shap_package() -> None:
    x = inputs_of("mlp")["x"].numpy()
    tree = tree_of("mlp", "elements")
    links: list[list[float]] = []

    def link(group: Group) -> int:
        if not group.halves:
            return group.features[0]
        left, right = map(link, group.halves)
        links.append([left, right, len(group.features), len(group.features)])
        return 4 + len(links)

    link(tree)
    found = ours("mlp", "partition_shap")["x"]
    for example, target in enumerate(TARGETS):

        def score(rows: np.ndarray, target: int = target) -> np.ndarray:
            with torch.no_grad():
                return network("mlp")(torch.from_numpy(rows)).numpy()[:, target]

        masker = shap.maskers.Independent(np.zeros((1, 5)))
        masker.clustering = np.array(links, float)
        explainer = shap.explainers.Partition(score, masker)
        values = explainer(x[example : example + 1], max_evals=1000).values[0]
        np.testing.assert_allclose(found[example], values, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("samples", [2, 3, 4, 20, 100])
@pytest.mark.parametrize("kind", ["cnn", "two_inputs"])
def test_they_sum_to_the_scores_difference_however_few_the_runs(kind: str, samples: int) -> None:
    options: dict[str, Any] = {"method": "partition_shap", "target": TARGETS, "verify": False, "engine": "torch"}
    result = onnxsal.explain(model(kind), inputs_of(kind), samples=samples, **options)
    assert result.completeness is not None
    assert np.abs(result.completeness).max() < 1e-12


def test_what_is_not_cut_is_shared_evenly() -> None:
    found = ours("mlp", "partition_shap", samples=2)["x"]
    assert np.ptp(found, axis=1).max() == 0
    once = ours("mlp", "partition_shap", samples=4)["x"]
    first, second = (list(half.features) for half in tree_of("mlp", "elements").halves)
    assert np.ptp(once[:, first], axis=1).max() == np.ptp(once[:, second], axis=1).max() == 0
    assert np.ptp(once, axis=1).min() > 0


def test_no_more_runs_are_taken_than_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    scores = Game._scores

    def counted(game: Game, kept: torch.Tensor) -> torch.Tensor:
        taken.append(len(kept))
        return scores(game, kept)

    monkeypatch.setattr(Game, "_scores", counted)
    ours("cnn", "partition_shap", samples=101)
    assert 90 <= sum(taken) <= 101


def test_halves_are_cut_where_features_are_farthest_apart() -> None:
    labels = make_features("grid:2", {"x": torch.zeros(1, 3, 4, 8)})
    tree = halved(centres({"x": labels["x"]}, 0, 8))
    assert [half.features for half in tree.halves] == [(0, 4, 1, 5), (2, 6, 3, 7)]
    assert {half.features for half in tree.halves[0].halves} == {(0, 1), (4, 5)}


def test_features_of_one_input_stay_together() -> None:
    assert [half.features for half in tree_of("two_inputs", "elements").halves] in (
        [(0, 1), (2, 3, 4)],
        [(0, 1, 2), (3, 4)],
    )


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(UsageError, match="samples=1 is too few"):
        ours("mlp", "partition_shap", samples=1)
