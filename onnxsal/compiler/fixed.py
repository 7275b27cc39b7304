"""Inputs that are given once and for all when a file is made: a sampling rate that decides which branch is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxsal.compiler.emit import tensor_proto
from onnxsal.errors import InputError, UsageError, nearest
from onnxsal.importer.dtypes import dtype_named
from onnxsal.importer.read import read_proto
from onnxsal.model import Model
from onnxsal.types import Port


def with_fixed(model: Model, values: Mapping[str, Any]) -> Model:
    """Return a model some of whose inputs are constants.

    Args:
        model: The model.
        values: Numbers or arrays by input name.

    Raises:
        UsageError: no such input, or none that is left.
        InputError: a value that does not fit.
    """
    ports = {port.name: port for port in model.inputs}
    for name in values:
        if name not in ports:
            raise UsageError(f"no input {name!r} to fix", where=model.name, hint=nearest(name, ports))
    if not values:
        return model
    if len(values) == len(ports):
        raise UsageError("no input is left", where=model.name, hint="fix fewer inputs")
    proto = read_proto(model.source)
    left = [value for value in proto.graph.input if value.name not in values]
    del proto.graph.input[:]
    proto.graph.input.extend(left)
    proto.graph.initializer.extend(tensor_proto(_fitted(ports[n], value), n) for n, value in values.items())
    return model.rewritten(proto)


def _fitted(port: Port, value: Any) -> np.ndarray:
    """Return a value as an input declares it: of its type, a lone number in its shape."""
    try:
        array = np.asarray(value).astype(dtype_named(port.dtype))
    except (TypeError, ValueError) as error:
        raise InputError(f"cannot be fixed to {value!r}: {error}", where=str(port), hint="give numbers") from error
    shape = port.shape
    if shape is not None and array.size == 1:
        array = array.reshape([1] * len(shape))
    fits = shape is None or (
        array.ndim == len(shape)
        and all(not isinstance(d, int) or d == n for d, n in zip(shape, array.shape, strict=True))
    )
    if not fits:
        raise InputError(
            f"cannot be fixed to numbers of shape {list(array.shape)}", where=str(port), hint="give its shape"
        )
    return array
