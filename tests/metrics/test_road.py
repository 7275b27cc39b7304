"""ROAD: holes are filled as the paper's equations say, and the scores are of what is left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from onnxsal.errors import UsageError
from onnxsal.metrics._imputation import imputed, solve
from onnxsal.metrics.road import _without
from onnxsal.places import channels_last
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of
from tests.metrics.support import examined, measured, of_network, scorer

WEIGHTS = {(0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 12, (1, -1): 1 / 12}


def slow_fill(picture: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Write down one equation for each missing pixel, as a matrix, and solve them."""
    height, width = holes.shape
    missing = [tuple(place) for place in np.argwhere(holes)]
    matrix, right = np.zeros((len(missing),) * 2), np.zeros((len(missing), len(picture)))
    for row, (y, x) in enumerate(missing):
        for (dy, dx), weight in WEIGHTS.items():
            for sign in (1, -1):
                beside = y + sign * dy, x + sign * dx
                if not (0 <= beside[0] < height and 0 <= beside[1] < width):
                    continue
                matrix[row, row] += weight
                if holes[beside]:
                    matrix[row, missing.index(beside)] -= weight
                else:
                    right[row] += weight * picture[(slice(None), *beside)]
    filled = picture.copy()
    filled[:, holes] = np.linalg.solve(matrix, right).T
    return filled


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_holes_are_filled_as_the_equations_say(part: float) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 3, 9, 7, generator=generator, dtype=torch.float64)
    holes = torch.rand(2, 1, 9, 7, generator=generator) < part
    for picture, hole, filled in zip(pictures, holes, solve(pictures, holes), strict=True):
        np.testing.assert_allclose(filled, slow_fill(picture.numpy(), hole[0].numpy()), atol=2e-3)


def test_what_was_not_removed_is_not_touched() -> None:
    pictures = torch.randn(1, 2, 8, 8)
    holes = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    holes[..., 2:5, 3:7] = True
    filled = solve(pictures, holes)
    torch.testing.assert_close(torch.where(holes, 0, filled), torch.where(holes, 0, pictures), rtol=0, atol=0)


def test_a_hole_in_a_flat_picture_cannot_be_seen() -> None:
    flat = torch.full((1, 1, 12, 12), 0.7)
    holes = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    holes[..., 3:, :9] = True
    torch.testing.assert_close(solve(flat, holes), flat, rtol=0, atol=1e-3)


def test_it_is_what_the_paper_says() -> None:
    explanation = of_network()
    found = measured(explanation, "road", steps=3, noise=0)
    score = scorer("cnn")
    for example, x in enumerate(inputs_of("cnn")["x"].numpy()):
        importance = explanation.values["x"][example].numpy().sum(0)
        order = np.argsort(-importance.reshape(-1))
        differences = []
        for step in (1, 2, 3):
            scores = []
            for removed in (order[: 16 * step], order[64 - 16 * step :]):
                holes = np.isin(np.arange(64), removed).reshape(8, 8)
                scores.append(score(slow_fill(x, holes), example))
            differences.append(scores[1] - scores[0])
        assert found[example] == pytest.approx(np.mean(differences), abs=2e-3)


def of_picture(picture: torch.Tensor) -> Any:
    """Return an explanation of nothing but a picture."""
    channels = channels_last(picture.shape)
    return SimpleNamespace(feeds={"x": picture}, channels={"x": (3 if channels else 1,)})


def test_colours_may_come_last() -> None:
    picture = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    removed = torch.rand(4, 2, 72, generator=torch.Generator().manual_seed(0)) < 0.3
    first = imputed(of_picture(picture), removed)["x"]
    last = imputed(of_picture(picture.movedim(1, -1)), removed)["x"]
    torch.testing.assert_close(last.movedim(-1, 1), first)


def test_noise_lies_on_what_was_removed_only() -> None:
    removed = torch.arange(36)[None, None] < 10
    without = _without(of_picture(torch.zeros(1, 1, 6, 6)), removed, {"x": torch.ones(1, 1, 6, 6)})["x"]
    torch.testing.assert_close(without.flatten(), removed.flatten().float())


def test_what_has_no_neighbours_is_refused() -> None:
    with pytest.raises(UsageError, match=r"input 'x' of shape \[1, 3\] is no picture"):
        measured(examined(tiny.linear(), {"x": np.ones((1, 3), np.float32)}, target=0), "road")
