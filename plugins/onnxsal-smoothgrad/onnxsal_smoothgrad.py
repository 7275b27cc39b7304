"""SmoothGrad for onnxsal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from onnxsal import hookimpl
from onnxsal.entries import Method
from onnxsal.errors import UsageError
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor


def explain(score: Score, feeds: Feeds, *, samples: int = 25, noise: float = 0.15) -> Feeds:
    """The mean gradient over noisy copies of the input.

    Smilkov et al. 2017, SmoothGrad: removing noise by adding noise (arXiv 1706.03825).

    Args:
        samples: How many noisy copies.
        noise: The noise's standard deviation, as a part of the way from an example's least to its greatest value.
    """
    import torch

    if samples < 1:
        raise UsageError(f"samples={samples} leaves nothing to average", where="smoothgrad", hint="25 is usual")
    draws = [score.normal(feeds, draw) for draw in range(samples)]
    noisy = {n: torch.cat([x + noise * spread(x) * draw[n] for draw in draws]) for n, x in feeds.items()}
    return {n: g.unflatten(0, (samples, -1)).mean(0) for n, g in score.gradients(noisy).items()}


def spread(values: Tensor) -> Tensor:
    """Return each example's greatest value minus its least, shaped to multiply the examples."""
    rows = values.reshape(len(values), -1)
    return (rows.amax(1) - rows.amin(1)).reshape(-1, *[1] * (values.ndim - 1))


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("smoothgrad", explain)
