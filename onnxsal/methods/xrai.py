"""XRAI."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from onnxsal.entries import Method
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.methods._straight import line
from onnxsal.places import places
from onnxsal.types import Feeds, Score

if TYPE_CHECKING:
    import numpy as np

SCALES = (50, 100, 150, 250, 500, 1200)
"""How coarse each of the segmentations is, as the paper's own code has it."""

REACH = 5
"""By how many pixels each segment is widened, so that it holds the edges it ends at."""

FEWEST = 50
"""How many new pixels a region must bring."""


def explain(score: Score, feeds: Feeds, *, steps: int = 50) -> Feeds:
    """Regions of the picture, each as strong as its pixels speak for the score on average; needs scikit-image.

    Integrated gradients from black and from white, each example's least and greatest value, are summed over regions of
    many sizes; the strongest is taken first, then the one whose remaining pixels are, and so on. Kapishnikov et al.
    2019, XRAI: Better Attributions Through Regions (arXiv 1906.02825).

    Args:
        steps: How many gradients are taken from black, and as many from white.
    """
    import numpy as np
    import torch

    segment = _segmenter()
    axes = _picture_axes(feeds)
    ((name, value),) = feeds.items()
    others = tuple(axis for axis in range(1, value.ndim) if axis not in axes)
    pixels = torch.zeros_like(value)
    for extreme in (torch.amin, torch.amax):
        end = extreme(value, tuple(range(1, value.ndim)), keepdim=True).expand_as(value)
        pixels += line(score, feeds, {name: end}, steps, "gausslegendre").total()[name] / 2
    sums = pixels.sum(others).cpu().double().numpy()
    pictures = value.movedim(axes, (1, 2)).flatten(3).cpu().double().numpy()
    strengths = [regions(s, segment(p)) for s, p in zip(sums, pictures, strict=True)]
    shape = [size if axis in (0, *axes) else 1 for axis, size in enumerate(value.shape)]
    return {name: torch.tensor(np.stack(strengths)).to(value).reshape(shape).expand_as(value).clone()}


def regions(pixels: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the mean of its new pixels for each region, the strongest region first; the rest has its own mean.

    Args:
        pixels: What each pixel adds to the score, shape [height, width].
        masks: Which pixels belong to each region, shape [regions, height, width]; regions may overlap.
    """
    import numpy as np

    values, masks = pixels.ravel(), masks.reshape(len(masks), -1)
    free = np.ones(values.size, bool)
    strengths = np.zeros(values.size)
    sums, counts = masks @ values, masks.sum(1)
    while (counts > FEWEST).any():
        means = np.where(counts > FEWEST, sums / np.maximum(counts, 1), -np.inf)
        best = int(means.argmax())
        new = masks[best] & free
        strengths[new] = means[best]
        free &= ~new
        sums, counts = sums - masks[:, new] @ values[new], counts - masks[:, new].sum(1)
    if free.any():
        strengths[free] = values[free].mean()
    return strengths.reshape(pixels.shape)


def _segmenter() -> Any:
    """Return a function that cuts a picture of shape [height, width, channels] into overlapping segments."""
    try:
        from skimage.morphology import dilation, disk
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise UsageError("scikit-image is not installed", where="xrai", hint="pip install 'onnxsal[images]'") from error
    import numpy as np

    around = disk(REACH)  # type: ignore[no-untyped-call]

    def segment(picture: np.ndarray) -> np.ndarray:
        low, high = picture.min(), picture.max()
        even = 2 * (picture - low) / max(high - low, 1e-12) - 1
        found = [felzenszwalb(even, scale=s, sigma=0.8, min_size=150, channel_axis=-1) for s in SCALES]
        masks = [labels == label for labels in found for label in range(labels.max() + 1)]
        return np.stack([dilation(mask, around) for mask in masks])

    return segment


def _picture_axes(feeds: Feeds) -> tuple[int, ...]:
    """Return the axes of height and width; anything but one picture an example is refused."""
    shapes = {name: list(value.shape) for name, value in feeds.items()}
    axes = [places(tuple(shape)) for shape in shapes.values()]
    if len(feeds) != 1 or len(axes[0]) != 2:
        raise UsageError(
            f"regions are cut from one picture, explained are {shapes}",
            where="xrai",
            hint="choose the picture: --explain-input NAME, inputs=[NAME]; or use integrated_gradients",
        )
    return axes[0]


@hookimpl
def onnxsal_methods() -> Iterable[Method]:
    yield Method("xrai", explain)
