"""The model parameter randomisation test: does the explanation depend on what the model has learnt?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._draws import check_count
from onnxsal.metrics._ranks import rank_correlation
from onnxsal.metrics._units import by_unit
from onnxsal.types import Explanation

if TYPE_CHECKING:
    from torch import Tensor


def measure(explanation: Explanation, *, stages: int = 5) -> Tensor:
    """The mean rank correlation of the attributions' sizes with those of the model losing its weights, layer by layer.

    Adebayo et al. 2018, Sanity Checks for Saliency Maps (arXiv 1810.03292): the cascading randomisation. The weights of
    each layer are shuffled, from the output back to the input.

    Args:
        stages: How many times the model is explained; each time as many more layers are shuffled.
    """
    import torch

    check_count(stages, "stages", "metric weight_randomisation")
    sizes = by_unit(explanation, explanation.values).abs()
    stages_seen = [by_unit(explanation, values).abs() for values in explanation.with_random_weights(stages)]
    return torch.stack([rank_correlation(sizes, seen) for seen in stages_seen]).mean(0)


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("weight_randomisation", measure, higher_is_better=False)
