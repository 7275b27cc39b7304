"""Methods that integrate along a way of their own, beside slow loops written from their papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.places import places
from tests.methods.models import KINDS, inputs_of, model, network

TARGETS = [2, 0, 1]
SINGLE = ["cnn", "mlp", "lstm", "transformer"]


def found(kind: str, method: str, **options: Any) -> onnxsal.Attribution:
    """Explain however far the sums are off: a few steps are compared with as few of the loop's."""
    settings = {"target": TARGETS, "verify": False, "completeness_tolerance": 10} | options
    return onnxsal.explain(model(kind), inputs_of(kind), method=method, **settings)


def slope(kind: str, point: np.ndarray, target: int) -> np.ndarray:
    """Return the score's gradient by one example of one input."""
    leaf = torch.tensor(point).requires_grad_()
    network(kind)(leaf[None])[0, target].backward()
    return leaf.grad.numpy()


def guided(gradient: Callable[[np.ndarray], np.ndarray], end: np.ndarray, steps: int, fraction: float, distance: float):
    """The paper's algorithm as it stands there, for one example and a baseline of zero."""
    x, total, whole = np.zeros_like(end), np.zeros_like(end), np.abs(end).sum()
    for step in range(1, steps + 1):
        raw = gradient(x)
        slopes = raw.copy()
        low, high = max(step / steps - distance, 0) * end, min(step / steps + distance, 1) * end
        wanted = whole * (1 - step / steps)
        behind = x / end < max(step / steps - distance, 0)
        before = x.copy()
        x[behind] = low[behind]
        gamma = math.inf
        while gamma > 1:
            left = np.abs(end - x).sum()
            if math.isclose(left, wanted, rel_tol=1e-9, abs_tol=1e-9):
                break
            slopes[x == high] = np.inf
            threshold = np.quantile(np.abs(slopes), fraction, method="lower")
            chosen = (np.abs(slopes) <= threshold) & (slopes != np.inf)
            room = np.abs(x - high)[chosen].sum()
            gamma = (left - wanted) / room if room > 0 else math.inf
            share = min(gamma, 1)
            x[chosen] = high[chosen] if share == 1 else (x + share * (high - x))[chosen]
        total += (x - before) * raw
    return total


@pytest.mark.parametrize("kind", ["mlp", "lstm", "transformer"])
@pytest.mark.parametrize(("fraction", "distance"), [(0.1, 0.02), (0.25, 0.1), (1.0, 1.0)])
def test_guided_ig_moves_what_the_papers_loop_moves(kind: str, fraction: float, distance: float) -> None:
    values = found(kind, "guided_ig", steps=15, fraction=fraction, distance=distance).values["x"]
    for example, target in enumerate(TARGETS):
        end = inputs_of(kind)["x"][example].numpy()
        expected = guided(
            lambda flat, k=kind, e=end, t=target: slope(k, flat.reshape(e.shape), t).ravel(),
            end.ravel(),
            15,
            fraction,
            distance,
        )
        np.testing.assert_allclose(values[example].ravel(), expected, rtol=1e-7, atol=1e-9)


def test_guided_ig_on_a_leash_is_integrated_gradients() -> None:
    leash = found("transformer", "guided_ig", distance=0.0, steps=40).values["x"]
    straight = found("transformer", "integrated_gradients", quadrature="riemann_left", steps=40).values["x"]
    np.testing.assert_allclose(leash, straight, rtol=1e-6, atol=1e-12)


def test_guided_ig_sums_to_the_difference_with_many_steps() -> None:
    few, many = (np.abs(found("transformer", "guided_ig", steps=steps).completeness).max() for steps in (20, 200))
    assert many < few / 3


@pytest.mark.parametrize("kind", SINGLE)
def test_blur_ig_goes_through_scipys_gaussians(kind: str) -> None:
    values = found(kind, "blur_ig", sigma=3.0, steps=6).values["x"]
    for example, target in enumerate(TARGETS):
        x = inputs_of(kind)["x"][example].numpy()
        axes = [axis - 1 for axis in places((1, *x.shape))]

        def blurred(sigma: float, x: np.ndarray = x, axes: list[int] = axes) -> np.ndarray:
            sigmas = [sigma if axis in axes else 0 for axis in range(x.ndim)]
            radii = [max(1, round(3 * sigma)) if axis in axes else 0 for axis in range(x.ndim)]
            return scipy.ndimage.gaussian_filter(x, sigmas, mode="nearest", radius=radii) if sigma else x

        expected = np.zeros_like(x)
        for step in range(6):
            here, there = blurred(3 * (1 - step / 6)), blurred(3 * (1 - (step + 1) / 6))
            expected += slope(kind, (here + there) / 2, target) * (there - here)
        np.testing.assert_allclose(values[example], expected, rtol=1e-7, atol=1e-10)


def test_blur_ig_sums_to_the_difference_from_the_blurred_input() -> None:
    sharp = found("cnn", "blur_ig", sigma=4.0, steps=200)
    blurred = onnxsal.explain(
        model("cnn"),
        inputs_of("cnn"),
        method="integrated_gradients",
        baseline="blur:sigma=4",
        target=TARGETS,
        verify=False,
    )
    wanted = blurred.values["x"].sum((1, 2, 3)) - blurred.completeness
    np.testing.assert_allclose(sharp.values["x"].sum((1, 2, 3)), wanted, atol=0.01 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", KINDS)
def test_idg_weighs_each_gradient_by_the_rise_of_the_score_there(kind: str) -> None:
    values = found(kind, "idg", quadrature="riemann_middle", steps=7).values
    inputs = inputs_of(kind)
    for example, target in enumerate(TARGETS):
        ends = [value[example] for value in inputs.values()]
        expected = [torch.zeros_like(end) for end in ends]
        for step in range(7):
            along = torch.tensor((step + 0.5) / 7, dtype=torch.float64, requires_grad=True)
            points: list[Tensor] = [along * end for end in ends]
            score = network(kind)(*(p[None] for p in points))[0, target]
            rise, *slopes = torch.autograd.grad(score, [along, *points])
            expected = [t + e * own * rise / 7 for t, e, own in zip(expected, ends, slopes, strict=True)]
        for name, total in zip(values, expected, strict=True):
            np.testing.assert_allclose(values[name][example], total, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("guided_ig", {"steps": 0}),
        ("guided_ig", {"fraction": 0.0}),
        ("guided_ig", {"fraction": 1.5}),
        ("guided_ig", {"distance": -0.1}),
        ("blur_ig", {"steps": 0}),
        ("blur_ig", {"sigma": 0.0}),
        ("idg", {"steps": 0}),
    ],
)
def test_ways_that_are_none_are_refused(method: str, options: dict[str, float]) -> None:
    with pytest.raises(UsageError) as refusal:
        found("mlp", method, **options)
    assert refusal.value.hint
