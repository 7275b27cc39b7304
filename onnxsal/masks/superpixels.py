"""Patches of like colour."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from onnxsal.entries import MaskMaker
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.masks._labels import each_apart
from onnxsal.places import places
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor


def make(feeds: Feeds, *, segments: int = 50, compactness: float = 10.0) -> Feeds:
    """Patches of a picture that are of like colour (SLIC), cut from each example by itself; needs scikit-image.

    Achanta et al. 2012, SLIC Superpixels Compared to State-of-the-Art Superpixel Methods (TPAMI).

    Args:
        segments: About how many patches.
        compactness: How square they are: higher counts nearness more, lower counts likeness more.
    """
    return each_apart(feeds, lambda value: _patches(value, _slic(), n_segments=segments, compactness=compactness))


def _slic() -> Any:
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise UsageError(
            "scikit-image is not installed", where="mask superpixels", hint="pip install 'onnxsal[images]'"
        ) from error
    return slic


def _patches(value: Tensor, slic: Any, **options: Any) -> Tensor:
    """Return the label of each pixel, the same in all channels."""
    import torch

    axes = places(value.shape)
    if len(axes) != 2:
        raise UsageError(
            f"an input of shape {list(value.shape)} is no picture",
            where="mask superpixels",
            hint="use grid, segments or columns",
        )
    colours = value.flatten(1).double()
    low, high = (reach.values[:, None] for reach in (colours.min(1), colours.max(1)))
    even = ((colours - low) / (high - low).clamp_min(1e-12)).reshape(value.shape)
    pictures = even.movedim(axes, (1, 2)).flatten(3) if value.ndim > 3 else even.movedim(axes, (1, 2)).unsqueeze(-1)
    labels = [torch.from_numpy(slic(p.cpu().numpy(), start_label=0, channel_axis=-1, **options)) for p in pictures]
    shape = [size if axis in (0, *axes) else 1 for axis, size in enumerate(value.shape)]
    return torch.stack(labels).to(value.device, torch.int64).reshape(shape)


@hookimpl
def onnxsal_masks() -> Iterable[MaskMaker]:
    yield MaskMaker("superpixels", make)
