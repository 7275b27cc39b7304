"""The straight way from a baseline to the input, and the points on it at which a method asks the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from onnxsal.errors import UsageError
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

Even = Literal["gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"]
"""Points that are the same whatever the score does between them."""

Quadrature = Literal[
    "gausslegendre", "adaptive", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
]

PROBES = 16
"""Into how many parts the way is cut to see, by the score alone, where it changes."""

EVERYWHERE = 0.1
"""Which part of the first adaptive points is spread evenly, so that no stretch of the way goes unseen."""

ROUNDS = 4
"""How often adaptive points are added where the gradients at the earlier ones differ most."""


@dataclass(frozen=True)
class Line:
    """The gradients at points on the straight way of every example.

    Args:
        ways: From the baseline to the input, shaped like the feeds.
        weights: How much of the way each point stands for, shape [points, examples].
        gradients: Shape [points * examples, *values].
    """

    ways: Feeds
    weights: Tensor
    gradients: Feeds

    def total(self, factors: Tensor | None = None) -> Feeds:
        """Return the way times the mean gradient on it, each times a factor of shape [points, examples]."""
        weights = self.weights if factors is None else self.weights.to(factors) * factors
        return {name: way * weighted(weights, self.gradients[name]) for name, way in self.ways.items()}

    def rises(self) -> Tensor:
        """Return how fast the score rises along the way at each point, shape [points, examples]."""
        return _rises(self.gradients, self.ways)


def line(score: Score, feeds: Feeds, baseline: Feeds, steps: int, quadrature: Quadrature) -> Line:
    """Return the gradients at as many points as there are steps.

    Raises:
        UsageError: too few steps.
    """
    ways = {name: value - baseline[name] for name, value in feeds.items()}
    if quadrature == "adaptive":
        return _adaptive(score, baseline, ways, steps)
    points, weights = even(quadrature, steps, feeds)
    return Line(ways, weights, score.gradients(rows_at(points, baseline, ways)))


def even(quadrature: Even, steps: int, feeds: Feeds) -> tuple[Tensor, Tensor]:
    """Return points from 0 to 1 and their weights, which sum to 1, both of shape [steps, examples].

    Raises:
        UsageError: too few steps.
    """
    import numpy as np
    import torch

    fewest = 2 if quadrature == "riemann_trapezoid" else 1
    if steps < fewest:
        raise UsageError(f"steps={steps} is too few", where="steps", hint=f"{fewest} at the least, 50 is usual")
    alike = np.full(steps, 1 / steps)
    match quadrature:
        case "riemann_left":
            points, weights = np.arange(steps) / steps, alike
        case "riemann_right":
            points, weights = np.arange(1, steps + 1) / steps, alike
        case "riemann_middle":
            points, weights = (np.arange(steps) + 0.5) / steps, alike
        case "riemann_trapezoid":
            points, weights = np.linspace(0, 1, steps), np.full(steps, 1 / (steps - 1))
            weights[[0, -1]] /= 2
        case _:
            points, weights = np.polynomial.legendre.leggauss(steps)
            points, weights = (points + 1) / 2, weights / 2
    shape = steps, next(iter(feeds.values())).shape[0]
    return torch.from_numpy(points)[:, None].expand(shape), torch.from_numpy(weights)[:, None].expand(shape)


def rows_at(points: Tensor, start: Feeds, ways: Feeds) -> Feeds:
    """Return the rows at points of shape [points, examples]: 0 is the start, 1 the way's end."""
    return {n: (start[n] + _beside(points, way.unsqueeze(0)) * way).flatten(0, 1) for n, way in ways.items()}


def weighted(weights: Tensor, rows: Tensor) -> Tensor:
    """Return the sum over the points of what was found at their rows, times weights of shape [points, examples]."""
    each = rows.reshape(*weights.shape, *rows.shape[1:])
    return (_beside(weights, each) * each).sum(0)


def _beside(numbers: Tensor, values: Tensor) -> Tensor:
    """Return numbers of shape [points, examples] such that they multiply values of shape [points, *feed]."""
    return numbers.to(values.dtype).to(values.device).reshape(*numbers.shape, *[1] * (values.ndim - 2))


def _rises(gradients: Feeds, ways: Feeds) -> Tensor:
    """Return the score's derivative along the way at each row, shape [points, examples]."""
    import torch

    parts = [gradients[n].reshape(-1, *w.shape[:1], w[0].numel()) * w.reshape(w.shape[0], -1) for n, w in ways.items()]
    total: Tensor = sum(part.sum(2) for part in parts)  # type: ignore[assignment]
    return total.to(torch.promote_types(total.dtype, torch.float32))


def _adaptive(score: Score, start: Feeds, ways: Feeds, steps: int) -> Line:
    """Lay a few points where the score changes most; then, round by round, more where the gradients differ most.

    Each round cuts some parts of the way into thirds. A part is asked in its middle, which is the middle of its middle
    third too, so no gradient is taken in vain. The first points are those of Bhat and Raychowdhury 2023, Non-Uniform
    Interpolation in Integrated Gradients for Low-Latency Explainable-AI (arXiv 2302.11107).
    """
    import torch

    if steps < 1:
        raise UsageError(f"steps={steps} is too few", where="steps", hint="1 at the least, 50 is usual")
    pairs = steps * ROUNDS // (2 * ROUNDS + 2)
    points, lengths = _where_it_changes(score, start, ways, steps - 2 * pairs)
    found = score.gradients(rows_at(points, start, ways))
    for done in range(ROUNDS):
        cuts = pairs * (done + 1) // ROUNDS - pairs * done // ROUNDS
        if cuts:
            chosen = (_unrest(points, _rises(found, ways)) * lengths).topk(cuts, 0).indices
            thirds = lengths.gather(0, chosen) / 3
            outer = torch.cat([points.gather(0, chosen) - thirds, points.gather(0, chosen) + thirds])
            points = torch.cat([points, outer])
            lengths = torch.cat([lengths.scatter(0, chosen, thirds), thirds, thirds])
            more = score.gradients(rows_at(outer, start, ways))
            found = {name: torch.cat([gradients, more[name]]) for name, gradients in found.items()}
    return Line(ways, lengths, found)


def _where_it_changes(score: Score, start: Feeds, ways: Feeds, count: int) -> tuple[Tensor, Tensor]:
    """Return middles and lengths of parts of each way over which the score changes about alike."""
    import torch

    knots = torch.linspace(0, 1, PROBES + 1, dtype=torch.float64).unsqueeze(1)
    examples = next(iter(ways.values())).shape[0]
    scores = score(rows_at(knots.expand(-1, examples), start, ways)).unflatten(0, (PROBES + 1, -1))
    changes = scores.to(torch.promote_types(scores.dtype, torch.float32)).diff(dim=0).abs()
    total = changes.sum(0)
    shares = torch.where(total > 0, changes / total, 1 / PROBES) * (1 - EVERYWHERE) + EVERYWHERE / PROBES
    before = shares.cumsum(0) - shares
    # The way covered where some share of all change has been met: whole parts, and the part it is met in.
    wanted = torch.arange(1, count, dtype=shares.dtype, device=shares.device).reshape(-1, 1, 1) / count
    inner = ((wanted - before) / shares).clamp(0, 1).mean(1)
    ends = torch.cat([torch.zeros_like(total)[None], inner, torch.ones_like(total)[None]])
    return (ends[1:] + ends[:-1]) / 2, ends.diff(dim=0)


def _unrest(points: Tensor, rises: Tensor) -> Tensor:
    """Return how much the rise at each point differs from those beside it: the larger jump counts.

    The smaller one decides between the two sides of a jump.
    """
    import torch

    order = points.argsort(0)
    jumps = rises.gather(0, order).diff(dim=0).abs()
    none = torch.zeros_like(rises[:1])
    left, right = torch.cat([none, jumps]), torch.cat([jumps, none])
    return torch.zeros_like(rises).scatter(0, order, torch.maximum(left, right) + 0.01 * torch.minimum(left, right))
