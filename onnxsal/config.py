"""Settings from ``onnxsal.toml``: one table per command, with the names of the command's long options.

    [explain]
    method = "integrated_gradients"
    device = "cpu"

    [explain.options]           # what -s says; used with the method named above
    steps = 100

Flags go before the environment (``ONNXSAL_METHOD=…``), the environment before the file, the file before defaults.
Paths in the file are relative to the current folder, as those of flags are.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onnxsal.errors import UsageError, nearest

FILE = "onnxsal.toml"


def load(path: str | Path | None, command: str, known: Iterable[str], commands: Iterable[str]) -> dict[str, Any]:
    """Return a command's table, by default from ``onnxsal.toml`` in the current folder; empty where there is none.

    Args:
        path: The file, where the user named one.
        command: The command's name.
        known: The names that may stand in its table.
        commands: The names that tables may have.

    Raises:
        UsageError: the file cannot be read, or holds a name nobody knows.
    """
    if path is None and not Path(FILE).is_file():
        return {}
    path = Path(path or FILE)
    tables = _read(path)
    _check(tables, commands, f"{path}")
    table = tables.get(command, {})
    if not isinstance(table, Mapping):
        raise UsageError(f"{command!r} is no table", where=str(path), hint=f"write [{command}], and options below it")
    _check(table, known, f"{path}, [{command}]")
    return dict(table)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), hint="check --config") from error
    except UnicodeDecodeError as error:
        raise UsageError("is not text in UTF-8", where=str(path), hint="save it as UTF-8") from error
    return _parse(text, path)


def _parse(text: str, path: Path) -> dict[str, Any]:
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return toml.loads(text)  # type: ignore[no-any-return]
    except toml.TOMLDecodeError as error:
        raise UsageError(
            f"is not TOML: {error}", where=str(path), hint='texts are quoted: method = "saliency"'
        ) from error


def _check(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    names = list(known)
    for name in table:
        if name not in names:
            raise UsageError(f"nothing is called {name!r}", where=where, hint=nearest(name, names))
