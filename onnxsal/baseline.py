"""From what a user says of a baseline to tensors shaped like the feeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from onnxsal.errors import InputError
from onnxsal.inputs import read_inputs
from onnxsal.plugins import registry
from onnxsal.types import Feeds, Port


def make_baseline(spec: Any, feeds: Feeds) -> Feeds:
    """Return feeds-shaped tensors for a number, the name of a baseline, a file, or arrays by input name.

    Raises:
        UsageError: no such baseline.
        InputError: a file or array that does not fit the feeds.
    """
    if isinstance(spec, Mapping):
        return {name: _fitted(spec.get(name), value, name) for name, value in feeds.items()}
    number = _number(spec)
    if number is not None:
        return {name: torch.full_like(value, number) for name, value in feeds.items()}
    if _is_path(str(spec)):
        ports = [Port(n, str(v.dtype).removeprefix("torch."), (None, *v.shape[1:])) for n, v in feeds.items()]
        return make_baseline(read_inputs(ports, {None: str(spec)})[0], feeds)
    maker = registry().get("baselines", str(spec))
    made: Feeds = maker.make(feeds, **maker.check_options({}))
    return made


def _number(spec: Any) -> float | None:
    try:
        return float(spec)
    except (TypeError, ValueError):
        return None


def _is_path(text: str) -> bool:
    return text not in registry().names("baselines") and any(character in text for character in "./\\")


def _fitted(array: Any, value: Tensor, name: str) -> Tensor:
    if array is None:
        raise InputError(f"the baseline has nothing for input {name!r}", hint="give one array per explained input")
    tensor = torch.as_tensor(array).to(value.device, value.dtype)
    try:
        return tensor.expand_as(value)
    except RuntimeError as error:
        raise InputError(
            f"the baseline of shape {list(tensor.shape)} does not fit input {name!r} of shape {list(value.shape)}",
            hint="give it the input's shape, or 1 in dim 0",
        ) from error
