"""Integrated gradients with points laid where the score changes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.methods._straight import EVERYWHERE, PROBES
from tests.methods.models import KINDS, inputs_of, model, network

TARGETS = [2, 0, 1]
STEPS = 9


def gradient(kind: str, point: list[torch.Tensor], target: int) -> list[torch.Tensor]:
    leaves = [p.clone().requires_grad_() for p in point]
    network(kind)(*(leaf[None] for leaf in leaves))[0, target].backward()
    return [leaf.grad for leaf in leaves]


def stretches(changes: list[float], steps: int) -> list[float]:
    """Return where the ends of the stretches are: walk along the way, and note where each share has been met."""
    shares = [(1 - EVERYWHERE) * c / sum(changes) + EVERYWHERE / PROBES for c in changes]
    ends = [0.0]
    for step in range(1, steps):
        left, part = step / steps, 0
        while left > shares[part]:
            left -= shares[part]
            part += 1
        ends.append((part + left / shares[part]) / PROBES)
    return [*ends, 1.0]


@pytest.mark.parametrize("kind", KINDS)
def test_adaptive_steps_are_taken_where_a_walk_along_the_way_takes_them(kind: str) -> None:
    inputs = inputs_of(kind)
    found = onnxsal.explain(
        model(kind),
        inputs,
        method="integrated_gradients",
        quadrature="adaptive",
        steps=STEPS,
        baseline=0.25,
        target=TARGETS,
        verify=False,
    )
    for example, target in enumerate(TARGETS):
        end = [value[example] for value in inputs.values()]
        start = [torch.full_like(value, 0.25) for value in end]
        ways = [e - s for e, s in zip(end, start, strict=True)]
        at = [[s + p / PROBES * w for s, w in zip(start, ways, strict=True)] for p in range(PROBES + 1)]
        scores = [network(kind)(*(v[None] for v in point))[0, target].item() for point in at]
        ends = stretches([abs(b - a) for a, b in pairwise(scores)], STEPS)
        expected = [torch.zeros_like(way) for way in ways]
        for a, b in pairwise(ends):
            point = [s + (a + b) / 2 * w for s, w in zip(start, ways, strict=True)]
            slopes = gradient(kind, point, target)
            expected = [t + (b - a) * w * s for t, w, s in zip(expected, ways, slopes, strict=True)]
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
        options = {"quadrature": quadrature, "steps": 24, "target": 0, "verify": False}
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
