"""Inputs to trace and to check with: what the user gives, or what fits the ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxsal.errors import CompileFault
from onnxsal.inputs import check_feeds
from onnxsal.model import Model
from onnxsal.parity import draw

TRACED_ROWS = 2
"""With how many examples an open batch is traced: neither 0 nor 1, which torch takes for fixed."""


def examples_for(model: Model, given: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """Return arrays for every input, by name.

    Raises:
        CompileFault: an input is no tensor of numbers.
    """
    for port in model.inputs:
        if "(" in port.dtype or port.dtype in {"string", "unknown"}:
            raise CompileFault(
                f"input {port} is no tensor of numbers, and cannot be traced",
                where=model.name,
                hint="only models whose inputs are all tensors of numbers can be compiled",
            )
    return check_feeds(model.inputs, given) if given is not None else draw(model)


def with_rows(
    arrays: Mapping[str, np.ndarray], rows: int, batched: Sequence[str], draw: int = 0
) -> dict[str, np.ndarray]:
    """Return the arrays with another number of examples, the given ones over and over, a little changed each draw.

    With 0 rows, as many as there are.
    """
    random = np.random.default_rng((rows, draw))
    found = dict(arrays)
    for name in batched:
        array = arrays[name]
        repeated = np.concatenate([array] * -(-rows // len(array)))[:rows] if rows else array
        if array.dtype.kind == "f":
            repeated = repeated + 0.1 * random.standard_normal(repeated.shape) * _spread(array)
        found[name] = np.asarray(repeated, array.dtype)
    return found


def _spread(array: np.ndarray) -> float:
    deviation = float(np.std(array.astype(np.float64)))
    return deviation if deviation > 0 else 1.0


def open_rows(model: Model) -> list[str]:
    """Return the inputs whose first dimension is declared open."""
    return [p.name for p in model.inputs if p.shape and not isinstance(p.shape[0], int)]
