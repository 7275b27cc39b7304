"""One JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from onnxsal.entries import Format
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Attribution

if TYPE_CHECKING:
    import numpy as np


def render_json(attribution: Attribution, *, max_elements: int = 1_000_000, indent: int | None = None) -> bytes:
    """Write the facts and the arrays as one strict JSON object; NaN and infinities become text.

    Args:
        max_elements: An array of more elements is left out and marked `omitted`.
        indent: Spaces per level; by default all on one line.
    """
    arrays = {name: _describe(value, max_elements) for name, value in attribution.values.items()}
    facts = {**attribution.meta, "attributions": arrays}
    return json.dumps(facts, ensure_ascii=False, allow_nan=False, indent=indent).encode() + b"\n"


def _describe(value: np.ndarray, max_elements: int) -> dict[str, Any]:
    about: dict[str, Any] = {"shape": list(value.shape), "dtype": str(value.dtype)}
    return about | ({"omitted": True} if value.size > max_elements else {"values": _nested(value)})


def _nested(value: np.ndarray) -> Any:
    import numpy as np

    if value.dtype.kind in "biuU":
        return value.tolist()
    exact = value.astype(np.float64)
    finite = np.isfinite(exact)
    if finite.all():
        return exact.tolist()
    words = exact.astype(object)
    words[~finite] = [str(number) for number in exact[~finite].tolist()]
    return words.tolist()


@hookimpl
def onnxsal_formats() -> Iterable[Format]:
    """Yield the JSON format."""
    yield Format("json", render_json, ".json", text=True)
