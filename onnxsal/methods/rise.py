"""RISE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxsal.entries import ZERO, Baseline, Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._perturbed import attributed, real, replaced, sets_at_once
from onnxsal.places import places
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    from torch import Generator, Tensor


def explain(
    score: Score,
    feeds: Feeds,
    *,
    baseline: Baseline = ZERO,
    samples: int = 2000,
    cells: int = 8,
    keep: float = 0.5,
    centred: bool = True,
) -> Feeds:
    """How much higher than usual the score is in the mean when a place is seen, over random smooth masks of the input.

    The masks are coarse and random, made smooth, and shifted by less than a cell; over signals and tables they have one
    axis. Channels are seen together. Petsiuk, Das and Saenko 2018, RISE: Randomized Input Sampling for Explanation of
    Black-box Models (arXiv 1806.07421).

    Args:
        baseline: What is seen where nothing of the input is: a number, the name of a baseline, or a file.
        samples: How many masks; each runs the model once.
        cells: How many cells a mask has along each axis before it is made smooth.
        keep: The chance that a cell is seen.
        centred: Compare with the mean over all masks, which takes away much of the chance. The paper does not; in its
            own scale what cannot be seen is zero.
    """
    import torch

    if samples < 1 or cells < 1 or not 0 < keep < 1:
        raise UsageError(
            f"samples={samples}, cells={cells}, keep={keep} make no masks",
            where="rise",
            hint="give at least one sample and cell, and a chance between 0 and 1",
        )
    generator = score.generator()
    coarse = {name: _Coarse.drawn(value, samples, cells, keep, generator) for name, value in feeds.items()}
    pieces = torch.arange(samples).split(sets_at_once(feeds))
    scores = torch.cat([score(_seen(feeds, baseline, coarse, some)).unflatten(0, (len(some), -1)) for some in pieces])
    if centred:
        scores = scores - scores.mean(0)
    weights = scores.T / (samples * keep)
    return {name: _weighed(weights, value, coarse[name], pieces) for name, value in feeds.items()}


def _seen(feeds: Feeds, baseline: Feeds, coarse: dict[str, _Coarse], some: Tensor) -> Feeds:
    """Return the examples as they are seen through some of the masks."""
    return {name: replaced(value, baseline[name], coarse[name].smooth(value, some)) for name, value in feeds.items()}


def _weighed(weights: Tensor, value: Tensor, coarse: _Coarse, pieces: Iterable[Tensor]) -> Tensor:
    """Return the sum of all masks, each times its weight for the example, at every element of the input."""
    masks = ((some, coarse.smooth(value, some)) for some in pieces)
    total = sum(weights[:, some].to(mask) @ mask.flatten(1) for some, mask in masks)
    shape = [size if axis in {0, *places(value.shape)} else 1 for axis, size in enumerate(value.shape)]
    return attributed(total.reshape(shape), value)  # type: ignore[union-attr]


@dataclass(frozen=True)
class _Coarse:
    """Random masks before they are made smooth.

    Args:
        seen: Which cells are seen, shape [masks, *cells along each axis of places].
        shifts: How far each mask is shifted along each of these axes, shape [axes, masks].
    """

    seen: Tensor
    shifts: Tensor

    @staticmethod
    def drawn(value: Tensor, samples: int, cells: int, keep: float, generator: Generator) -> _Coarse:
        """Draw masks for an input; no axis has more cells than places."""
        import torch

        lengths = [value.shape[axis] for axis in places(value.shape)]
        counts = [min(cells, length) for length in lengths]
        steps = [-(-length // count) for length, count in zip(lengths, counts, strict=True)]
        seen = torch.rand(samples, *counts, generator=generator) < keep
        shifts = [torch.randint(step, (samples,), generator=generator) for step in steps]
        return _Coarse(seen, torch.stack(shifts) if shifts else torch.zeros(0, samples))

    def smooth(self, value: Tensor, some: Tensor) -> Tensor:
        """Return some masks, from 0 to 1, shape [masks, 1, ...]; they stay along axes that hold no places."""
        axes = places(value.shape)
        mask = self.seen[some].to(real(value))
        for axis, shift in zip(axes, self.shifts[:, some], strict=True):
            mask = _drawn_out(mask, value.shape[axis], shift.to(value.device))
        return mask.reshape(len(some), *(size if axis in axes else 1 for axis, size in enumerate(value.shape)))


def _drawn_out(mask: Tensor, length: int, shift: Tensor) -> Tensor:
    """Return masks with the cells of their first axis drawn out to a length, linearly, and that axis put last."""
    import torch

    count, cells, *others = mask.shape
    size = (cells + 1) * -(-length // cells)
    eye = torch.eye(cells, dtype=mask.dtype, device=mask.device)
    line = torch.nn.functional.interpolate(eye[None], size=size, mode="linear")[0]
    parts = line.unfold(1, length, 1)[:, shift].movedim(0, 1)
    return (mask.reshape(count, cells, -1).movedim(1, 2) @ parts).reshape(count, *others, length)


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("rise", explain, gradient=False)
