"""Remove and debias (ROAD): what does the score lose with the important pixels, and what with the others?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._draws import check_count, gaussian
from onnxsal.metrics._imputation import check_pictures, imputed
from onnxsal.metrics._ranks import ordered
from onnxsal.metrics._units import COPIES, by_unit, mixed
from onnxsal.types import Explanation, Feeds

if TYPE_CHECKING:
    from torch import Tensor

WHERE = "metric road"


def measure(explanation: Explanation, *, steps: int = 9, noise: float = 0.01) -> Tensor:
    """What the score is higher without the least important pixels than without the most important, in the mean.

    Rong et al. 2022, A Consistent and Efficient Evaluation Strategy for Attribution Methods (arXiv 2202.00449): what is
    removed is filled with what its neighbours foretell and a little noise, so that the holes tell nothing.

    Args:
        steps: How many parts of the picture are removed in turn: 9 are a tenth, two tenths, … nine tenths.
        noise: The noise's standard deviation, as a part of the way from an example's least to its greatest value.
    """
    import torch

    check_count(steps, "steps", WHERE)
    check_pictures(explanation, WHERE)
    order = ordered(by_unit(explanation, explanation.values))
    units = order.shape[1]
    counts = (torch.arange(1, steps + 1, device=order.device) * units / (steps + 1)).round()[:, None, None]
    most, least = _scores(explanation, order < counts, noise), _scores(explanation, order >= units - counts, noise)
    return (least - most).mean(0)


def _scores(explanation: Explanation, removed: Tensor, noise: float) -> Tensor:
    """Return the scores of the pictures without what is removed, shape [copies, examples]."""
    import torch

    added = gaussian(explanation, noise, 1)
    scores = [explanation.score(_without(explanation, some, added)) for some in removed.split(COPIES)]
    return torch.cat(scores).reshape(removed.shape[:2])


def _without(explanation: Explanation, removed: Tensor, added: Feeds) -> Feeds:
    """Return copies of the pictures whose removed pixels are filled and disturbed."""
    filled = imputed(explanation, removed)
    noise = mixed(explanation, added, {name: value * 0 for name, value in added.items()}, removed)
    return {name: value + noise[name] for name, value in filled.items()}


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("road", measure, higher_is_better=True)
