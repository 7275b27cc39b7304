"""Max-sensitivity: how much does a tiny change of the input change the explanation?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal.entries import Metric
from onnxsal.hookspecs import hookimpl
from onnxsal.metrics._draws import check_count, uniform
from onnxsal.types import Explanation, Feeds

if TYPE_CHECKING:
    from torch import Tensor


def measure(explanation: Explanation, *, radius: float = 0.02, samples: int = 10) -> Tensor:
    """The largest change of the attributions when the input is disturbed a little, as a part of their norm.

    Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations (arXiv 1901.09392).

    Args:
        radius: How far a number is moved at most, as a part of the way from an example's least to its greatest value;
            in a table, as a part of the number itself.
        samples: How many disturbances.
    """
    import torch

    check_count(samples, "samples", "metric max_sensitivity")
    noise = uniform(explanation, radius, samples)
    values = _rows(explanation.values)
    changes = []
    for sample in range(samples):
        moved = {n: v + noise[n].unflatten(0, (samples, -1))[sample] for n, v in explanation.feeds.items()}
        changes.append((_rows(explanation.again(moved)) - values).norm(dim=1))
    norm = values.norm(dim=1)
    return torch.stack(changes).amax(0) / torch.where(norm > 0, norm, 1)


def _rows(values: Feeds) -> Tensor:
    import torch

    return torch.cat([value.flatten(1) for value in values.values()], dim=1)


@hookimpl
def onnxsal_metrics() -> Iterable[Metric]:
    yield Metric("max_sensitivity", measure, higher_is_better=False)
