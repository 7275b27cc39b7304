"""How pictures were prepared for the well-known families of ImageNet models."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Preset
from onnxsal.hookspecs import hookimpl

SHORTER_SIDE_256 = {"fit": "crop", "resize": (256,), "size": (224, 224), "resample": "bilinear"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@hookimpl
def onnxsal_presets() -> Iterable[Preset]:
    """Yield the presets."""
    yield Preset("imagenet", {}, "")
