"""SmoothGrad, SmoothGrad² and VarGrad, copy by copy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.methods.smoothgrad import explain
from onnxsal.types import Feeds, Score
from tests import models_for_tests as tiny

X = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 4.0]], dtype=torch.float64)


class Drawing:
    """A score of which only the noise is asked."""

    def normal(self, feeds: Feeds, draw: int = 0) -> Feeds:
        generator = torch.Generator().manual_seed(draw)
        return {n: torch.randn(v.shape, generator=generator, dtype=v.dtype) for n, v in feeds.items()}


def cubes(score: Score, feeds: Feeds) -> Feeds:
    return {name: 3 * value**2 for name, value in feeds.items()}


def copies() -> torch.Tensor:
    """Return the explanation of each of eleven noisy copies, more than are explained at a time."""
    found = []
    for draw in range(11):
        noise = Drawing().normal({"x": X}, draw)["x"]
        rows = zip(X, noise, strict=True)
        found.append(torch.stack([3 * (row + 0.2 * (row.max() - row.min()) * n) ** 2 for row, n in rows]))
    return torch.stack(found)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mean", copies().mean(0)),
        ("squared", (copies() ** 2).mean(0)),
        ("variance", ((copies() - copies().mean(0)) ** 2).mean(0)),
    ],
)
def test_it_is_what_the_copies_say_one_by_one(kind: str, expected: torch.Tensor) -> None:
    found = explain(Drawing(), {"x": X}, of=cubes, kind=kind, samples=11, noise=0.2)
    torch.testing.assert_close(found["x"], expected, rtol=1e-12, atol=0)


def test_the_seed_decides() -> None:
    first, again, other = (
        onnxsal.explain(tiny.square(), {"x": X.float()}, method="smoothgrad", seed=seed).values["x"]
        for seed in (1, 1, 2)
    )
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 1e-3


def test_no_samples_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to average"):
        onnxsal.explain(tiny.square(), {"x": X.float()}, method="smoothgrad", samples=0)
