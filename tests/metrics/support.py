"""Explanations to be measured, of real models, with whatever attributions a test wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import onnxsal
from onnxsal.evaluation import Examined
from onnxsal.options import checked
from onnxsal.pipeline import explanations
from onnxsal.plugins import registry
from onnxsal.region import check_region
from onnxsal.types import Request
from tests.methods.models import inputs_of, model, network

TARGETS = [2, 0, 1]


def examined(
    source: Any,
    feeds: dict[str, Any],
    values: dict[str, Tensor] | None = None,
    region: dict[str, Any] | None = None,
    method: str = "input_x_gradient",
    target: Any = None,
    **options: Any,
) -> Examined:
    """Return the explanation of an answer; with ``values`` in the place of what the method says."""
    opened = source if isinstance(source, onnxsal.Model) else onnxsal.load(source)
    asked = {name: options.pop(name) for name in ("layer", "inputs") if name in options}
    (found,) = explanations(opened, feeds, Request(method, options, target, verify=False, **asked))
    if values is not None:
        found = replace(found, values=values)
    return Examined(found, check_region(region or {}, feeds))


def of_network(kind: str = "cnn", seed: int = 0, **options: Any) -> Examined:
    """Return random attributions of one of the small networks' answers."""
    feeds = inputs_of(kind)
    return examined(model(kind), feeds, random_like(feeds, seed), target=TARGETS, **options)


def random_like(feeds: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(value.shape, generator=generator, dtype=value.dtype) for name, value in feeds.items()}


def measured(explanation: Examined, metric: str, **options: Any) -> np.ndarray:
    """Return what a metric says of an explanation."""
    entry = registry().get("metrics", metric)
    return np.asarray(entry.measure(explanation, **explanation.arguments(entry, checked(entry, options))))


def scorer(kind: str) -> Callable[[np.ndarray, int], float]:
    """Return the original network's score of one example's only input, for slow implementations."""

    def score(x: np.ndarray, example: int) -> float:
        with torch.no_grad():
            return float(network(kind)(torch.from_numpy(np.ascontiguousarray(x))[None])[0, TARGETS[example]])

    return score
