"""Results: rendered in a format, written whole or not at all, and read back."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsal.entries import Format
from onnxsal.errors import InputError, OnnxsalError, OutputError, PluginError, ResourceError, UsageError, nearest
from onnxsal.plugins import OURS, registry
from onnxsal.target.value import REDUCE
from onnxsal.types import SCHEMA, Attribution, Provenance, Target

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


# --- out --------------------------------------------------------------------------------------------------------------


def render(attribution: Attribution, format: str, **options: Any) -> bytes:
    """Return the explanation in a format.

    Raises:
        UsageError: no such format or option.
        PluginError: the plugin behind the format failed.
    """
    entry: Format = registry().get("formats", format)
    checked = entry.check_options(options)
    try:
        return entry.render(attribution, **checked)
    except OnnxsalError:
        raise
    except MemoryError as error:
        raise ResourceError(
            "out of memory", where=f"format {format}", hint="explain fewer examples at a time"
        ) from error
    except Exception as error:
        provider = registry().provider("formats", format)
        if provider.distribution == OURS:
            raise
        raise PluginError(f"format {format!r} of {provider} failed: {error}") from error


def save(attribution: Attribution, path: str | Path, format: str | None = None, **options: Any) -> Path:
    """Write the explanation to a file, by default in the format that the suffix says; return the path.

    Raises:
        UsageError: no such format or option.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    return write_whole(path, render(attribution, format or format_of(path), **options))


def format_of(path: Path) -> str:
    """Return the name of the format that writes such files.

    Raises:
        UsageError: no format has the suffix.
    """
    formats: list[Format] = [entry for entry, _ in registry().items("formats")]
    fitting = [entry for entry in formats if path.name.lower().endswith(entry.suffix)]
    if not fitting:
        known = nearest(path.suffix, (entry.suffix for entry in formats))
        raise UsageError("no format has this suffix", where=str(path), hint=f"{known}; or say the format")
    return max(fitting, key=lambda entry: len(entry.suffix)).name


def write_whole(path: str | Path, data: bytes) -> Path:
    """Put bytes under a name so that the name never holds half of them; return the path.

    Raises:
        OutputError: the folder is missing or not writable.
        ResourceError: the disk is full.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "this is a folder")
        # beside the target: a rename is atomic only within one file system
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask() if not path.exists() else path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            raise _write_error(path, error) from error
        raise
    return path


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _write_error(path: Path, error: OSError) -> OnnxsalError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ResourceError("the disk is full", where=str(path), hint="make room, or write elsewhere")
    if isinstance(error, FileNotFoundError):
        return OutputError("no such folder", where=str(path.parent), hint=f"mkdir -p {path.parent}")
    hints = {errno.EISDIR: "add a file name", errno.EACCES: "choose a folder you may write to"}
    return OutputError(
        f"cannot be written: {error.strerror}", where=str(path), hint=hints.get(error.errno or 0, "write elsewhere")
    )


def plot(attribution: Attribution, **options: Any) -> Image:
    """Return the picture that the png format writes, as a PIL image."""
    import io

    from PIL import Image

    return Image.open(io.BytesIO(render(attribution, "png", **options)))


# --- back -------------------------------------------------------------------------------------------------------------


def load_attribution(path: str | Path) -> Attribution:
    """Read an explanation back from ``.npz``, ``.json`` or ``.safetensors``; the inputs are not among what they hold.

    Raises:
        InputError: the file is not a result, or damaged.
    """
    path = Path(path)
    loader = LOADERS.get(path.suffix.lower())
    if loader is None:
        raise InputError("only results of some formats can be read back", where=str(path), hint=f"{', '.join(LOADERS)}")
    try:
        values, meta = loader(path.read_bytes())
        return _from_meta(values, meta)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), hint="check the path") from error
    except InputError as error:
        error.where = f"{path}, {error.where}" if error.where else str(path)
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"not a result of onnxsal, or a damaged one: {error}", where=str(path), hint="explain the model again"
        ) from error


def _load_npz(data: bytes) -> tuple[dict[str, np.ndarray], Any]:
    from onnxsal.readers.npz import decode_archive

    arrays = decode_archive(data)
    return arrays, json.loads(str(arrays.pop("_meta")))


def _load_safetensors(data: bytes) -> tuple[dict[str, np.ndarray], Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
    except SafetensorError as error:
        raise InputError(f"damaged: {error}", hint="explain the model again") from error
    length = int.from_bytes(data[:8], "little")
    return arrays, json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["_meta"])


def _load_json(data: bytes) -> tuple[dict[str, np.ndarray], Any]:
    facts = json.loads(data)
    return {name: _array(name, about) for name, about in facts.pop("attributions").items()}, facts


def _array(name: str, about: Mapping[str, Any]) -> np.ndarray:
    import ml_dtypes
    import numpy as np

    if about.get("omitted"):
        raise InputError(
            "its values were left out", where=f"attribution {name!r}", hint="raise max_elements, or use npz"
        )
    dtype = np.dtype(getattr(ml_dtypes, about["dtype"], about["dtype"]))
    # the words for NaN and infinities are read by float64 alone
    flat = np.array(about["values"], np.float64) if dtype.kind not in "biuU" else np.array(about["values"])
    return flat.astype(dtype).reshape(about["shape"])


def _from_meta(values: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Attribution:
    import numpy as np

    if meta["schema"] > SCHEMA:
        raise InputError(
            f"written with schema {meta['schema']}, this version knows {SCHEMA}", hint="pip install -U onnxsal"
        )
    known = {field.name for field in dataclasses.fields(Provenance)}
    completeness = meta["completeness"]
    return Attribution(
        values=values,
        inputs={},
        score=np.array(meta["score"], np.float64),
        target=tuple(parse_target(t, label) for t, label in zip(meta["target"], meta["label"], strict=True)),
        method=meta["method"],
        options=meta["options"],
        provenance=Provenance(**{k: v for k, v in meta["provenance"].items() if k in known}),
        completeness=None if completeness is None else np.array(completeness, np.float64),
        parity=meta["parity"],
        layer=tuple(meta.get("layer") or ()),
        neuron=meta.get("neuron"),
    )


def parse_target(text: str, label: str | None = None) -> Target:
    """Return the target that was written as text: ``logits[3]``, ``mask[1,0:8].sum()``, ``logits[3] - logits[5]``.

    Masks and references are not in the text, and so not in the target.
    """
    text, _, other = text.partition(" - ")
    parts = re.fullmatch(rf"(.*?)(?:\[([-\d:,]+)\])?(?:\.({'|'.join(REDUCE)})\((.*)\))?", text, re.DOTALL)
    if parts is None:
        raise InputError(f"{text!r} is not a target")
    output, index, reduction, argument = parts.groups()
    places = tuple(_index(part) for part in index.split(",")) if index else ()
    minus = parse_target(other) if other else None
    return Target(output, places, reduction, label, argument=argument or "", minus=minus)


def _index(text: str) -> int | slice:
    if ":" not in text:
        return int(text)
    return slice(*(int(bound) if bound else None for bound in text.split(":")))


LOADERS: dict[str, Callable[[bytes], tuple[dict[str, Any], Any]]] = {
    ".npz": _load_npz,
    ".json": _load_json,
    ".safetensors": _load_safetensors,
}
