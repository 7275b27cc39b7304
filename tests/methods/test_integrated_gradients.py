"""Integrated gradients with points laid where the score changes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.methods._straight import EVERYWHERE, PROBES, ROUNDS
from tests.methods.models import KINDS, inputs_of, model, network

TARGETS = [2, 0, 1]


def gradient(kind: str, point: list[Tensor], target: int) -> list[Tensor]:
    leaves = [p.clone().requires_grad_() for p in point]
    network(kind)(*(leaf[None] for leaf in leaves))[0, target].backward()
    return [leaf.grad for leaf in leaves]


def stretches(changes: list[float], count: int) -> list[float]:
    """Return where the ends of the first parts are: walk along the way, and note where each share has been met."""
    shares = [(1 - EVERYWHERE) * c / sum(changes) + EVERYWHERE / PROBES for c in changes]
    ends = [0.0]
    for step in range(1, count):
        left, probe = step / count, 0
        while left > shares[probe]:
            left -= shares[probe]
            probe += 1
        ends.append((probe + left / shares[probe]) / PROBES)
    return [*ends, 1.0]


def adaptive(kind: str, start: list[Tensor], ways: list[Tensor], target: int, steps: int) -> list[Tensor]:
    """Cut the way part by part, one example at a time; a part is its middle, its length and the gradient there."""

    def part(middle: float, length: float) -> tuple[float, float, list[Tensor], float]:
        slopes = gradient(kind, [s + middle * w for s, w in zip(start, ways, strict=True)], target)
        return middle, length, slopes, sum(float((s * w).sum()) for s, w in zip(slopes, ways, strict=True))

    pairs = steps * ROUNDS // (2 * ROUNDS + 2)
    first = steps - 2 * pairs
    at = [[s + p / PROBES * w for s, w in zip(start, ways, strict=True)] for p in range(PROBES + 1)]
    scores = [network(kind)(*(v[None] for v in point))[0, target].item() for point in at]
    ends = stretches([abs(b - a) for a, b in pairwise(scores)], first)
    parts = [part((a + b) / 2, b - a) for a, b in pairwise(ends)]
    for cuts in np.diff([pairs * done // ROUNDS for done in range(ROUNDS + 1)]):
        parts.sort(key=lambda p: p[0])
        rises = [p[3] for p in parts]
        jumps = [0.0, *(abs(b - a) for a, b in pairwise(rises)), 0.0]
        sides = [sorted(pair) for pair in pairwise(jumps)]
        worth = [(larger + 0.01 * smaller) * p[1] for (smaller, larger), p in zip(sides, parts, strict=True)]
        for index in sorted(range(len(parts)), key=lambda i: -worth[i])[:cuts]:
            middle, length, slopes, rise = parts[index]
            parts[index] = middle, length / 3, slopes, rise
            parts += [part(middle - length / 3, length / 3), part(middle + length / 3, length / 3)]
    assert len(parts) == steps
    return [sum(p[1] * w * p[2][i] for p in parts) for i, w in enumerate(ways)]


@pytest.mark.parametrize("steps", [3, 20, 41])
@pytest.mark.parametrize("kind", KINDS)
def test_adaptive_steps_are_taken_where_the_gradients_differ(kind: str, steps: int) -> None:
    inputs = inputs_of(kind)
    options = {
        "quadrature": "adaptive",
        "steps": steps,
        "baseline": 0.25,
        "target": TARGETS,
        "completeness_tolerance": 10,
    }
    found = onnxsal.explain(model(kind), inputs, method="integrated_gradients", verify=False, **options)
    for example, target in enumerate(TARGETS):
        start = [torch.full_like(value[example], 0.25) for value in inputs.values()]
        ways = [value[example] - s for value, s in zip(inputs.values(), start, strict=True)]
        expected = adaptive(kind, start, ways, target, steps)
        for value, total in zip(found.values.values(), expected, strict=True):
            np.testing.assert_allclose(value[example], total, rtol=1e-8, atol=1e-12)


def test_adaptive_steps_come_nearer_where_the_score_rises_all_at_once() -> None:
    """A steep sigmoid of the sum: nearly all of the difference falls in a fiftieth of the way."""
    import onnx

    steep = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        steep (double[n, 3] x) => (double[n, 1] y)
          <double[3, 1] w = {1, 1, 1}, double k = {200}, double t = {0.37}> {
          sum = MatMul(x, w) apart = Sub(sum, t) steeper = Mul(apart, k) y = Sigmoid(steeper)
        }
        """
    )
    x = np.array([[0.5, 0.25, 0.25], [0.1, 0.3, 0.4]])

    def missed(quadrature: str) -> float:
        options = {"quadrature": quadrature, "steps": 24, "target": 0, "completeness_tolerance": 2.0}
        return float(
            np.abs(onnxsal.explain(steep, {"x": x}, method="integrated_gradients", **options).completeness).max()
        )

    assert missed("adaptive") < 0.03
    assert min(missed("gausslegendre"), missed("riemann_middle")) > 0.3


@pytest.mark.parametrize(("quadrature", "steps"), [("adaptive", 0), ("gausslegendre", 0), ("riemann_trapezoid", 1)])
def test_too_few_steps_are_refused(quadrature: str, steps: int) -> None:
    with pytest.raises(UsageError, match="too few"):
        onnxsal.explain(
            model("mlp"),
            inputs_of("mlp"),
            method="integrated_gradients",
            quadrature=quadrature,
            steps=steps,
            verify=False,
        )
