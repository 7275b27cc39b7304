"""What of an explanation can be shown: one example of one input as a picture, a signal or a list of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from onnxsal.types import Attribution

Kind = Literal["image", "map", "signal", "features"]

FEW_CHANNELS = 12
"""A signal has no more; more rows are a map (a spectrogram, embeddings)."""
MANY_DIGITS = 1e7
"""Whole numbers below are ids, and shown to the last digit."""
MANY_FEATURES = 100
"""Longer rows are a signal: nobody reads that many bars."""


@dataclass(frozen=True)
class View:
    """One example of one input: ``values`` and ``inputs`` are [height, width], [channels, time] or [features]."""

    name: str
    kind: Kind
    values: np.ndarray
    inputs: np.ndarray | None
    picture: np.ndarray | None = None
    """RGB bytes of values' height and width."""


def view(attribution: Attribution, name: str, example: int) -> View:
    """Return what can be shown of an example of an input."""
    values = _row(attribution, attribution.values[name], example)
    inputs = attribution.inputs.get(name)
    inputs = None if inputs is None else _row(attribution, inputs, example)
    picture = attribution.pictures.get(name)
    picture = None if picture is None else picture[min(example, len(picture) - 1)]
    if picture is not None and (shaped := _as_pixels(values, picture)) is not None:
        return View(name, "image", shaped, None, picture)
    return _by_shape(name, values, inputs)


def _row(attribution: Attribution, array: np.ndarray, example: int) -> np.ndarray:
    """Return one example; where the first axis counts something else there is only one."""
    array = np.asarray(array)
    if array.dtype.kind not in "OUS":
        array = array.astype(np.float64)
    return array[example] if array.ndim and len(array) == len(attribution.score) else array


def _as_pixels(values: np.ndarray, picture: np.ndarray) -> Any:
    """Return values as [height, width] of the picture, channels summed; None where they do not fit."""
    height, width = picture.shape[:2]
    channels, rest = divmod(values.size, height * width)
    if rest or not channels:
        return None
    for axis in range(values.ndim - 1):
        if values.shape[axis : axis + 2] == (height, width):
            return values.sum(axis=tuple(other for other in range(values.ndim) if other not in {axis, axis + 1}))
    return values.reshape(height, width, channels).sum(axis=2)  # a picture laid out as one row


def _by_shape(name: str, values: np.ndarray, inputs: np.ndarray | None) -> View:
    while values.ndim > 1 and values.shape[0] == 1 and (values.ndim != 3 or 1 in values.shape[1:]):
        values, inputs = values[0], None if inputs is None else inputs[0]
    if values.ndim <= 1 or (values.ndim == 2 and 1 in values.shape):
        return _row_view(name, values.reshape(-1), None if inputs is None else inputs.reshape(-1))
    if values.ndim == 2:
        return _plane_view(name, values, inputs)
    return _volume_view(name, values, inputs)


def _row_view(name: str, values: np.ndarray, inputs: np.ndarray | None) -> View:
    if len(values) > MANY_FEATURES:
        return View(name, "signal", values[None], None if inputs is None else inputs[None])
    return View(name, "features", values, inputs)


def _plane_view(name: str, values: np.ndarray, inputs: np.ndarray | None) -> View:
    rows, columns = values.shape
    if rows <= FEW_CHANNELS and columns >= 4 * rows:
        return View(name, "signal", values, inputs)
    if columns <= FEW_CHANNELS and rows >= 4 * columns:
        return View(name, "signal", values.T, None if inputs is None else inputs.T)
    return View(name, "map", values, inputs)


def _volume_view(name: str, values: np.ndarray, inputs: np.ndarray | None) -> View:
    """[channels, height, width], or the channels last; of more axes the last two are shown."""
    if values.ndim == 3 and values.shape[0] not in {1, 3, 4} and values.shape[2] in {1, 3, 4}:
        values, inputs = np.moveaxis(values, 2, 0), None if inputs is None else np.moveaxis(inputs, 2, 0)
    plane = values.sum(axis=tuple(range(values.ndim - 2)))
    if inputs is None or values.ndim > 3 or len(values) not in {1, 3}:
        return View(name, "map", plane, None)
    return View(name, "image", plane, None, _rescaled(inputs))


def _rescaled(inputs: np.ndarray) -> np.ndarray:
    """Return [channels, height, width] as RGB bytes over their whole range: a normalised picture as it looked."""
    scaled = unit(inputs) * 255
    return np.broadcast_to(scaled.round().astype(np.uint8), (3, *inputs.shape[1:])).transpose(1, 2, 0)


def unit(values: np.ndarray) -> np.ndarray:
    """Return values stretched over 0 to 1; what is not finite becomes 0."""
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(values.shape)
    low, high = finite.min(), finite.max()
    return np.asarray((np.where(np.isfinite(values), values, low) - low) / ((high - low) or 1))


def headline(attribution: Attribution, example: int) -> str:
    """Return the class's name where one is known, the target and the score."""
    return printable(f"{attribution.target[example].caption} = {attribution.score[example]:.4g}")


def origin(attribution: Attribution) -> str:
    """Return the method with its plain options, and the model."""
    options = [f"{name}={value}" for name, value in attribution.options.items() if isinstance(value, (int, float, str))]
    method = f"{attribution.method} ({', '.join(options)})" if options else attribution.method
    return printable(f"{method} · {attribution.provenance.model}")


def strongest(values: np.ndarray, limit: int) -> list[int]:
    """Return where the largest sizes are, the first of equals first; NaN comes last."""
    return [int(i) for i in np.argsort(-np.nan_to_num(np.abs(values), nan=-1.0), kind="stable")[:limit]]


def feature_label(shown: View, index: int, names: Sequence[str]) -> str:
    """Return a feature's name and its value in the input, where they are known."""
    name = printable(names[index]) if index < len(names) else f"{short(shown.name, 20)}[{index}]"
    if shown.inputs is None:
        return name
    value = shown.inputs[index]
    if isinstance(value, float):
        return f"{name} = {value:.0f}" if value.is_integer() and abs(value) < MANY_DIGITS else f"{name} = {value:.4g}"
    return f"{name} = {value}"


def short(name: str, length: int) -> str:
    """Return a name with its middle left out where it is long."""
    name = printable(name)
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-(length // 2) :]}"


def printable(text: str) -> str:
    """Return text that a terminal shows and does not obey: a model's names may hold escape sequences."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
