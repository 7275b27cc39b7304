"""Infidelity and max-sensitivity are Captum's on the same disturbances, in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor

from onnxsal.metrics._draws import drawn, gaussian, uniform
from onnxsal.types import Feeds
from tests.methods.models import inputs_of, model, network
from tests.metrics.support import TARGETS, examined, measured, of_network

SAMPLES = 9


def by_example(rows: Feeds) -> tuple[Tensor, ...]:
    """Return stacked copies in Captum's order: all copies of an example behind one another."""
    return tuple(v.unflatten(0, (SAMPLES, -1)).transpose(0, 1).flatten(0, 1) for v in rows.values())


def captums(explanation: Any, kind: str, perturb: Any, normalise: bool) -> np.ndarray:
    found = infidelity(
        network(kind),
        perturb,
        tuple(explanation.feeds.values()),
        tuple(explanation.values.values()),
        target=TARGETS,
        n_perturb_samples=SAMPLES,
        normalize=normalise,
    )
    return found.numpy()


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("kind", ["cnn", "mlp", "two_inputs", "transformer"])
def test_infidelity_under_noise(kind: str, rescale: bool) -> None:
    explanation = of_network(kind)
    noise = by_example(gaussian(explanation, 0.1, SAMPLES))

    def perturb(*inputs: Any) -> Any:
        given = inputs[0] if isinstance(inputs[0], tuple) else inputs
        return noise, tuple(value - added for value, added in zip(given, noise, strict=True))

    ours = measured(explanation, "infidelity", disturb="noise", samples=SAMPLES, rescale=rescale)
    np.testing.assert_allclose(ours, captums(explanation, kind, perturb, rescale), rtol=1e-5)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("baseline", [0, 0.5])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_infidelity_under_removal(kind: str, rescale: bool, baseline: float) -> None:
    explanation = of_network(kind)
    count = {"mlp": 5, "cnn": 16}[kind]
    removed = drawn(explanation, lambda generator: torch.rand(SAMPLES, count, generator=generator)) < 0.2
    if kind == "cnn":  # pieces of two pixels by two, whatever the colour
        squares = removed.reshape(SAMPLES, 3, 1, 4, 4).repeat_interleave(2, 3).repeat_interleave(2, 4)
        removed = squares.expand(-1, -1, 2, -1, -1)
    (masks,) = by_example({"x": removed.flatten(0, 1).double()})
    assert 0 < masks.mean() < 1

    def perturb(*inputs: Any) -> Any:
        (given,) = inputs[0] if isinstance(inputs[0], tuple) else inputs
        return (masks,), (given * (1 - masks) + baseline * masks,)

    ours = measured(explanation, "infidelity", samples=SAMPLES, rescale=rescale, baseline=baseline, cells=4)
    np.testing.assert_allclose(ours, captums(explanation, kind, perturb, rescale), rtol=1e-5)


@pytest.mark.parametrize("kind", ["cnn", "transformer", "two_inputs"])
def test_max_sensitivity(kind: str) -> None:
    feeds = inputs_of(kind)
    explanation = examined(model(kind), feeds, method="saliency", target=TARGETS)
    noise = by_example(uniform(explanation, 0.05, SAMPLES))

    def perturb(inputs: Any, _radius: float) -> Any:
        given = inputs if isinstance(inputs, tuple) else (inputs,)
        return tuple(value + added for value, added in zip(given, noise, strict=True))

    theirs = sensitivity_max(
        Saliency(network(kind)).attribute, tuple(feeds.values()), perturb, n_perturb_samples=SAMPLES, target=TARGETS
    )
    ours = measured(explanation, "max_sensitivity", radius=0.05, samples=SAMPLES)
    assert (ours > 0).any()
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)


def test_noise_is_a_part_of_the_examples_range_and_in_a_table_of_each_number() -> None:
    pictures = uniform(of_network("cnn"), 0.1, 200)["x"].unflatten(0, (200, 3)).abs().amax((0, 2, 3, 4))
    feeds = inputs_of("cnn")["x"].flatten(1)
    torch.testing.assert_close(pictures, 0.1 * (feeds.amax(1) - feeds.amin(1)), rtol=1e-2, atol=0)
    table = gaussian(of_network("mlp"), 0.1, 4000)["x"].unflatten(0, (4000, 3)).std(0)
    torch.testing.assert_close(table, 0.1 * inputs_of("mlp")["x"].abs(), rtol=0.05, atol=0)
