"""Infidelity: do the attributions foretell what a disturbance does to the score?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from onnxsal.entries import ZERO, Baseline, Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._draws import check_count, check_part, drawn, gaussian
from onnxsal.metrics._units import by_unit, pieces, scores_of_mixed
from onnxsal.types import Explanation, Feeds

if TYPE_CHECKING:
    from torch import Tensor

WHERE = "metric infidelity"


def measure(
    explanation: Explanation,
    *,
    disturb: Literal["removal", "noise"] = "removal",
    baseline: Baseline = ZERO,
    part: float = 0.2,
    cells: int = 8,
    noise: float = 0.1,
    samples: int = 50,
    rescale: bool = True,
) -> Tensor:
    """The mean squared difference between how much a disturbance moves the score and how much it should.

    Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations (arXiv 1901.09392). Removal suits attributions
    that say what each part contributes, noise those that say how much the score moves with it.

    Args:
        disturb: Put the baseline in the place of a random part, or add Gaussian noise everywhere.
        baseline: What takes the place of what is removed.
        part: How much is removed each time, as a part of the whole.
        cells: Into how many parts the axes of a picture are cut; whole pieces of it are removed.
        noise: The noise's standard deviation, as a part of the way from an example's least to its greatest value; in a
            table, as a part of each number.
        samples: How many disturbances.
        rescale: Multiply the attributions by the number that suits them best, so that their scale does not count.
    """
    check_count(samples, "samples", WHERE)
    if disturb == "removal":
        check_part(part, "part", WHERE)
        check_count(cells, "cells", WHERE)
        foretold, seen = _removal(explanation, baseline, part, samples, cells)
    else:
        foretold, seen = _noise(explanation, noise, samples)
    if rescale:
        foretold = foretold * ((foretold * seen).mean(0) / foretold.square().mean(0)).nan_to_num()
    return (foretold - seen).square().mean(0)


def _removal(explanation: Explanation, baseline: Feeds, part: float, samples: int, cells: int) -> tuple[Tensor, Tensor]:
    """Return the foretold and the seen falls of the score, shape [samples, examples]."""
    import torch

    piece = pieces(explanation, cells)
    count = int(piece.max()) + 1
    removed = (drawn(explanation, lambda generator: torch.rand(samples, count, generator=generator)) < part)[..., piece]
    score, feeds = explanation.score, explanation.feeds
    foretold = (removed * by_unit(explanation, explanation.values)).sum(2)
    return foretold, score(feeds) - scores_of_mixed(explanation, baseline, feeds, removed)


def _noise(explanation: Explanation, noise: float, samples: int) -> tuple[Tensor, Tensor]:
    """Return the foretold and the seen falls of the score, shape [samples, examples]."""
    score, feeds = explanation.score, explanation.feeds
    added = gaussian(explanation, noise, samples)
    before = score(feeds)
    after = score({name: value.repeat(samples, *[1] * (value.ndim - 1)) - added[name] for name, value in feeds.items()})
    products = [added[name].unflatten(0, (samples, -1)) * value for name, value in explanation.values.items()]
    return sum(product.flatten(2).sum(2) for product in products), before - after.reshape(samples, -1)


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("infidelity", measure, higher_is_better=False)
