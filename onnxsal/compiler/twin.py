"""A compiled graph as torch computes it: its forward half is then the torch engine's own, to the last bit.

So both stand on the same side of every kink, and where they differ, the way back was written down wrongly. Networks of
millions of rectifiers always have some unit that rounding decides on; ONNX Runtime alone can never prove those.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import torch

from onnxsal.compiler.agreement import Agreement
from onnxsal.engines.torch import TorchEngine
from onnxsal.errors import OnnxsalError
from onnxsal.importer.values import as_tensor, to_host
from onnxsal.model import load
from onnxsal.types import Feeds


def look_on_the_same_side(
    proto: onnx.ModelProto,
    arrays: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    agreements: Mapping[str, Agreement],
) -> None:
    """Compare what torch makes of a compiled graph, where kinks may be why ONNX Runtime's answers differ.

    Args:
        proto: The graph, which draws nothing.
        arrays: What it is fed, and perhaps more.
        expected: What some of its outputs should be.
        agreements: Where to say how far they are off, by the same names.
    """
    fed = {port.name: as_tensor(arrays[port.name]) for port in proto.graph.input}
    found = computed_by_torch(proto, fed)
    if found is None:
        return
    for name, value in expected.items():
        agreements[name].compare_on_the_same_side(to_host(found[name]), value)


def computed_by_torch(proto: onnx.ModelProto, feeds: Feeds) -> Feeds | None:
    """Return what a compiled graph gives, imported again; None where it cannot be imported."""
    try:
        engine = TorchEngine(load(proto), "cpu")
        with torch.no_grad():
            return engine.run(feeds)
    except OnnxsalError:
        return None
