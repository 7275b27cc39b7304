"""From what a user says of a baseline to tensors shaped like the feeds."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from onnxsal.errors import InputError, UsageError
from onnxsal.inputs import read_inputs
from onnxsal.plugins import blamed, registry
from onnxsal.types import Feeds, Port

Generators = Callable[[], "list[torch.Generator]"]
"""Makes a source of random numbers for each example."""


def check_baseline(spec: Any) -> None:
    """Refuse the name or the option of a baseline that does not exist, before anything is run.

    Raises:
        UsageError: no such baseline or option.
    """
    if isinstance(spec, str) and _number(spec) is None and not _is_path(spec):
        registry().configured("baselines", spec)


def speaks_of_inputs(spec: Any) -> bool:
    """Say whether a baseline can only be said of a model's inputs: a file, arrays by input name, a token."""
    if isinstance(spec, Mapping) or _is_path(spec):
        return True
    if not isinstance(spec, str) or _number(spec) is not None:
        return False
    maker, _ = registry().configured("baselines", spec)
    return bool(maker.of_input)


def make_baseline(spec: Any, feeds: Feeds, generators: Generators) -> Feeds:
    """Return feeds-shaped tensors for a number, the name of a baseline, a file, or arrays by input name.

    Raises:
        UsageError: no such baseline, or several where one is meant.
        InputError: a file or array that does not fit the feeds.
    """
    if isinstance(spec, Mapping):
        return {name: _fitted(_given(spec, name), value, name) for name, value in feeds.items()}
    if _is_path(spec):
        return make_baseline(_read(spec, feeds), feeds, generators)
    several = make_baselines(spec, feeds, generators)
    count = len(next(iter(several.values())))
    if count != 1:
        raise UsageError(f"{spec} gives {count} baselines, the method takes one", where="baseline", hint="draw one")
    return {name: value[0] for name, value in several.items()}


def make_baselines(spec: Any, feeds: Feeds, generators: Generators) -> Feeds:
    """Return tensors of shape [baselines, *feed's shape]; every row of a file or array is one baseline.

    Raises:
        UsageError: no such baseline.
        InputError: a file or array that does not fit the feeds.
    """
    if isinstance(spec, Mapping):
        return _rows_of(spec, feeds)
    if _is_path(spec):
        return _rows_of(_read(spec, feeds), feeds)
    number = _number(spec)
    if number is not None:
        return {name: torch.full_like(value, number)[None] for name, value in feeds.items()}
    if not isinstance(spec, str):
        raise UsageError(
            f"{type(spec).__name__} is no baseline",
            where="baseline",
            hint="arrays are given by input name: {'x': array}",
        )
    return _made(spec, feeds, generators)


def _made(said: str, feeds: Feeds, generators: Generators) -> Feeds:
    """Return what the baseline of a name makes; a plugin's fault is told as such."""
    maker, options = registry().configured("baselines", said)
    provider = next(provider for entry, provider in registry().items("baselines") if entry is maker)
    with blamed(provider, f"baseline {maker.name!r}"):
        made = maker.make(feeds, generators(), **options) if maker.random else maker.make(feeds, **options)
        return {name: made[name].reshape(-1, *value.shape) for name, value in feeds.items()}


def _number(spec: Any) -> float | None:
    try:
        number = float(spec)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _is_path(spec: Any) -> bool:
    """Say whether a file is meant: what stands before a baseline's options holds neither dots nor slashes."""
    if isinstance(spec, str):
        return _number(spec) is None and bool(re.match(r"[^:]*[./\\]|[A-Za-z]:[/\\]", spec))
    return isinstance(spec, os.PathLike)


def _read(path: str | os.PathLike[str], feeds: Feeds) -> Mapping[str, Any]:
    ports = [Port(n, str(v.dtype).removeprefix("torch."), (None, *v.shape[1:])) for n, v in feeds.items()]
    return read_inputs(ports, {None: os.fspath(path)})[0]


def _given(arrays: Mapping[str, Any], name: str) -> Any:
    if arrays.get(name) is None:
        raise InputError(f"the baseline has nothing for input {name!r}", hint="give one array per explained input")
    return arrays[name]


def _fitted(array: Any, value: Tensor, name: str) -> Tensor:
    tensor = torch.as_tensor(array).to(value.device, value.dtype)
    try:
        return tensor.expand_as(value)
    except RuntimeError as error:
        raise InputError(
            f"the baseline of shape {list(tensor.shape)} does not fit input {name!r} of shape {list(value.shape)}",
            hint="give it the input's shape, or 1 in dim 0",
        ) from error


def _rows_of(arrays: Mapping[str, Any], feeds: Feeds) -> Feeds:
    """Return each row as a baseline for every example; all inputs have the same number."""
    rows = {name: _row_each(_given(arrays, name), value, name) for name, value in feeds.items()}
    counts = {name: len(value) for name, value in rows.items()}
    if len(set(counts.values())) > 1 or not all(counts.values()):
        told = ", ".join(f"{count} for input {name!r}" for name, count in counts.items())
        raise InputError(f"the baselines are {told}", hint="give each input as many rows, at least one")
    return rows


def _row_each(array: Any, value: Tensor, name: str) -> Tensor:
    tensor = torch.as_tensor(array).to(value.device, value.dtype)
    if tensor.shape[1:] != value.shape[1:] or tensor.ndim != value.ndim:
        raise InputError(
            f"baselines of shape {list(tensor.shape)} do not fit input {name!r} of shape {list(value.shape)}",
            hint="dim 0 counts the baselines, the others are the input's",
        )
    return tensor.unsqueeze(1).expand(-1, *value.shape)
