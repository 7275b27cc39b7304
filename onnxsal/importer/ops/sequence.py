"""Sequences and optionals: Python lists, and None for what is not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from onnxsal.errors import InputError
from onnxsal.importer.operator import AsIs, Host, op
from onnxsal.importer.shapes import settled
from onnxsal.importer.values import Value, device_of, ints, on_device


@op("SequenceConstruct", since=11)
def sequence_construct(*inputs: AsIs) -> list[Any]:
    """Make a sequence of the inputs."""
    return list(inputs)


@op("SequenceEmpty", since=11, gradient=False)
def sequence_empty(*, dtype: int | None = None) -> list[Any]:
    """Make a sequence of nothing."""
    del dtype  # a list of nothing has no type
    return []


@op("SequenceAt", since=11)
def sequence_at(input_sequence: AsIs, position: Host) -> Any:
    """Take the element at a position, counted from the end where negative."""
    return input_sequence[_place(input_sequence, position)]


@op("SequenceInsert", since=11)
def sequence_insert(input_sequence: AsIs, tensor: AsIs, position: Host | None = None) -> list[Any]:
    """Put an element in before a position, or behind the last."""
    place = len(input_sequence) if position is None else _place(input_sequence, position, slots=1)
    return [*input_sequence[:place], tensor, *input_sequence[place:]]


@op("SequenceErase", since=11)
def sequence_erase(input_sequence: AsIs, position: Host | None = None) -> list[Any]:
    """Leave out the element at a position, or the last."""
    place = _place(input_sequence, np.array(-1) if position is None else position)
    return [*input_sequence[:place], *input_sequence[place + 1 :]]


def _place(sequence: list[Value], position: np.ndarray, slots: int = 0) -> int:
    place, length = ints(position)[0], len(sequence)
    if not -length <= place < length + slots:
        raise InputError(f"position {place} is not in a sequence of {length}", where="sequence")
    return place + length if place < 0 else place


@op("SequenceLength", since=11, gradient=False)
def sequence_length(input_sequence: AsIs) -> Host:
    """Tell how many elements a sequence has."""
    return np.array(len(input_sequence), np.int64)


@op("SplitToSequence", since=11)
def split_to_sequence(data: AsIs, split: Host | None = None, *, axis: int = 0, keepdims: int = 1) -> list[Any]:
    """Cut into a sequence of parts: of the given sizes, or all of one size."""
    axis %= data.ndim
    parts = _cut(data, axis, [1] * data.shape[axis] if split is None else _sizes(split, data.shape[axis]))
    return [part.squeeze(axis) for part in parts] if split is None and not keepdims else parts


def _cut(data: Any, axis: int, sizes: list[int]) -> list[Any]:
    if isinstance(data, np.ndarray):
        return np.split(data, np.cumsum(sizes)[:-1], axis)
    return list(data.split(sizes, axis))


def _sizes(split: np.ndarray, total: int) -> list[int]:
    if split.ndim:
        return ints(split)
    part = ints(split)[0]
    return [min(part, total - start) for start in range(0, total, part)]


@op("ConcatFromSequence", since=11)
def concat_from_sequence(input_sequence: AsIs, *, axis: int, new_axis: int = 0) -> Any:
    """Join the elements of a sequence along an axis, a new one where asked."""
    if all(isinstance(v, np.ndarray) for v in input_sequence):
        return settled((np.stack if new_axis else np.concatenate)(input_sequence, axis))
    device = device_of(input_sequence)
    return (torch.stack if new_axis else torch.cat)([on_device(v, device) for v in input_sequence], axis)


@op("SequenceMap", since=17)
def sequence_map(
    input_sequence: AsIs, *additional_inputs: AsIs, body: Callable[..., tuple[Value, ...]], n_outputs: int
) -> tuple[Any, ...]:
    """Run a sub-graph on every element of a sequence; other sequences give their elements along with it."""
    length = len(input_sequence)
    columns = [v if isinstance(v, list) else [v] * length for v in additional_inputs]
    results = [body(*elements) for elements in zip(input_sequence, *columns, strict=True)]
    return tuple([result[i] for result in results] for i in range(n_outputs))


@op("Optional", since=15)
def optional(data: AsIs = None, *, type: str | None = None) -> Any:
    """Wrap a value, or nothing, as something that may be absent."""
    del type  # nothing has no type
    return data


@op("OptionalGetElement", since=15)
def optional_get_element(data: AsIs) -> Any:
    """Take the value out of an optional."""
    if data is None:
        raise InputError("the optional holds nothing", where="OptionalGetElement")
    return data


@op("OptionalHasElement", since=15, gradient=False)
def optional_has_element(data: AsIs = None) -> Host:
    """Tell whether an optional holds a value."""
    return np.array(data is not None)
