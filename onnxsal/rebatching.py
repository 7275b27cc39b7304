"""The same model for many examples at once, where its file was exported for one.

Methods evaluate a model hundreds of times; a file whose batch is fixed to one has them run one by one. Where the batch
can be opened (`onnxsal.importer.rebatch`) and ONNX Runtime gives for several examples at once what it gives for each
alone, the opened file is used in its place. What was found is kept by the model's hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from onnxsal import cache
from onnxsal.importer.dtypes import dtype_named
from onnxsal.importer.read import read_proto
from onnxsal.importer.rebatch import Rebatched, rebatch
from onnxsal.importer.values import to_host
from onnxsal.model import Model
from onnxsal.types import Port

CLOSE = 1e-4
"""How far an example may move in other company, as a part of its output's scale: sums are added up in another order."""

MAX_BYTES = 2**30
"""Files beyond this are not rewritten: each way to do so holds a copy."""


def rebatched(model: Model, feeds: Mapping[str, Any]) -> Model | None:
    """Return the model with its batch open, or None where that cannot be done or changes an answer.

    Args:
        model: A model.
        feeds: One example by the model's input names: what the ways to open the batch are tried on.
    """
    if model.size > MAX_BYTES or any(port.name not in feeds for port in model.inputs):
        return None
    key = (model.sha256, *_versions())
    known = cache.read("rebatch", key)
    if known is None:
        known = _first_that_holds(model, feeds)
        cache.write("rebatch", key, known)
    if known < 0:
        return None
    return model.rewritten(next(islice(rebatch(read_proto(model.source)), known, None)).proto)


def _versions() -> tuple[str, ...]:
    import onnxruntime

    import onnxsal

    return onnxsal.__version__, onnxruntime.__version__


def _first_that_holds(model: Model, feeds: Mapping[str, Any]) -> int:
    """Return which of the ways to open the batch changes nothing, or -1."""
    arrays = {port.name: _as_declared(feeds[port.name], port) for port in model.inputs}
    for number, way in enumerate(rebatch(read_proto(model.source))):
        try:
            if _holds(model, way, arrays):
                return number
        except Exception:  # whatever ONNX Runtime does with a graph that was guessed
            continue
    return -1


def _as_declared(value: Any, port: Port) -> np.ndarray:
    """Return an input as the file takes it; it may have been raised to float32."""
    array = to_host(value)
    return array.astype(dtype_named(port.dtype)) if port.is_float else array


def _holds(model: Model, way: Rebatched, arrays: Mapping[str, np.ndarray]) -> bool:
    """Say whether several examples at once are answered as each is alone, and one as it was."""
    names = [port.name for port in model.outputs]
    examples = _examples(arrays, way.inputs)
    session = model.session(optimised=False)
    alone = [session.run(names, example) for example in examples]
    opened = model.rewritten(way.proto).session(optimised=False)
    beside = dict(arrays) | {name: np.concatenate([e[name] for e in examples]) for name in way.inputs}
    together = opened.run(names, beside)
    return _same(opened.run(names, examples[0]), alone[0]) and all(
        all(len(row) == 1 for row in rows) and _close(whole, np.concatenate(rows))
        for whole, rows in zip(together, zip(*alone, strict=True), strict=True)
    )


def _examples(arrays: Mapping[str, np.ndarray], varied: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """Return the example and two others: one turned round, one of smaller numbers in another order."""
    turned = {name: np.flip(arrays[name], -1) for name in varied}
    smaller = {name: _smaller(np.roll(arrays[name], 1, -1)) for name in varied}
    return [{**arrays, **{n: np.ascontiguousarray(v) for n, v in other.items()}} for other in ({}, turned, smaller)]


def _smaller(array: np.ndarray) -> np.ndarray:
    return (array * 0.5).astype(array.dtype) if array.dtype.kind in "fV" else array


def _same(found: Sequence[Any], expected: Sequence[Any]) -> bool:
    return all(_close(f, e) for f, e in zip(found, expected, strict=True))


def _close(found: Any, expected: Any) -> bool:
    if not isinstance(found, np.ndarray) or found.shape != expected.shape:
        return False
    if expected.dtype.kind not in "fV":
        return bool(np.array_equal(found, expected))
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    return bool(np.allclose(found, expected, rtol=0, atol=CLOSE * scale, equal_nan=True))
