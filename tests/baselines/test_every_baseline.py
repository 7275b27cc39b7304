"""What every baseline promises, and what each of them is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import onnxsal
from onnxsal.baseline import make_baseline, make_baselines
from onnxsal.errors import UsageError
from onnxsal.plugins import registry
from onnxsal.types import Feeds
from tests import models_for_tests as tiny

SHAPES = [(3, 2, 5, 4), (3, 6, 5), (3, 7), (3,)]
SAID = {"constant": "constant:0.25", "token": "token:2"}
ALL = [SAID.get(name, name) for name in registry().names("baselines")]
RANDOM = ["uniform", "noise"]


def examples(shape: tuple[int, ...] = SHAPES[0]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def generators(count: int = 3) -> Any:
    return lambda: [torch.Generator().manual_seed(seed) for seed in range(count)]


def one(said: str, value: torch.Tensor) -> torch.Tensor:
    return make_baseline(said, {"x": value}, generators(len(value)))["x"]


@pytest.mark.parametrize("said", ALL)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_it_is_shaped_like_the_feeds_and_leaves_them_alone(said: str, shape: Any, dtype: torch.dtype) -> None:
    value = examples(shape).to(dtype)
    before = value.clone()
    found = one(said, value)
    assert (found.shape, found.dtype) == (value.shape, dtype)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(value, before, rtol=0, atol=0)


@pytest.mark.parametrize("said", ALL)
def test_an_example_s_baseline_is_the_same_in_any_company(said: str) -> None:
    x = np.float32([[1, 2, 3], [0, -1, 5], [2, 2, 1]])
    options: dict[str, Any] = {"method": "integrated_gradients", "baseline": said, "target": 0, "steps": 2}
    whole = onnxsal.explain(tiny.linear(), {"x": x}, **options).values["x"]
    np.testing.assert_array_equal(onnxsal.explain(tiny.linear(), {"x": x[::-1]}, **options).values["x"], whole[::-1])
    np.testing.assert_array_equal(onnxsal.explain(tiny.linear(), {"x": x[1:2]}, **options).values["x"], whole[1:2])


def test_a_constant_may_have_a_number_for_each_channel() -> None:
    value = examples()
    expected = torch.tensor([1.0, -2.0], dtype=torch.float64).reshape(1, 2, 1, 1).expand_as(value)
    torch.testing.assert_close(one("constant:1,-2", value), expected)
    torch.testing.assert_close(one("constant:value=1,-2", value.movedim(1, -1)), expected.movedim(1, -1))


def test_a_constant_with_too_few_numbers_is_refused() -> None:
    with pytest.raises(UsageError, match="3 numbers do not fit the channels of input 'x'"):
        one("constant:1,2,3", examples())
    with pytest.raises(UsageError, match="needs option 'value'"):
        one("constant", examples())


@pytest.mark.parametrize(("shape", "axes"), [((3, 2, 5, 6), (2, 3)), ((3, 5, 6, 2), (1, 2)), ((3, 2, 9), (2,))])
def test_the_mean_is_that_of_each_channel(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    value = examples(shape)
    expected = np.broadcast_to(value.numpy().mean(axes, keepdims=True), value.shape)
    np.testing.assert_allclose(one("mean", value), expected, rtol=1e-12)


def test_the_mean_of_a_row_is_that_of_its_columns() -> None:
    value = examples((3, 7))
    np.testing.assert_allclose(one("mean", value), np.repeat(value.numpy().mean(1), 7).reshape(3, 7), rtol=1e-12)


def statistics(said: str, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Feeds]:
    made = make_baselines(said, {"x": value}, generators(len(value)))
    return made["x"].mean(0), made["x"].std(0), made


def test_uniform_fills_each_example_s_own_range() -> None:
    value = examples((3, 7))
    mean, deviation, made = statistics("uniform:draws=4000", value)
    least, greatest = value.amin(1, keepdim=True), value.amax(1, keepdim=True)
    spread = (greatest - least).expand_as(value)
    assert made["x"].shape == (4000, 3, 7)
    assert (made["x"] >= least).all()
    assert (made["x"] <= greatest).all()
    torch.testing.assert_close(mean, ((least + greatest) / 2).expand_as(value), rtol=0, atol=0.1)
    torch.testing.assert_close(deviation, spread / 12**0.5, rtol=0.06, atol=0)


def test_uniform_fills_the_range_it_is_given() -> None:
    _, _, made = statistics("uniform:low=-1,high=2,draws=500", examples((3, 7)))
    assert made["x"].min() == pytest.approx(-1, abs=0.02)
    assert made["x"].max() == pytest.approx(2, abs=0.02)


def test_noise_is_about_the_input() -> None:
    value = examples((3, 7))
    mean, deviation, _ = statistics("noise:0.25,draws=4000", value)
    spread = (value.amax(1, keepdim=True) - value.amin(1, keepdim=True)).expand_as(value)
    torch.testing.assert_close(deviation, 0.25 * spread, rtol=0.06, atol=0)
    torch.testing.assert_close(mean, value, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", RANDOM)
def test_the_seed_decides_what_is_drawn(name: str) -> None:
    x = np.float32([[1, 2, 3]])
    first, again, other = (
        onnxsal.explain(tiny.linear(), {"x": x}, method="integrated_gradients", baseline=name, target=0, seed=seed)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.values["x"], again.values["x"])
    assert (first.values["x"] != other.values["x"]).all()


@pytest.mark.parametrize("name", RANDOM)
def test_no_draws_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="draws=0"):
        one(f"{name}:draws=0", examples())
