"""Weights that lie beside a file and not in it: a protobuf holds two gigabytes at most.

Such weights are never copied: the graph holds stand-ins for them, ONNX Runtime is handed the arrays themselves while
the graph is checked, and they are written to their file one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxsal.compiler.emit import element_of, tensor_proto

LARGEST_FILE = 2 * 1024**3 - 1024**2
"""What fits into one protobuf, with some room."""

LEAST_BESIDE = 4096
"""Smaller weights stay in the file, in bytes; larger ones begin at multiples of this, so that they can be mapped."""


@dataclass
class Beside:
    """The weights of a graph that lie beside its file.

    Args:
        asked: Whether they do; where None, they do if the file could not hold them.
        arrays: The weights that do, by name.
    """

    asked: bool | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def tensors(self, constants: Mapping[str, np.ndarray]) -> list[TensorProto]:
        """Return a graph's constants as ONNX stores them, with stand-ins for those that lie beside it."""
        total = sum(array.nbytes for array in constants.values())
        if self.asked or (self.asked is None and total > LARGEST_FILE):
            large = {n: a for n, a in constants.items() if _can_lie_beside(a)}
            self.arrays = {name: np.ascontiguousarray(array) for name, array in large.items()}
        return [
            _stand_in(array, name) if name in self.arrays else tensor_proto(array, name)
            for name, array in constants.items()
        ]

    def hand_over(self, options: Any) -> None:
        """Hand the weights to ONNX Runtime, which takes them where they are; they have to outlive its session."""
        import onnxruntime

        if self.arrays:
            make = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type
            values = [make(array, element_of(array.dtype.name)) for array in self.arrays.values()]
            options.add_external_initializers(list(self.arrays), values)

    def taken_as_inputs(self, proto: onnx.ModelProto) -> onnx.ModelProto:
        """Return a model whose weights of this kind are inputs, which a checker looks at without their numbers."""
        if not self.arrays:
            return proto
        bare = onnx.ModelProto()
        bare.CopyFrom(proto)
        del bare.graph.initializer[:]
        bare.graph.initializer.extend(t for t in proto.graph.initializer if t.name not in self.arrays)
        bare.graph.input.extend(
            helper.make_tensor_value_info(name, element_of(array.dtype.name), array.shape)
            for name, array in self.arrays.items()
        )
        return bare

    def write(self, stream: BinaryIO, location: str, proto: onnx.ModelProto) -> onnx.ModelProto:
        """Write the weights, and return the model that says where each lies."""
        placed = onnx.ModelProto()
        placed.CopyFrom(proto)
        for tensor in placed.graph.initializer:
            if tensor.name in self.arrays:
                stream.write(b"\0" * (-stream.tell() % LEAST_BESIDE))
                array = self.arrays[tensor.name]
                _place(tensor, location, stream.tell(), array.nbytes)
                stream.write(array.reshape(-1).view(np.uint8).data)
        return placed


def _can_lie_beside(array: np.ndarray) -> bool:
    packed = {"int4", "uint4", "int2", "uint2", "float4_e2m1fn"}  # several numbers in a byte
    return array.nbytes >= LEAST_BESIDE and array.dtype.kind not in "OUS" and array.dtype.name not in packed


def _stand_in(array: np.ndarray, name: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=element_of(array.dtype.name), dims=array.shape)
    _place(tensor, "weights", 0, array.nbytes)
    return tensor


def _place(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
