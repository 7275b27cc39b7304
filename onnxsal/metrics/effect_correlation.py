"""Effect correlation: do larger attributions stand where the score depends on more?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import ZERO, Baseline, Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._draws import check_count
from onnxsal.metrics._ranks import ordered, rank_correlation
from onnxsal.metrics._units import by_unit, scores_of_mixed
from onnxsal.types import Explanation

if TYPE_CHECKING:
    from torch import Tensor


def measure(explanation: Explanation, *, baseline: Baseline = ZERO, groups: int = 100) -> Tensor:
    """The rank correlation of the attributions' sizes with how much the score moves when their parts are removed.

    Nguyen and Martínez 2020, On quantitative aspects of model interpretability (arXiv 2007.07584), where it is called
    monotonicity.

    Args:
        baseline: What takes the place of what is removed.
        groups: How many parts are removed, each by itself; where the input has more, neighbours in size go together.
    """
    import torch

    check_count(groups, "groups", "metric effect_correlation", 2)
    sizes = by_unit(explanation, explanation.values).abs()
    count = min(groups, sizes.shape[1])
    group = ordered(sizes) * count // sizes.shape[1]
    removed = group == torch.arange(count, device=group.device)[:, None, None]
    score, feeds = explanation.score, explanation.feeds
    effects = (score(feeds) - scores_of_mixed(explanation, baseline, feeds, removed)).abs()
    return rank_correlation((removed * sizes).sum(2).T, effects.T)


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("effect_correlation", measure, higher_is_better=True)
