"""From what a user says of a baseline to tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import onnxsal
from onnxsal.baseline import check_baseline, make_baseline, make_baselines
from onnxsal.entries import BaselineMaker, Baselines, Method
from onnxsal.errors import InputError, PluginError, UsageError
from onnxsal.plugins import OURS, Provider, registry
from onnxsal.types import Feeds, Score
from tests import models_for_tests as tiny

X = torch.arange(12.0, dtype=torch.float64).reshape(2, 1, 2, 3)
FEEDS = {"x": X}


def none() -> list[torch.Generator]:
    return []


def one(spec: Any, feeds: Feeds = FEEDS) -> Feeds:
    return make_baseline(spec, feeds, none)


def several(spec: Any, feeds: Feeds = FEEDS) -> Feeds:
    return make_baselines(spec, feeds, none)


@pytest.fixture
def plugin() -> Iterator[Any]:
    """Return a way to add entries that go again after the test."""

    def add(kind: str, entry: Any, distribution: str = "acme") -> None:
        registry().add(kind, entry, Provider(distribution, "1", distribution))

    yield add
    registry.cache_clear()


# --- one syntax for a name and its options ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("gauss", {"sigma": 10.0, "sizes": (1, 2)}),
        ("gauss:5", {"sigma": 5.0, "sizes": (1, 2)}),
        ("gauss:sigma=5", {"sigma": 5.0, "sizes": (1, 2)}),
        ("gauss:5,sizes=3,4", {"sigma": 5.0, "sizes": (3, 4)}),
        ("gauss:sizes=3,4,sigma=0.5", {"sigma": 0.5, "sizes": (3, 4)}),
        ("acme:gauss", {"sigma": 10.0, "sizes": (1, 2)}),
        ("acme:gauss:2", {"sigma": 2.0, "sizes": (1, 2)}),
    ],
)
def test_a_name_may_carry_options(plugin: Any, said: str, expected: dict[str, Any]) -> None:
    def make(feeds: Feeds, *, sigma: float = 10.0, sizes: tuple[int, ...] = (1, 2)) -> Feeds:
        return feeds

    plugin("baselines", BaselineMaker("gauss", make))
    entry, options = registry().configured("baselines", said)
    assert (entry.name, options) == ("gauss", expected)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("blurr:sigma=0.5", "did you mean 'blur'"),
        ("blur:sgima=0.5", "did you mean 'sigma'"),
        ("blur:sigma=wide", "not a value of type float"),
        ("zero:3", "takes no options"),
        ("blurr", "did you mean 'blur'"),
    ],
)
def test_what_no_baseline_understands_is_refused_before_the_model_runs(said: str, told: str) -> None:
    with pytest.raises(UsageError) as fault:
        check_baseline(said)
    assert told in str(fault.value)
    with pytest.raises(UsageError):
        onnxsal.explain(tiny.linear(), {"x": np.zeros((1, 4))}, method="integrated_gradients", baseline=said)


@pytest.mark.parametrize("said", [0, "0.5", "a.npy", "./zero", Path("a.npz"), {"x": 0}])
def test_numbers_files_and_arrays_are_no_names(said: Any) -> None:
    check_baseline(said)


# --- one --------------------------------------------------------------------------------------------------------------


def test_options_reach_the_baseline() -> None:
    narrow, wide = one("blur:sigma=0.1")["x"], one("blur:sigma=50")["x"]
    torch.testing.assert_close(narrow, X)
    torch.testing.assert_close(wide, X.mean((2, 3), keepdim=True).expand_as(X), rtol=1e-2, atol=1e-2)


def test_one_of_several_is_not_guessed(plugin: Any) -> None:
    plugin("baselines", BaselineMaker("two", lambda feeds: {n: torch.stack([v, v]) for n, v in feeds.items()}))
    with pytest.raises(UsageError, match="gives 2 baselines, the method takes one"):
        one("two")


def test_an_array_without_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="ndarray is no baseline"):
        one(np.zeros((2, 3)))


def test_a_broken_plugin_is_named(plugin: Any) -> None:
    plugin("baselines", BaselineMaker("broken", lambda feeds: {n: v.flatten()[:5] for n, v in feeds.items()}))
    with pytest.raises(PluginError, match="'broken' of acme 1"):
        one("broken")


# --- several ----------------------------------------------------------------------------------------------------------


def test_every_row_of_an_array_is_a_baseline_for_every_example() -> None:
    rows = np.random.default_rng(0).random((3, 1, 2, 3))
    found = several({"x": rows})["x"]
    assert found.shape == (3, *X.shape)
    for example in range(2):
        np.testing.assert_array_equal(found[:, example], rows)


def test_the_rows_of_a_file_are_baselines(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((4, 1, 2, 3))
    np.savez(tmp_path / "train.npz", x=rows)
    for spec in (str(tmp_path / "train.npz"), tmp_path / "train.npz"):
        np.testing.assert_array_equal(several(spec)["x"][:, 0], rows)


def test_what_follows_the_example_is_one_baseline_of_each() -> None:
    torch.testing.assert_close(several("blur:2")["x"], one("blur:2")["x"][None])
    assert several(0.5)["x"].shape == (1, *X.shape)


def test_stacked_rows_belong_to_their_examples() -> None:
    rows = several({"x": torch.stack([X[0], X[1], X[0]])})["x"].flatten(0, 1)
    torch.testing.assert_close(rows, X[[0, 0, 1, 1, 0, 0]])


@pytest.mark.parametrize("shape", [(3, 2, 3), (3, 1, 2, 4), (0, 1, 2, 3)])
def test_rows_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        several({"x": np.zeros(shape)})


def test_inputs_have_as_many_rows_each() -> None:
    feeds = {"a": X, "b": X}
    with pytest.raises(InputError, match="2 for input 'a', 3 for input 'b'"):
        several({"a": np.zeros((2, 1, 2, 3)), "b": np.zeros((3, 1, 2, 3))}, feeds)
    with pytest.raises(InputError, match="nothing for input 'b'"):
        several({"a": np.zeros((2, 1, 2, 3))}, feeds)


def test_a_method_is_handed_them_and_held_to_their_mean(plugin: Any) -> None:
    def explain(score: Score, feeds: Feeds, *, baselines: Baselines = "zero") -> Feeds:  # type: ignore[assignment]
        """Shapley values of a linear score."""
        gradients = score.gradients(feeds)
        return {n: gradients[n] * (v - baselines[n]).mean(0) for n, v in feeds.items()}

    plugin("methods", Method("linear_shap", explain, complete=True), OURS)
    x, rows = np.float32([[1, 2, 3], [0, 1, 0]]), np.random.default_rng(0).random((5, 3), np.float32)
    found = onnxsal.explain(tiny.linear(), {"x": x}, method="linear_shap", target=0, baselines={"x": rows})
    np.testing.assert_allclose(found.values["x"], tiny.WEIGHT[:, 0] * (x - rows.mean(0)), rtol=1e-5)
    assert found.completeness is not None
    np.testing.assert_allclose(found.completeness, 0, atol=1e-5)
