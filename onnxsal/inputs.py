"""Inputs from files: each is read by the reader that its suffix or its first bytes call for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from onnxsal.entries import Preset, Reader
from onnxsal.errors import InputError, OnnxsalError, PluginError, ResourceError, UsageError, nearest
from onnxsal.feeds import check_feeds, check_names
from onnxsal.plugins import OURS, registry
from onnxsal.types import Port, Reading

if TYPE_CHECKING:
    import numpy as np

__all__ = ["check_feeds", "read_inputs"]

Arrays: TypeAlias = "dict[str, np.ndarray]"

STDIN = "-"
BRIGHT = 127
"""A pixel of a picture is marked above this."""
MAX_BYTES = 8 << 30
"""No input file may be larger."""


def read_inputs(
    ports: Sequence[Port],
    sources: Mapping[str | None, str | Path],
    settings: Mapping[str, Any] | None = None,
    preset: str | None = None,
) -> tuple[Arrays, Arrays]:
    """Read the inputs' files; return the arrays and, where a person could see them, the pictures.

    Args:
        ports: The model's inputs.
        sources: A path for each input's name; under None the file for all inputs that are not named; ``-`` is stdin.
        settings: The readers' options, as the user set them.
        preset: The name of a preset; ``settings`` go before it.

    Raises:
        InputError: a file cannot be read as an input.
        UsageError: no such preset, setting or way to read the file.
    """
    check_names(sources, ports)
    named = [port for port in ports if port.name in sources]
    unnamed = [port for port in ports if port.name not in sources]
    jobs = [(sources[port.name], [port]) for port in named] + ([(sources[None], unnamed)] if None in sources else [])
    data = [_load(path) for path, _ in jobs]
    readers = [_reader(str(path), content) for (path, _), content in zip(jobs, data, strict=True)]
    options = _options(readers, settings or {}, preset)
    readings: dict[str, Reading] = {}
    for (path, wanted), content, reader in zip(jobs, data, readers, strict=True):
        readings |= _read(reader, content, wanted, options[reader.name], "stdin" if str(path) == STDIN else str(path))
    arrays = {name: reading.array for name, reading in readings.items()}
    return arrays, {name: r.picture for name, r in readings.items() if r.picture is not None}


def read_region(
    ports: Sequence[Port], sources: Mapping[str, str | Path], settings: Mapping[str, Any], preset: str | None
) -> Arrays:
    """Read what is marked in inputs: of a picture, resized as the inputs' pictures are, what is bright; else arrays.

    Errors are those of `read_inputs`, whose arguments these are; settings and presets count only where they are known.
    """
    check_names(sources, ports)
    return {
        port.name: _marked(port, str(sources[port.name]), settings, preset) for port in ports if port.name in sources
    }


def _marked(port: Port, path: str, settings: Mapping[str, Any], preset: str | None) -> np.ndarray:
    data = _load(path)
    reader = _reader(path, data)
    ours = {name: value for name, value in settings.items() if name in reader.options}
    prepared = preset if preset and set(registry().get("presets", preset).settings) & set(reader.options) else None
    (reading,) = _read(reader, data, [port], _options([reader], ours, prepared)[reader.name], path).values()
    return reading.array if reading.picture is None else reading.picture.mean(axis=-1) > BRIGHT


def _load(source: str | Path) -> bytes:
    if str(source) == STDIN:
        return _bounded(sys.stdin.buffer.read(MAX_BYTES + 1), "stdin")
    path = Path(source)
    try:
        if path.is_dir():
            raise InputError("this is a folder", where=str(path), hint="give a file inside it")
        with path.open("rb") as stream:
            return _bounded(stream.read(MAX_BYTES + 1), str(path))
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path), hint=_neighbours(path)) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), hint="check the path") from error


def _bounded(data: bytes, where: str) -> bytes:
    if not data:
        raise InputError("empty", where=where, hint="was it written whole?")
    if len(data) > MAX_BYTES:
        raise InputError(f"more than {MAX_BYTES >> 30} GiB", where=where, hint="explain it in several runs")
    return data


def _neighbours(path: Path) -> str:
    try:
        return nearest(path.name, (p.name for p in path.parent.iterdir())) if path.parent.is_dir() else "check the path"
    except OSError:
        return "check the path"


def _reader(path: str, data: bytes) -> Reader:
    """Choose by suffix (the longest that fits), else by what the file begins with."""
    readers: list[Reader] = [entry for entry, _ in registry().items("readers")]
    by_suffix = [(len(s), r) for r in readers for s in r.suffixes if path.lower().endswith(s)]
    by_head = [(len(s), r) for r in readers for s in r.signatures if _begins(data, s)]
    found = by_suffix or by_head
    if not found:
        suffixes = sorted(s for r in readers for s in r.suffixes)
        raise InputError(
            "no reader knows this kind of file",
            where="stdin" if path == STDIN else path,
            hint=f"there are readers for {', '.join(suffixes)} (see `onnxsal list readers`)",
        )
    best = max(found, key=lambda pair: pair[0])[1]
    return registry().get("readers", best.name)  # type: ignore[no-any-return]  # refuses a name two plugins claim


def _begins(data: bytes, signature: bytes) -> bool:
    head = data[: len(signature)]
    return len(head) == len(signature) and all(s in {h, ord("?")} for h, s in zip(head, signature, strict=True))


def _options(readers: Sequence[Reader], settings: Mapping[str, Any], preset: str | None) -> dict[str, dict[str, Any]]:
    """Return the options of each reader in use; a setting that none of them knows is refused."""
    known = {name for reader in readers for name in reader.options}
    used = ", ".join(sorted({reader.name for reader in readers}))
    for name in settings:
        if name not in known:
            raise UsageError(f"no setting {name!r} for inputs read as {used}", hint=nearest(name, known))
    entry: Preset | None = registry().get("presets", preset) if preset else None
    if entry and not known & set(entry.settings):
        raise UsageError(
            f"preset {entry.name!r} says nothing about inputs read as {used}",
            hint="arrays are fed as they are: leave the preset out, or give the picture itself",
        )
    merged = {**(entry.settings if entry else {}), **settings}
    return {r.name: r.check_options({k: v for k, v in merged.items() if k in r.options}) for r in readers}


def _read(
    reader: Reader, data: bytes, ports: Sequence[Port], options: Mapping[str, Any], where: str
) -> dict[str, Reading]:
    try:
        readings = reader.read(data, ports, **options)
    except OnnxsalError as error:
        error.where = f"{where}, {error.where}" if error.where else where
        raise
    except MemoryError as error:
        raise ResourceError("out of memory", where=where, hint="feed fewer examples at a time") from error
    except Exception as error:
        provider = registry().provider("readers", reader.name)
        if provider.distribution == OURS:
            raise
        raise PluginError(f"reader {reader.name!r} of {provider} failed: {error}", where=where) from error
    strangers = set(readings) - {port.name for port in ports}
    if strangers:
        raise PluginError(f"reader {reader.name!r} returned {sorted(strangers)}, which nobody asked for", where=where)
    return dict(readings)
