"""A compiled graph as torch computes it: its forward half is then the torch engine's own, to the last bit.

So both stand on the same side of every kink, and where they differ, the way back was written down wrongly. Networks of
millions of rectifiers always have some unit that rounding decides on; ONNX Runtime alone can never prove those.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch

from onnxsal.engines.torch import TorchEngine
from onnxsal.errors import OnnxsalError
from onnxsal.model import load
from onnxsal.types import Feeds


def computed_by_torch(proto: onnx.ModelProto, feeds: Feeds, names: Sequence[str]) -> Feeds | None:
    """Return what a compiled graph gives, imported again; None where it cannot be imported."""
    try:
        engine = TorchEngine(load(proto), "cpu")
        with torch.no_grad():
            return engine.run(feeds, names)
    except OnnxsalError:
        return None
