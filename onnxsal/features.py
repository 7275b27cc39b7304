"""From what a user says of features to a feature's number for each element."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onnxsal.errors import InputError, OnnxsalError, PluginError, UsageError
from onnxsal.inputs import read_inputs
from onnxsal.plugins import OURS, registry
from onnxsal.types import Feeds, Port

PICTURES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
"""Files whose distinct colours are features."""


def check_features(spec: Any) -> None:
    """Refuse the name or the option of a mask that does not exist, before anything is run.

    Raises:
        UsageError: no such mask or option.
    """
    if isinstance(spec, str) and not _is_path(spec):
        registry().configured("masks", spec)


def make_features(spec: Any, feeds: Feeds) -> Feeds:
    """Return the feature of each element, from 0 in every example; one long where it stays along an axis.

    Args:
        spec: The name of a mask, a file of labels, or arrays of labels by input name; of one input the bare array.
        feeds: The explained inputs.

    Raises:
        UsageError: no such mask, or it cannot cut such inputs.
        InputError: labels that are no whole numbers or do not fit the inputs.
    """
    labels = _labels(spec, feeds)
    fitted = {name: _fitted(labels[name], value, name) for name, value in feeds.items()}
    return _from_zero(fitted)


def _labels(spec: Any, feeds: Feeds) -> Mapping[str, Any]:
    if _is_path(spec):
        return _labels(_read(os.fspath(spec), feeds), feeds)
    if isinstance(spec, str):
        return _made(spec, feeds)
    if not isinstance(spec, Mapping):
        if len(feeds) > 1:
            raise UsageError(
                f"one mask for {len(feeds)} inputs: {', '.join(feeds)}",
                where="features",
                hint="give one for each: {name: labels}; an .npz holds several",
            )
        return dict.fromkeys(feeds, spec)
    if missing := [name for name in feeds if name not in spec]:
        raise InputError(
            f"the mask says nothing of input {missing[0]!r}",
            where="features",
            hint="give one for each explained input, or explain fewer: --explain-input NAME",
        )
    return spec


def _is_path(spec: Any) -> bool:
    """Say whether a file is meant: what stands before a mask's options holds neither dots nor slashes."""
    if not isinstance(spec, str):
        return isinstance(spec, os.PathLike)
    head = spec.partition(":")[0]
    return any(character in head for character in "./\\") or spec[1:3] in {":\\", ":/"}


def _made(said: str, feeds: Feeds) -> Feeds:
    """Return what the mask of a name makes; a plugin's fault is told as such."""
    maker, options = registry().configured("masks", said)
    try:
        made: Feeds = maker.make(feeds, **options)
        return {name: made[name] for name in feeds}
    except OnnxsalError:
        raise
    except Exception as error:
        provider = next(p for entry, p in registry().items("masks") if entry is maker)
        if provider.distribution == OURS:
            raise
        raise PluginError(f"mask {maker.name!r} of {provider} failed: {error}") from error


def _read(path: str, feeds: Feeds) -> Any:
    """Return a file's labels: arrays by input name, or of a picture one for all."""
    if path.lower().endswith(PICTURES):
        return _colours(path)
    ports = [Port(name, "int64", None) for name in feeds]
    return read_inputs(ports, {None: path})[0]


def _colours(path: str) -> Tensor:
    """Return a picture's pixels as labels, one for each colour, shape [height, width]."""
    import numpy as np
    from PIL import Image

    if not Path(path).is_file():
        raise InputError("no such file", where=path, hint="check the path")
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    except Exception as error:  # a dozen unrelated classes
        raise InputError(f"no picture: {error}", where=path, hint="save the labels as .png or .npy") from error
    flat = pixels.reshape(*pixels.shape[:2], -1)
    _, labels = np.unique(flat.reshape(-1, flat.shape[2]), axis=0, return_inverse=True)
    return torch.from_numpy(labels.reshape(flat.shape[:2]))


def _fitted(labels: Any, value: Tensor, name: str) -> Tensor:
    """Return labels with an axis for each of the input's, as long or one long."""
    tensor = torch.as_tensor(labels)
    if tensor.is_floating_point() and torch.equal(tensor, tensor.round()):
        tensor = tensor.long()
    if tensor.is_floating_point() or tensor.is_complex():
        raise InputError(
            f"the labels of input {name!r} are no whole numbers",
            where="features",
            hint="give elements of one feature one whole number",
        )
    for candidate in (tensor, tensor.unsqueeze(-1)):  # of a picture whose colours come last, they may be left out
        axes = candidate.reshape((1,) * (value.ndim - candidate.ndim) + candidate.shape)
        if axes.ndim == value.ndim and all(s in (1, v) for s, v in zip(axes.shape, value.shape, strict=True)):
            return axes.to(value.device, torch.int64)
    raise InputError(
        f"labels of shape {list(tensor.shape)} do not fit input {name!r} of shape {list(value.shape)}",
        where="features",
        hint="give one label for each element; axes along which it stays may be left out in front, or be 1",
    )


def _from_zero(labels: Feeds) -> Feeds:
    """Return the labels counted from 0 without a gap, in every example by itself."""
    rows = max(len(value) for value in labels.values())
    examples = [_counted({n: v[min(row, len(v) - 1)] for n, v in labels.items()}) for row in range(rows)]
    return {name: torch.stack([example[name] for example in examples]) for name in labels}


def _counted(labels: Feeds) -> Feeds:
    flat = torch.cat([value.flatten() for value in labels.values()])
    _, numbers = flat.unique(return_inverse=True)
    parts = numbers.split([value.numel() for value in labels.values()])
    return {name: part.reshape(value.shape) for (name, value), part in zip(labels.items(), parts, strict=True)}
