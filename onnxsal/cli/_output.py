"""Where results go: which format under which name, all of them rendered before the first is written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxsal.cli._tables import is_terminal, terminal_width
from onnxsal.entries import Format
from onnxsal.errors import OutputError, UsageError, nearest
from onnxsal.plugins import registry

if TYPE_CHECKING:
    from onnxsal.types import Attribution

STDOUT = "-"


@dataclass(frozen=True)
class Output:
    """One format and where it goes; ``path`` is None for stdout."""

    format: Format
    path: Path | None
    options: Mapping[str, Any] = field(default_factory=dict)


def plan(formats: Sequence[str], path: str | None, stem: str, *, stdout_is_taken: bool = False) -> list[Output]:
    """Return what is written where, before anything is computed.

    Args:
        formats: The formats' names, as the user said them.
        path: What ``-o`` said.
        stem: What a file is called where the user gave no name.
        stdout_is_taken: Whether something else is printed there.

    Raises:
        UsageError: no such format, or nothing that can be done.
        OutputError: no such folder.
    """
    entries = [registry().get("formats", name) for name in dict.fromkeys(formats)]
    if path == STDOUT:
        return [_to_stdout(entries, stdout_is_taken)]
    if path is not None:
        return _to_files(entries, path, stem)
    if not entries:
        return [] if stdout_is_taken else [Output(registry().get("formats", "text"), None)]
    return [Output(e, None if e.text and not stdout_is_taken else Path(stem + e.suffix)) for e in entries]


def configure(outputs: Sequence[Output], given: Mapping[str, Any], ambient: Mapping[str, Any]) -> list[Output]:
    """Return the outputs with their formats' options: what was given, then what a file says, then what fits a terminal.

    Raises:
        UsageError: a given option that none of the formats has, or a value that it does not take.
    """
    known = {name for output in outputs for name in output.format.options}
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        used = ", ".join(output.format.name for output in outputs) or "no format"
        raise UsageError(f"no setting {unknown!r} for {used}", where="--set-format", hint=nearest(unknown, known))
    return [_with_options(output, {**ambient, **given}) for output in outputs]


def _with_options(output: Output, settings: Mapping[str, Any]) -> Output:
    seen = output.path is None and is_terminal()
    options = {**(_for_terminal() if seen else {}), **settings}
    fitting = {name: value for name, value in options.items() if name in output.format.options}
    output.format.check_options(fitting)
    return replace(output, options=fitting)


def _for_terminal() -> dict[str, Any]:
    """Return what formats for people call the width of a terminal, and whether it has colours."""
    return {"width": max(40, min(terminal_width(), 120)), "colour": not os.environ.get("NO_COLOR")}


def _to_stdout(entries: Sequence[Format], taken: bool) -> Output:
    if taken:
        raise UsageError("stdout carries the facts already", where="-o -", hint="leave --json out, or name a file")
    if len(entries) > 1:
        raise UsageError(
            f"{len(entries)} formats do not fit into one stream", where="-o -", hint="give one -f, or a name"
        )
    entry: Format = entries[0] if entries else registry().get("formats", "text")
    if not entry.text and is_terminal():
        raise UsageError(f"{entry.name} is not for a terminal", where="-o -", hint="pipe it on, or name a file with -o")
    return Output(entry, None)


def _to_files(entries: Sequence[Format], path: str, stem: str) -> list[Output]:
    from onnxsal.results import format_of

    target = Path(path)
    if path.endswith(("/", os.sep)) or target.is_dir():
        _check_folder(target)
        entries = entries or [registry().get("formats", "npz")]
        return [Output(e, target / (stem + e.suffix)) for e in entries]
    _check_folder(target.parent)
    if not entries:
        return [Output(registry().get("formats", format_of(target)), target)]
    if len(entries) == 1:
        return [Output(entries[0], target)]
    base = _without_suffix(target)
    return [Output(e, target.with_name(base + e.suffix)) for e in entries]


def _check_folder(folder: Path) -> None:
    """Refuse before the model is run what could not be written after."""
    if not folder.is_dir():
        raise OutputError("no such folder", where=str(folder), hint=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise OutputError("this folder is not writable", where=str(folder), hint="choose a folder you may write to")


def _without_suffix(path: Path) -> str:
    """Return the name without a suffix that some format has; other dots belong to the name."""
    suffixes = [entry.suffix for entry, _ in registry().items("formats")]
    known = max((s for s in suffixes if path.name.lower().endswith(s)), key=len, default="")
    return path.name[: len(path.name) - len(known)]


def stem_of(model: str, method: str) -> str:
    """Return what a result is called: the model's name and the method's."""
    name = "model" if model == STDOUT else Path(model).name.removesuffix(".onnx")
    return re.sub(r"[^\w.+-]", "_", f"{name}-{method}")


def write(attributions: Sequence[Attribution], outputs: Sequence[Output]) -> list[Path]:
    """Render everything, then write; a format that fails leaves nothing behind. Return the files."""
    from onnxsal.results import render, write_whole

    rendered = [[render(a, o.format.name, **o.options) for a in attributions] for o in outputs]
    written = []
    for output, parts in zip(outputs, rendered, strict=True):
        if output.path is None:
            _print(output.format, parts)
            continue
        for rank, data in enumerate(parts, 1):
            written.append(write_whole(_ranked(output, output.path, rank, len(parts)), data))
    return written


def _ranked(output: Output, path: Path, rank: int, count: int) -> Path:
    """Return the file's name: of several targets each has its own, ``why-1.npz``, ``why-2.npz``, …"""
    if count == 1:
        return path
    length = len(output.format.suffix) if path.name.lower().endswith(output.format.suffix) else 0
    stem = path.name[: len(path.name) - length]
    return path.with_name(f"{stem}-{rank}{path.name[len(stem) :]}")


def _print(format: Format, parts: Sequence[bytes]) -> None:
    click.echo(_together(format, parts), nl=False)


def _together(format: Format, parts: Sequence[bytes]) -> bytes:
    """Return the results of several targets as one: JSON stays one object, other formats follow one another."""
    if len(parts) == 1:
        return parts[0]
    if format.suffix == ".json":
        return b'{"ranked": [' + b", ".join(part.strip() for part in parts) + b"]}\n"
    if not format.text:
        raise UsageError(
            f"{len(parts)} results do not fit into one {format.name}", where="-o -", hint="one target, or name a file"
        )
    return b"\n".join(parts)
