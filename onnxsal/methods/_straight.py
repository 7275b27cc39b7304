"""The straight way from a baseline to the input, and the points on it at which a method asks the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from onnxsal.errors import UsageError
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

Quadrature = Literal[
    "gausslegendre", "adaptive", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
]


PROBES = 16
"""Into how many parts the way is cut to see where the score changes."""

EVERYWHERE = 0.1
"""Which part of the points is spread evenly, so that no stretch of the way goes unseen."""


@dataclass(frozen=True)
class Line:
    """Points on the straight way of every example, and how much each of them counts.

    Args:
        ways: From the baseline to the input, shaped like the feeds.
        rows: The points, one after the other for all examples, as a score takes them.
        weights: Shape [points, examples]; those of an example sum to 1.
    """

    ways: Feeds
    rows: Feeds
    weights: Tensor

    def mean(self, values: Tensor, factors: Tensor | None = None) -> Tensor:
        """Return the mean over the way of what was found at each row, times factors of shape [points, examples]."""
        each = values.reshape(*self.weights.shape, *values.shape[1:])
        weights = self.weights if factors is None else self.weights.to(factors) * factors
        return (_beside(weights, each) * each).sum(0)

    def rises(self, gradients: Feeds) -> Tensor:
        """Return how fast the score rises along the way at each point, shape [points, examples]."""
        parts = [gradients[n].reshape(*self.weights.shape, -1) * w.reshape(len(w), -1) for n, w in self.ways.items()]
        return sum(part.sum(2) for part in parts)  # type: ignore[return-value]


def line(score: Score, feeds: Feeds, baseline: Feeds, steps: int, quadrature: Quadrature) -> Line:
    """Return as many points on the way as there are steps.

    Raises:
        UsageError: too few steps.
    """
    fewest = {"riemann_trapezoid": 2}.get(quadrature, 1)
    if steps < fewest:
        raise UsageError(f"steps={steps} is too few", where="steps", hint=f"{fewest} at the least, 50 is usual")
    ways = {name: value - baseline[name] for name, value in feeds.items()}
    if quadrature == "adaptive":
        points, weights = _adaptive(score, baseline, ways, steps)
    else:
        examples = len(next(iter(feeds.values())))
        points, weights = (numbers.unsqueeze(1).expand(-1, examples) for numbers in _fixed(quadrature, steps))
    return Line(ways, rows_at(points, baseline, ways), weights)


def rows_at(points: Tensor, start: Feeds, ways: Feeds) -> Feeds:
    """Return the rows at points of shape [points, examples]: 0 is the start, 1 the way's end."""
    return {n: (start[n] + _beside(points, way.unsqueeze(0)) * way).flatten(0, 1) for n, way in ways.items()}


def _beside(numbers: Tensor, values: Tensor) -> Tensor:
    """Return numbers of shape [points, examples] such that they multiply values of shape [points, *feed]."""
    return numbers.to(values.dtype).to(values.device).reshape(*numbers.shape, *[1] * (values.ndim - 2))


def _fixed(quadrature: Quadrature, steps: int) -> tuple[Tensor, Tensor]:
    """Return points in [0, 1] and their weights, which sum to 1."""
    import numpy as np
    import torch

    even = np.full(steps, 1 / steps)
    match quadrature:
        case "riemann_left":
            points, weights = np.arange(steps) / steps, even
        case "riemann_right":
            points, weights = np.arange(1, steps + 1) / steps, even
        case "riemann_middle":
            points, weights = (np.arange(steps) + 0.5) / steps, even
        case "riemann_trapezoid":
            points, weights = np.linspace(0, 1, steps), np.full(steps, 1 / (steps - 1))
            weights[[0, -1]] /= 2
        case _:
            points, weights = np.polynomial.legendre.leggauss(steps)
            points, weights = (points + 1) / 2, weights / 2
    return torch.from_numpy(points), torch.from_numpy(weights)


def _adaptive(score: Score, start: Feeds, ways: Feeds, steps: int) -> tuple[Tensor, Tensor]:
    """Return middles and lengths of stretches of each example's way over which the score changes about alike.

    It is what Bhat and Raychowdhury 2023 do, Non-Uniform Interpolation in Integrated Gradients for Low-Latency
    Explainable-AI (arXiv 2302.11107), with as many points for every example.
    """
    import torch

    knots = torch.linspace(0, 1, PROBES + 1, dtype=torch.float64).unsqueeze(1)
    examples = len(next(iter(ways.values())))
    scores = score(rows_at(knots.expand(-1, examples), start, ways)).unflatten(0, (PROBES + 1, -1))
    changes = scores.to(torch.promote_types(scores.dtype, torch.float32)).diff(dim=0).abs()
    total = changes.sum(0)
    shares = torch.where(total > 0, changes / total, 1 / PROBES) * (1 - EVERYWHERE) + EVERYWHERE / PROBES
    before = shares.cumsum(0) - shares
    # The way covered where some share of all change has been met: whole parts, and the part it is met in.
    wanted = torch.arange(1, steps, dtype=shares.dtype, device=shares.device).reshape(-1, 1, 1) / steps
    inner = ((wanted - before) / shares).clamp(0, 1).mean(1)
    ends = torch.cat([torch.zeros_like(total)[None], inner, torch.ones_like(total)[None]])
    return (ends[1:] + ends[:-1]) / 2, ends.diff(dim=0)
