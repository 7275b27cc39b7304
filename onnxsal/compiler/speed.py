"""Which models have a compiled gradient that was seen to be faster than torch's: asked before anything is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxsal import cache

if TYPE_CHECKING:
    from onnxsal.model import Model

KIND = "compiled-faster"

FASTER = 1.1
"""From which speed-up on a gradient counts as faster than the torch engine's."""


def note(model: Model, speedup: float) -> None:
    """Keep that one of the model's gradients was so many times as fast as torch's, where that is faster."""
    if speedup >= FASTER:
        cache.write(KIND, (model.sha256, *versions()), speedup)


def has_a_fast_gradient(model: Model) -> bool:
    """Say whether one of the model's gradients was faster when it was proved."""
    return cache.read(KIND, (model.sha256, *versions())) is not None


def versions() -> tuple[str, ...]:
    """Return the versions of all that a compiled gradient is made and run by."""
    import onnxruntime
    import torch

    import onnxsal

    return onnxsal.__version__, torch.__version__, onnxruntime.__version__
