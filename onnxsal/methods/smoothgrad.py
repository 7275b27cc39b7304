"""SmoothGrad, SmoothGrad² and VarGrad, of any method."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from onnxsal.entries import InnerMethod, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Tensor

GRADIENT = InnerMethod("saliency:abs=false")

COPIES_AT_ONCE = 8
"""How many noisy copies are explained at a time: what bounds the memory, whatever the method within stacks on them."""

Kind = Literal["mean", "squared", "variance"]


def explain(
    score: Score,
    feeds: Feeds,
    *,
    of: InnerMethod = GRADIENT,
    kind: Kind = "mean",
    samples: int = 25,
    noise: float = 0.15,
) -> Feeds:
    """What another method says on average of noisy copies of the input: less of what changes from pixel to pixel.

    Smilkov et al. 2017, SmoothGrad: removing noise by adding noise (arXiv 1706.03825). The mean of the squares is
    SmoothGrad² (Hooker et al. 2018, arXiv 1806.10758), the variance VarGrad (Adebayo et al. 2018, arXiv 1810.03307).

    Args:
        of: The method, with its options: integrated_gradients:steps=20.
        kind: What is taken of the explanations of the copies.
        samples: How many noisy copies.
        noise: The noise's standard deviation, as a part of the way from an example's least to its greatest value.
    """
    import torch

    if samples < 1:
        raise UsageError(f"samples={samples} leaves nothing to average", where="smoothgrad", hint="25 is usual")
    widths = {name: noise * _spread(value) for name, value in feeds.items()}
    found: list[Feeds] = []
    for start in range(0, samples, COPIES_AT_ONCE):
        draws = [score.normal(feeds, draw) for draw in range(start, min(start + COPIES_AT_ONCE, samples))]
        found.append(of(score, {n: torch.cat([x + widths[n] * draw[n] for draw in draws]) for n, x in feeds.items()}))
    return {n: _taken(kind, torch.cat([f[n] for f in found]).unflatten(0, (samples, -1))) for n in feeds}


def _taken(kind: Kind, copies: Tensor) -> Tensor:
    match kind:
        case "mean":
            return copies.mean(0)
        case "squared":
            return copies.square().mean(0)
        case _:
            return copies.var(0, correction=0)


def _spread(values: Tensor) -> Tensor:
    """Return each example's greatest value minus its least, shaped to multiply the examples."""
    rows = values.flatten(1) if values.ndim > 1 else values.unsqueeze(1)
    return (rows.amax(1) - rows.amin(1)).reshape(-1, *[1] * (values.ndim - 1))


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("smoothgrad", explain, gradient=False)
