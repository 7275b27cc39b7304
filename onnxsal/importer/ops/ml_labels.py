"""Labels, categories and maps of ``ai.onnx.ml``. Text and maps live on the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxsal.errors import ImportFault
from onnxsal.importer.operator import AsIs, op
from onnxsal.importer.values import is_text, on_device, to_host

DOMAIN = "ai.onnx.ml"
KINDS = {"int64s": np.int64, "floats": np.float32, "strings": object}


@op("LabelEncoder", domain=DOMAIN, since=4, gradient=False)
def label_encoder(
    x: AsIs,
    *,
    default_float: float = -0.0,
    default_int64: int = -1,
    default_string: str = "_Unused",
    default_tensor: np.ndarray | None = None,
    keys_floats: list[float] | None = None,
    keys_int64s: list[int] | None = None,
    keys_strings: list[str] | None = None,
    keys_tensor: np.ndarray | None = None,
    values_floats: list[float] | None = None,
    values_int64s: list[int] | None = None,
    values_strings: list[str] | None = None,
    values_tensor: np.ndarray | None = None,
) -> AsIs:
    """Replace each label by the one that stands at its place in another list."""
    keys = _array("keys", keys_int64s, keys_floats, keys_strings, keys_tensor)
    values = _array("values", values_int64s, values_floats, values_strings, values_tensor)
    usual = {"i": default_int64, "f": default_float, "O": default_string}
    default = usual[values.dtype.kind] if default_tensor is None else np.ravel(default_tensor)[0]
    return _mapped(x, keys, values, _text(default))


def _array(what: str, ints: Any, floats: Any, strings: Any, tensor: Any) -> np.ndarray:
    """Return the one list that is given, as an array."""
    given = [np.array(v, dtype=kind) for v, kind in zip((ints, floats, strings), KINDS.values(), strict=True) if v]
    given += [] if tensor is None else [np.ravel(tensor)]
    if len(given) != 1:
        raise ImportFault(f"has to have one of {what}_int64s, {what}_floats, {what}_strings and {what}_tensor")
    return given[0] if given[0].dtype.kind != "O" else np.array([_text(v) for v in given[0]], dtype=object)


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _mapped(x: Any, keys: np.ndarray, values: np.ndarray, default: Any) -> Any:
    """Look each element up; on the device where numbers become numbers."""
    if (isinstance(x, np.ndarray) and is_text(x)) or values.dtype.kind == "O":
        return _looked_up(to_host(x), keys, values, default)
    tensor = on_device(x, None)
    return _gathered(tensor, keys, values, default)


def _looked_up(x: np.ndarray, keys: np.ndarray, values: np.ndarray, default: Any) -> np.ndarray:
    table: dict[Any, Any] = {}
    for key, value in zip(keys.tolist(), values, strict=True):
        table.setdefault(_hashable(key), value)
    found = [table.get(_hashable(v), default) for v in x.ravel().tolist()]
    return np.array(found, dtype=values.dtype).reshape(x.shape)


def _hashable(value: Any) -> Any:
    """Return a key by which no-number is found, too."""
    return "nan" if isinstance(value, float) and math.isnan(value) else _text(value)


def _gathered(x: Tensor, keys: np.ndarray, values: np.ndarray, default: Any) -> Tensor:
    blank = np.isnan(keys)
    order = np.flatnonzero(~blank)[np.argsort(keys[~blank], kind="stable")]  # the first of equal keys counts
    ordered, table = (torch.from_numpy(a[order]).to(x.device) for a in (keys, values))
    answer = torch.full(x.shape, default, dtype=table.dtype, device=x.device)
    if len(order):
        place = torch.searchsorted(ordered, x.contiguous()).clamp(max=len(order) - 1)
        answer = torch.where(ordered[place] == x, table[place], answer)
    return torch.where(x.isnan(), values[blank.argmax()].item(), answer) if blank.any() else answer


@op("LabelEncoder", domain=DOMAIN, since=2, gradient=False)
def label_encoder_2(
    x: AsIs,
    *,
    default_float: float = -0.0,
    default_int64: int = -1,
    default_string: str = "_Unused",
    keys_floats: list[float] | None = None,
    keys_int64s: list[int] | None = None,
    keys_strings: list[str] | None = None,
    values_floats: list[float] | None = None,
    values_int64s: list[int] | None = None,
    values_strings: list[str] | None = None,
) -> AsIs:
    """Replace each label by the one that stands at its place in another list; no-number is never found."""
    keys = _array("keys", keys_int64s, keys_floats, keys_strings, None)
    values = _array("values", values_int64s, values_floats, values_strings, None)
    default = {"i": default_int64, "f": default_float, "O": default_string}[values.dtype.kind]
    known = keys == keys  # noqa: PLR0124 (leaves out no-number)
    return _mapped(x, keys[known], values[known], default)


@op("LabelEncoder", domain=DOMAIN, gradient=False)
def label_encoder_1(
    x: AsIs, *, classes_strings: list[str] | None = None, default_int64: int = -1, default_string: str = "_Unused"
) -> AsIs:
    """Replace text labels by their places in a list, or places by the text there."""
    places = list(range(len(classes_strings or ())))
    return _either_way(x, places, classes_strings or [], default_int64, default_string)


@op("CategoryMapper", domain=DOMAIN, gradient=False)
def category_mapper(
    x: AsIs,
    *,
    cats_int64s: list[int] | None = None,
    cats_strings: list[str] | None = None,
    default_int64: int = -1,
    default_string: str = "_Unused",
) -> AsIs:
    """Replace text categories by numbers, or numbers by text."""
    return _either_way(x, cats_int64s or [], cats_strings or [], default_int64, default_string)


def _either_way(x: Any, numbers: Sequence[int], texts: Sequence[str], number: int, text: str) -> np.ndarray:
    """Turn text into numbers, and numbers into text."""
    as_numbers, as_texts = np.array(numbers, np.int64), np.array(texts, object)
    array = to_host(x)
    if array.dtype.kind in "OUS":
        return _looked_up(array, as_texts, as_numbers, number)
    return _looked_up(array, as_numbers, as_texts, text)


@op("CastMap", domain=DOMAIN, gradient=False)
def cast_map(x: AsIs, *, cast_to: str = "TO_FLOAT", map_form: str = "DENSE", max_map: int = 1) -> AsIs:
    """Turn a map into a row of its values, in the order of its keys."""
    convert = _conversion(cast_to)
    if map_form == "SPARSE":
        values = [convert(x[key]) if key in x else convert(0) for key in range(max_map)]
    else:
        values = [convert(x[key]) for key in sorted(x)]
    return _row(values, {"TO_FLOAT": np.float32, "TO_INT64": np.int64, "TO_STRING": object}[cast_to])


def _conversion(cast_to: str) -> Callable[[Any], Any]:
    """Return what turns a map's value into the wanted type."""
    if cast_to not in {"TO_FLOAT", "TO_INT64", "TO_STRING"}:
        raise ImportFault(f"cast_to {cast_to!r} is unknown", hint="known: TO_FLOAT, TO_INT64, TO_STRING")
    if cast_to == "TO_STRING":
        return lambda value: value if isinstance(value, str) else f"{float(value):f}" if value else ""
    return lambda value: float(value) if cast_to == "TO_FLOAT" else int(float(value))


def _row(values: Sequence[Any], kind: Any) -> Any:
    array = np.array(values, dtype=kind).reshape(1, -1)
    return array if array.dtype.kind == "O" else torch.from_numpy(array)


@op("DictVectorizer", domain=DOMAIN, gradient=False)
def dict_vectorizer(
    x: AsIs, *, int64_vocabulary: list[int] | None = None, string_vocabulary: list[str] | None = None
) -> AsIs:
    """Turn a map into a row with a place for each key of a vocabulary, zero where the map has none."""
    vocabulary: Sequence[Any] = string_vocabulary or int64_vocabulary or ()
    if not isinstance(x, Mapping):
        raise ImportFault(f"takes a map, was handed a {type(x).__name__}", where="DictVectorizer")
    sample = next(iter(x.values()), 0.0)
    empty: Any = "" if isinstance(sample, str) else type(sample)(0)
    values = [x.get(key, empty) for key in vocabulary]
    return _row(values, object if isinstance(sample, str) else np.int64 if isinstance(sample, int) else np.float32)


@op("ZipMap", domain=DOMAIN)
def zip_map(
    x: Tensor, *, classlabels_int64s: list[int] | None = None, classlabels_strings: list[str] | None = None
) -> list:  # type: ignore[type-arg]
    """Name each example's scores by their classes: one map for each example."""
    labels: Sequence[Any] = classlabels_strings or classlabels_int64s or ()
    scores = x.reshape(-1, x.shape[-1])
    if scores.shape[1] != len(labels):
        raise ImportFault(f"names {len(labels)} classes for {scores.shape[1]} scores", where="ZipMap")
    return [dict(zip(labels, row.unbind(), strict=True)) for row in scores.unbind()]
