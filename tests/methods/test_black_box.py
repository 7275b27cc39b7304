"""Methods that only call the score, against Captum, scikit-learn and what the papers say, in double precision."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import captum.attr
import numpy as np
import onnxruntime
import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from onnx import helper
from sklearn.linear_model import Ridge

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.features import make_features
from onnxsal.methods.kernel_shap import coalitions
from onnxsal.methods.lime import nearness
from onnxsal.methods.rise import _Coarse
from onnxsal.methods.shapley_sampling import orders
from onnxsal.methods.sobol import blends
from onnxsal.score import BoundScore
from tests import models_for_tests as tiny
from tests.methods.models import Inputs, inputs_of, model, network

TARGETS = [2, 0, 1]
ALL = ["cnn", "mlp", "lstm", "transformer", "two_inputs"]
MASKED = ["cnn", "lstm", "two_inputs"]
LABELS = {
    "cnn": {"x": np.kron([[0, 1], [2, 3]], np.ones((4, 4), int))},
    "lstm": {"x": np.array([0, 0, 1, 1, 2, 2])[:, None]},
    "two_inputs": {"x": [0, 1, 1], "y": [1, 2]},
}
"""Features of several elements each; those of the last network span both inputs."""


def labels_of(kind: str, features: Any) -> Inputs:
    """Return the feature of each element, shaped like the inputs."""
    inputs = inputs_of(kind)
    return {name: labels.expand(inputs[name].shape) for name, labels in make_features(features, inputs).items()}


def ours(kind: str, method: str, **options: Any) -> dict[str, np.ndarray]:
    result = onnxsal.explain(
        model(kind), inputs_of(kind), method=method, target=TARGETS, verify=False, engine="torch", **options
    )
    return dict(result.values)


def captums(kind: str, explainer: Any, features: Any = None, **options: Any) -> dict[str, np.ndarray]:
    """Return what an explainer of Captum says of the original network."""
    inputs = inputs_of(kind)
    if features is not None:
        masks = labels_of(kind, features)
        options["feature_mask"] = tuple(mask[:1].contiguous() for mask in masks.values())
    if "baselines" in options:
        options["baselines"] = (options["baselines"],) * len(inputs)
    found = explainer.attribute(tuple(inputs.values()), target=TARGETS, **options)
    return {name: value.detach().numpy() for name, value in zip(inputs, found, strict=True)}


def close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], rtol: float = 1e-5) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=1e-9)


def shared(values: dict[str, np.ndarray], kind: str, features: Any) -> dict[str, np.ndarray]:
    """Return what Captum shows at every element of a feature, shared out among these elements."""
    labels = labels_of(kind, features)
    flat = torch.cat([labels[name][0].flatten() for name in labels])
    sizes = flat.bincount()
    return {name: value / sizes[labels[name]].numpy() for name, value in values.items()}


def scores(kind: str, rows: Inputs) -> np.ndarray:
    """Return the original network's target scores; rows are copies of the examples."""
    with torch.no_grad():
        answers = network(kind)(*rows.values())
    return np.array([answer[TARGETS[row % 3]].item() for row, answer in enumerate(answers)])


def score_of(kind: str) -> BoundScore:
    """Return a score of the network, for its random numbers."""
    inputs = inputs_of(kind)
    engine = type("Engine", (), {"device": "cpu", "run": None})()
    return BoundScore(engine, inputs, list(inputs), TARGETS, stacked=True)  # type: ignore[arg-type]


def coalition_scores(kind: str, features: Any, kept: np.ndarray, baseline: float = 0.0) -> np.ndarray:
    """Return the scores of coalitions one by one, shape [coalitions, examples]; parts blend."""
    inputs = inputs_of(kind)
    labels = labels_of(kind, features)
    found = []
    for row in torch.as_tensor(kept).double():
        mask = {name: row[labels[name]] for name in inputs}
        found.append(scores(kind, {n: v * mask[n] + baseline * (1 - mask[n]) for n, v in inputs.items()}))
    return np.array(found)


def by_feature(values: dict[str, np.ndarray], kind: str, features: Any, *, total: bool = False) -> np.ndarray:
    """Return the attribution of every feature, shape [examples, features]."""
    labels = labels_of(kind, features)
    flat = np.concatenate([labels[n].numpy().reshape(3, -1) for n in labels], 1)
    numbers = np.concatenate([values[n].reshape(3, -1) for n in labels], 1)
    columns = []
    for feature in range(flat.max() + 1):
        of_feature = [numbers[e][flat[e] == feature] for e in range(3)]
        assert all(np.ptp(column) < 1e-12 for column in of_feature)
        columns.append([column.sum() if total else column[0] for column in of_feature])
    return np.array(columns).T


# --- one thing at a time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "window", "stride"),
    [
        ("cnn", (2, 3, 3), (1, 2, 2)),
        ("cnn", (1, 4, 2), (1, 3, 1)),
        ("lstm", (2, 3), (2, 1)),
        ("lstm", (4, 1), (3, 1)),
        ("mlp", (2,), (1,)),
        ("mlp", (3,), (2,)),
    ],
)
def test_occlusion_is_captums(kind: str, window: tuple[int, ...], stride: tuple[int, ...]) -> None:
    captum_ = captum.attr.Occlusion(network(kind))
    expected = captums(kind, captum_, sliding_window_shapes=(window,), strides=(stride,), baselines=0.5)
    close(ours(kind, "occlusion", window=window, stride=stride, baseline=0.5), expected)


def test_occlusion_of_two_inputs_is_captums() -> None:
    captum_ = captum.attr.Occlusion(network("two_inputs"))
    expected = captums("two_inputs", captum_, sliding_window_shapes=((2,), (2,)), strides=((1,), (1,)))
    close(ours("two_inputs", "occlusion", window="2", stride="1"), expected)


def test_occlusion_hides_all_channels_of_a_place_together() -> None:
    found = ours("cnn", "occlusion", window=(3, 3), stride=(2, 2))
    close(found, ours("cnn", "occlusion", window=(2, 3, 3), stride=(2, 2, 2)))
    np.testing.assert_array_equal(found["x"][:, 0], found["x"][:, 1])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window": (9, 9)}, "window=9,9 does not fit input 'x'"),
        ({"window": (2, 2, 2, 2)}, "window=2,2,2,2"),
        ({"window": "0"}, "window=0"),
        ({"window": "2", "stride": "3"}, "stride=3"),
        ({"stride": (1, 1, 1)}, "stride=1,1,1"),
    ],
)
def test_windows_that_do_not_fit_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as refusal:
        ours("cnn", "occlusion", **options)
    assert refusal.value.hint


@pytest.mark.parametrize("kind", ALL)
def test_feature_ablation_is_captums(kind: str) -> None:
    expected = captums(kind, captum.attr.FeatureAblation(network(kind)), baselines=0.5)
    close(ours(kind, "feature_ablation", features="elements", baselines=0.5), expected)


@pytest.mark.parametrize("kind", MASKED)
def test_feature_ablation_with_masks_is_captums(kind: str) -> None:
    expected = captums(kind, captum.attr.FeatureAblation(network(kind)), LABELS[kind])
    close(ours(kind, "feature_ablation", features=LABELS[kind]), expected)


def test_feature_ablation_of_several_baselines_is_the_mean_loss() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 5))
    each = [ours("mlp", "feature_ablation", baselines={"x": row[None]})["x"] for row in rows]
    close(ours("mlp", "feature_ablation", baselines={"x": rows}), {"x": np.mean(each, 0)})


@pytest.mark.parametrize("kind", ["mlp", "lstm", "two_inputs"])
def test_feature_permutation_is_captums_in_the_mean(kind: str) -> None:
    def turned(shift: int) -> Callable[..., torch.Tensor]:
        return lambda value, mask: torch.where(mask.bool(), value.roll(shift, 0), value)

    features = LABELS.get(kind, "elements")
    each = [
        captums(kind, captum.attr.FeaturePermutation(network(kind), perm_func=turned(shift)), features)
        for shift in (1, 2)
    ]
    expected = {name: np.mean([found[name] for found in each], 0) for name in each[0]}
    close(ours(kind, "feature_permutation", features=features), expected)
    close(ours(kind, "feature_permutation", features=features, samples=1), each[0])


def test_one_example_cannot_be_permuted() -> None:
    with pytest.raises(UsageError, match="nobody to exchange"):
        onnxsal.explain(tiny.linear(), {"x": np.ones((1, 3), np.float32)}, method="feature_permutation")


# --- Shapley values ---------------------------------------------------------------------------------------------------


def slow_shapley(values: dict[frozenset[int], np.ndarray], count: int) -> np.ndarray:
    """Return Shapley values as the mean over all orders, shape [examples, features]."""
    total = np.zeros((3, count))
    for order in itertools.permutations(range(count)):
        for place, feature in enumerate(order):
            before = frozenset(order[:place])
            total[:, feature] += values[before | {feature}] - values[before]
    return total / math.factorial(count)


@pytest.mark.parametrize("kind", MASKED)
def test_shapley_values_are_the_mean_over_all_orders(kind: str) -> None:
    count = {"cnn": 4, "lstm": 3, "two_inputs": 3}[kind]
    subsets = [frozenset(s) for n in range(count + 1) for s in itertools.combinations(range(count), n)]
    kept = np.array([[feature in subset for feature in range(count)] for subset in subsets])
    values = dict(zip(subsets, coalition_scores(kind, LABELS[kind], kept, 0.5), strict=True))
    found = ours(kind, "shapley", features=LABELS[kind], baselines=0.5)
    np.testing.assert_allclose(
        by_feature(found, kind, LABELS[kind], total=True), slow_shapley(values, count), rtol=1e-9
    )


@pytest.mark.parametrize("kind", ["mlp", "two_inputs"])
def test_shapley_values_are_captums(kind: str) -> None:
    expected = captums(kind, captum.attr.ShapleyValues(network(kind)), baselines=0.5)
    close(ours(kind, "shapley", features="elements", baselines=0.5), expected)


@pytest.mark.parametrize("kind", MASKED)
def test_shapley_values_with_masks_are_captums(kind: str) -> None:
    expected = captums(kind, captum.attr.ShapleyValues(network(kind)), LABELS[kind])
    close(ours(kind, "shapley", features=LABELS[kind]), shared(expected, kind, LABELS[kind]))


def test_shapley_values_of_several_baselines_are_their_mean() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 5))
    each = [ours("mlp", "shapley", baselines={"x": row[None]})["x"] for row in rows]
    close(ours("mlp", "shapley", baselines={"x": rows}), {"x": np.mean(each, 0)})


def test_too_many_subsets_are_refused_with_their_count() -> None:
    with pytest.raises(UsageError, match=r"64 features have 2\^64 subsets, more than passes=65536"):
        ours("cnn", "shapley", features="auto:64")
    with pytest.raises(UsageError, match=r"5 features have 2\^5 subsets, more than passes=31"):
        ours("mlp", "shapley", passes=31)


@pytest.mark.parametrize(("kind", "count"), [("mlp", 5), ("lstm", 18), ("two_inputs", 5)])
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_sampled_shapley_values_are_captums_over_the_same_orders(kind: str, count: int, samples: int) -> None:
    captum_ = captum.attr.ShapleyValueSampling(network(kind))
    drawn = [tuple(order.tolist()) for order in orders(score_of(kind), count, samples)]
    captum_.permutation_generator = lambda *_: iter(drawn)
    expected = captums(kind, captum_, n_samples=samples, baselines=0.5)
    close(ours(kind, "shapley_sampling", features="elements", samples=samples, baselines=0.5), expected)


def test_every_second_order_is_the_one_before_backwards() -> None:
    drawn = list(orders(score_of("mlp"), 6, 5))
    assert drawn[1].tolist() == drawn[0].flip(0).tolist()
    assert drawn[3].tolist() == drawn[2].flip(0).tolist()
    assert len({tuple(order.tolist()) for order in drawn}) == 5


@pytest.mark.parametrize("kind", ["mlp", *MASKED])
def test_kernel_shap_of_every_subset_is_exact(kind: str) -> None:
    features = LABELS.get(kind, "elements")
    close(ours(kind, "kernel_shap", features=features), ours(kind, "shapley", features=features), rtol=1e-9)


def test_kernel_shap_is_the_constrained_regression_over_its_coalitions() -> None:
    kept, counted = coalitions(18, 200, score_of("lstm").generator())
    assert len(kept) == 200
    values = coalition_scores("lstm", "elements", np.concatenate([np.zeros((1, 18)), np.ones((1, 18)), kept]))
    gain, inner = values[1] - values[0], values[2:] - values[0]
    expected = []
    for example in range(3):
        # the last feature takes what the others leave, so that the sum is the score's difference
        last = kept[:, -1:].double().numpy()
        left = inner[:, example] - last[:, 0] * gain[example]
        root = counted.sqrt().numpy()
        fitted = np.linalg.lstsq(root[:, None] * (kept[:, :-1].double().numpy() - last), root * left, rcond=None)[0]
        expected.append([*fitted, gain[example] - fitted.sum()])
    found = ours("lstm", "kernel_shap", features="elements", samples=200)["x"].reshape(3, 18)
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize(("count", "samples"), [(5, 30), (5, 29), (6, 62), (10, 300), (40, 2048), (40, 100), (2, 4)])
def test_the_sizes_of_coalitions_keep_their_mass(count: int, samples: int) -> None:
    kept, counted = coalitions(count, samples, torch.Generator().manual_seed(0))
    sizes = kept.sum(1)
    assert len(kept) <= samples
    assert 0 < sizes.min() <= sizes.max() < count
    mass = np.array([(count - 1) / (size * (count - size)) for size in range(1, count)])
    np.testing.assert_allclose(counted.sum(), mass.sum())
    ends = counted[(sizes == 1) | (sizes == count - 1)].sum()
    assert ends >= mass[[0, -1]].sum() * (1 - 1e-12) / (2 if count == 2 else 1)
    if samples >= 2**count - 2:
        assert len({tuple(row) for row in kept.tolist()}) == 2**count - 2


@pytest.mark.parametrize(("samples", "error"), [(100, 0.15), (1000, 0.03), (4094, 1e-9)])
def test_kernel_shap_comes_nearer_with_more_samples(samples: int, error: float) -> None:
    exact = ours("cnn", "shapley", features="grid:2,3")["x"]
    found = ours("cnn", "kernel_shap", features="grid:2,3", samples=samples)["x"]
    assert np.abs(found - exact).max() < error * np.abs(exact).max()


def test_kernel_shap_says_how_many_samples_it_needs() -> None:
    with pytest.raises(UsageError, match="samples=100 is too few for 64 features"):
        ours("cnn", "kernel_shap", samples=100)


@pytest.mark.parametrize("method", ["shapley", "shapley_sampling", "kernel_shap"])
@pytest.mark.parametrize("kind", ALL)
def test_they_sum_to_the_scores_difference(method: str, kind: str) -> None:
    result = onnxsal.explain(
        model(kind), inputs_of(kind), method=method, target=TARGETS, verify=False, engine="torch", baselines="mean"
    )
    assert result.completeness is not None
    assert np.abs(result.completeness).max() < 1e-12


# --- surrogates -------------------------------------------------------------------------------------------------------


def lime_sample(kind: str, count: int, samples: int) -> torch.Tensor:
    kept = torch.rand(samples, count, generator=score_of(kind).generator()) < 0.5
    kept[0] = True
    return kept


@pytest.mark.parametrize(("kind", "count"), [("mlp", 5), ("cnn", 4), ("two_inputs", 3)])
def test_lime_is_scikit_learns_ridge_on_the_same_sample(kind: str, count: int) -> None:
    features = LABELS.get(kind, "elements")
    kept = lime_sample(kind, count, 60)
    values = coalition_scores(kind, features, kept.numpy())
    counted = nearness(kept, 0.4).numpy()
    expected = [Ridge(alpha=0.5).fit(kept.numpy(), values[:, e], counted).coef_ for e in range(3)]
    found = ours(kind, "lime", features=features, samples=60, width=0.4, ridge=0.5)
    np.testing.assert_allclose(by_feature(found, kind, features), expected, rtol=1e-8)


def test_nearness_is_limes_kernel() -> None:
    kept = lime_sample("mlp", 5, 20)
    whole = np.ones(5)
    for row, found in zip(kept.double().numpy(), nearness(kept, 0.25), strict=True):
        cosine = row @ whole / max(np.linalg.norm(row) * np.linalg.norm(whole), 1e-12)
        expected = np.sqrt(np.exp(-((1 - cosine) ** 2) / 0.25**2))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_lime_is_captums_on_the_same_sample() -> None:
    kept = iter(lime_sample("mlp", 5, 60)[None].double().repeat(3, 1, 1).flatten(0, 1)[:, None])
    captum_ = captum.attr.Lime(
        network("mlp"),
        interpretable_model=SkLearnRidge(alpha=0.5),
        similarity_func=lambda _a, _b, row, **_: nearness(row.bool(), 0.4).item(),
        perturb_func=lambda *_args, **_kwargs: next(kept),
    )
    found = ours("mlp", "lime", samples=60, width=0.4, ridge=0.5)["x"]
    for example, x in enumerate(inputs_of("mlp")["x"]):
        expected = captum_.attribute(x[None], target=TARGETS[example], n_samples=60)
        np.testing.assert_allclose(found[example], expected[0].numpy(), rtol=1e-5, atol=1e-7)


def slow_masks(coarse: _Coarse, lengths: Sequence[int]) -> np.ndarray:
    """Return the masks as the paper makes them: bilinear enlargement by one cell more, then a crop."""
    found = []
    for cells, shift in zip(coarse.seen.double().numpy(), coarse.shifts.T.tolist(), strict=True):
        steps = [-(-length // count) for length, count in zip(lengths, cells.shape, strict=True)]
        mask = cells
        for axis, (step, length, start) in enumerate(zip(steps, lengths, shift, strict=True)):
            count = cells.shape[axis]
            size = (count + 1) * step
            at = (np.arange(size) + 0.5) * count / size - 0.5
            mask = np.apply_along_axis(lambda line, at=at: np.interp(at, np.arange(len(line)), line), axis, mask)
            mask = mask.take(range(start, start + length), axis)
        found.append(mask)
    return np.array(found)


@pytest.mark.parametrize(("kind", "axes", "cells"), [("cnn", (2, 3), 3), ("lstm", (1,), 4), ("mlp", (1,), 8)])
def test_rise_is_the_mean_of_the_masks_by_their_scores(kind: str, axes: tuple[int, ...], cells: int) -> None:
    x = inputs_of(kind)["x"]
    coarse = _Coarse.drawn(x, 50, cells, 0.3, score_of(kind).generator())
    masks = slow_masks(coarse, [x.shape[axis] for axis in axes])
    assert 0 <= masks.min() < masks.max() <= 1
    masks = masks.reshape(50, *(x.shape[a] if a in axes else 1 for a in range(x.ndim)))
    total, values = np.zeros(x.shape), []
    for mask in masks:
        value = scores(kind, {"x": x * torch.from_numpy(mask) + 0.5 * (1 - torch.from_numpy(mask))})
        values.append(value)
        total += value.reshape(3, *(1,) * (x.ndim - 1)) * mask
    options = {"samples": 50, "cells": cells, "keep": 0.3, "baseline": 0.5}
    np.testing.assert_allclose(ours(kind, "rise", centred=False, **options)["x"], total / 15, rtol=1e-6, atol=1e-9)
    usual = np.mean(values, 0).reshape(3, *(1,) * (x.ndim - 1)) * masks.sum(0)
    np.testing.assert_allclose(ours(kind, "rise", **options)["x"], (total - usual) / 15, rtol=1e-6, atol=1e-9)


def test_rise_finds_the_pixel_that_counts() -> None:
    weight = np.zeros((64, 1), np.float32)
    weight[8 * 5 + 2] = 1
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "weight"], ["y"])]
    ports = [("x", tiny.FLOAT, ["N", 1, 8, 8])], [("y", tiny.FLOAT, ["N", 1])]
    result = onnxsal.explain(
        tiny.model(nodes, *ports, {"weight": weight}), {"x": np.ones((1, 1, 8, 8), np.float32)}, method="rise"
    )
    assert np.unravel_index(result.values["x"].argmax(), (8, 8)) == (5, 2)
    assert result.provenance.engine == "onnxruntime"


# --- sensitivity ------------------------------------------------------------------------------------------------------


def test_sobol_is_jansens_estimator() -> None:
    drawn = blends(3, 16, score_of("lstm").generator()).reshape(5, 16, 3)
    first, second, *swapped = drawn.numpy()
    for feature, table in enumerate(swapped):
        expected = first.copy()
        expected[:, feature] = second[:, feature]
        np.testing.assert_array_equal(table, expected)
    values = [coalition_scores("lstm", LABELS["lstm"], table) for table in drawn]
    expected = [((values[0] - one) ** 2).mean(0) / 2 / values[0].var(0) for one in values[2:]]
    found = by_feature(ours("lstm", "sobol", features=LABELS["lstm"], samples=16), "lstm", LABELS["lstm"])
    np.testing.assert_allclose(found, np.transpose(expected), rtol=1e-5)


def test_sobol_of_a_sum_shares_out_the_variance() -> None:
    weight = np.array([[1.0], [2.0], [3.0], [0.0]])
    proto = tiny.model(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        [("x", tiny.DOUBLE, ["N", 4])],
        [("y", tiny.DOUBLE, ["N", 1])],
        {"weight": weight},
    )
    found = onnxsal.explain(proto, {"x": np.ones((1, 4))}, method="sobol", samples=1024).values["x"]
    np.testing.assert_allclose(found[0], weight[:, 0] ** 2 / (weight**2).sum(), atol=0.02)


def test_hsic_is_the_trace_of_the_centred_kernels() -> None:
    ranks = torch.rand(40, 3, generator=score_of("two_inputs").generator()).argsort(0)
    kept = (ranks % 2 == 0).numpy()
    assert (kept.sum(0) == 20).all()
    values = coalition_scores("two_inputs", LABELS["two_inputs"], kept)
    centre = np.eye(40) - 1 / 40
    expected = np.zeros((3, 3))
    for example, feature in itertools.product(range(3), range(3)):
        y = values[:, example]
        distances = (y[:, None] - y) ** 2
        width = np.partition(distances[~np.eye(40, dtype=bool)], 1559 // 2)[1559 // 2]  # torch's median: the lower one
        same = (kept[:, feature][:, None] == kept[:, feature]).astype(float)
        kernel = np.exp(-distances / (2 * width))
        expected[example, feature] = np.trace(same @ centre @ kernel @ centre) / 39**2
    found = ours("two_inputs", "hsic", features=LABELS["two_inputs"], samples=40)
    np.testing.assert_allclose(by_feature(found, "two_inputs", LABELS["two_inputs"]), expected, rtol=1e-9)


# --- all of them ------------------------------------------------------------------------------------------------------

ON_FEATURES = ["feature_ablation", "shapley_sampling", "kernel_shap", "lime", "sobol", "hsic", "shapley"]


@pytest.mark.parametrize("method", ON_FEATURES)
def test_examples_may_have_different_numbers_of_features(method: str) -> None:
    labels = np.array([[0, 0, 0, 0, 0], [0, 1, 2, 3, 4], [0, 0, 1, 1, 2]])
    whole = ours("mlp", method, features={"x": labels})["x"]
    for example, x in enumerate(inputs_of("mlp")["x"]):
        alone = onnxsal.explain(
            model("mlp"),
            {"x": x[None]},
            method=method,
            target=TARGETS[example],
            verify=False,
            features={"x": labels[example]},
        )
        np.testing.assert_allclose(alone.values["x"][0], whole[example], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("method", [*ON_FEATURES, "rise", "occlusion", "feature_permutation"])
def test_the_work_may_be_done_in_pieces(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ours("two_inputs", method)
    monkeypatch.setattr("onnxsal.methods._perturbed.BYTES_AT_ONCE", 400)
    close(ours("two_inputs", method), whole, rtol=1e-9)


@pytest.mark.parametrize("method", [*ON_FEATURES, "rise", "occlusion", "feature_permutation"])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "bool"])
def test_inputs_of_any_type_of_number_are_explained(method: str, dtype: str) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["numbers"], to=tiny.FLOAT),
        helper.make_node("MatMul", ["numbers", "weight"], ["y"]),
    ]
    types = {"uint8": 2, "int64": 7, "float16": 10, "bool": 9}
    weight = np.array([[1.0], [10.0], [0.0]], np.float32)
    proto = tiny.model(nodes, [("x", types[dtype], ["N", 3])], [("y", tiny.FLOAT, ["N", 1])], {"weight": weight})
    x = np.array([[1, 1, 1], [0, 1, 0]], dtype)
    found = onnxsal.explain(proto, {"x": x}, method=method, inputs=["x"]).values["x"]
    assert found.dtype == (np.float16 if dtype == "float16" else np.float32)
    if method in {"feature_ablation", "shapley", "shapley_sampling", "kernel_shap", "occlusion"}:
        np.testing.assert_allclose(found, x.astype(float) * weight[:, 0], rtol=1e-3, atol=1e-6)
    else:
        assert found[0].argmax() == 1 or method == "feature_permutation"


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("rise", {"samples": 0}),
        ("rise", {"keep": 1.0}),
        ("lime", {"samples": 1}),
        ("lime", {"width": 0.0}),
        ("sobol", {"samples": 1}),
        ("hsic", {"samples": 1}),
        ("shapley_sampling", {"samples": 0}),
        ("feature_permutation", {"samples": 0}),
    ],
)
def test_options_that_mean_nothing_are_refused(method: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refusal:
        ours("mlp", method, **options)
    assert refusal.value.where == method
    assert refusal.value.hint


@pytest.mark.parametrize("method", ["occlusion", "rise", *(m for m in ON_FEATURES if m != "hsic")])
def test_a_file_explains_itself_with_the_same_sample(method: str) -> None:
    options = {} if method in {"occlusion", "feature_ablation", "shapley"} else {"samples": 16}
    compiled = onnxsal.compile(tiny.square(), method=method, **options)
    session = onnxruntime.InferenceSession(compiled.proto.SerializeToString())
    x = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    expected = onnxsal.explain(tiny.square(), {"x": x}, method=method, **options).values["x"]
    found = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"x": x}), strict=True))
    np.testing.assert_allclose(found["x_attribution"], expected, rtol=1e-4, atol=1e-6)
