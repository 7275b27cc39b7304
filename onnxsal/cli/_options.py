"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from onnxsal import config
from onnxsal.errors import UsageError

Function = TypeVar("Function", bound=Callable[..., Any])

LIBRARIES = "onnxsal.ort_libraries"
"""Where a command's context keeps the libraries that were named."""


class Pair(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """``KEY=VALUE``."""

    name = "pair"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Split at the first ``=``."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not {param.metavar if param else 'KEY=VALUE'}", param, ctx)
        return key, text


def option(*flags: str, **about: Any) -> Callable[[Function], Function]:
    """Declare an option that ``ONNXSAL_…`` and the configuration file may set too."""
    long = next(flag for flag in flags if flag.startswith("--")).split("/")[0]
    return click.option(*flags, envvar=variable(long.lstrip("-")), **about)


def variable(name: str) -> str:
    """Return the environment variable of a long option."""
    return f"ONNXSAL_{name.upper().replace('-', '_')}"


def json_option(function: Function) -> Function:
    """Add ``--json`` to a command."""
    help = "One JSON object on stdout; faults as JSON on stderr."
    return click.option("--json", "as_json", is_flag=True, help=help)(function)


def reading_options(function: Function) -> Function:
    """Add how the model is read to a command."""
    quantized = option(
        "--quantized",
        type=click.Choice(["ste", "float"]),
        default="ste",
        show_default=True,
        help="A quantised model as it is deployed, gradients going straight through the rounding, or without rounding.",
    )
    precision = option(
        "--precision",
        type=click.Choice(["native", "float32"]),
        default="native",
        show_default=True,
        help="A model in half precision as it is, or raised to float32.",
    )
    return quantized(precision(function))


def library_option(function: Function) -> Function:
    """Add ``--ort-library`` to a command; `model_of` sees what it names.

    A library is code, so the configuration file of a folder one happens to work in may not name any.
    """

    def keep(ctx: click.Context, _param: click.Parameter, paths: tuple[str, ...]) -> None:
        ctx.meta[LIBRARIES] = paths

    return click.option(
        "--ort-library",
        "ort_libraries",
        multiple=True,
        metavar="PATH",
        expose_value=False,
        callback=keep,
        help="A library of custom operators for ONNX Runtime; repeat. ONNXSAL_ORT_LIBRARIES names more.",
    )(function)


def config_option(tables: Mapping[str, str] = {}) -> Callable[[Function], Function]:
    """Add ``--config`` to a command; ``tables`` says which of its tables fill which KEY=VALUE parameters."""

    def callback(ctx: click.Context, _param: click.Parameter, path: str | None) -> None:
        ctx.default_map = {**_settings(ctx, path, tables), **(ctx.default_map or {})}

    return click.option(
        "--config",
        metavar="FILE",
        envvar=variable("config"),
        is_eager=True,
        expose_value=False,
        callback=callback,
        help=f"Settings; {config.FILE} of the current folder where not given.",
    )


def _settings(ctx: click.Context, path: str | None, tables: Mapping[str, str]) -> dict[str, Any]:
    """Return the configuration file's values by parameter, its KEY=VALUE tables under ``ctx.meta``."""
    from onnxsal.cli import names

    parameters = {_long_name(p): p for p in ctx.command.params if isinstance(p, click.Option) and p.envvar}
    settable = [name for name in parameters if name != "config" and name not in tables.values()]
    table = config.load(path, ctx.command.name or "", [*settable, *tables], names())
    for name in tables:
        _check_table(table.get(name, {}), name, path)
    ctx.meta["onnxsal.tables"] = {name: table.get(name, {}) for name in tables}
    ctx.meta["onnxsal.settings"] = {name: value for name, value in table.items() if name not in tables}
    return {str(parameters[name].name): _plain(table[name], parameters[name]) for name in settable if name in table}


def _check_table(value: Any, name: str, path: str | None) -> None:
    if not isinstance(value, Mapping):
        raise UsageError(
            f"{name!r} is no table", where=path or config.FILE, hint=f"write [explain.{name}], and KEY = VALUE"
        )


def _plain(value: Any, parameter: click.Option) -> Any:
    """Let one text stand for a list of one, where an option may be given several times."""
    return [value] if parameter.multiple and isinstance(value, str) else value


def _long_name(parameter: click.Option) -> str:
    return next((o for o in parameter.opts if o.startswith("--")), parameter.opts[0]).lstrip("-")


def pairs(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return KEY=VALUE flags as a mapping; of two with one key the last holds."""
    return dict(given)


def sources(unnamed: str | None, named: Iterable[tuple[str, str]]) -> dict[str | None, str]:
    """Return the inputs' files by name, the unnamed one under None."""
    found: dict[str | None, str] = {}
    for name, path in named:
        if name in found:
            raise UsageError(f"input {name!r} is given twice", where="-i", hint="give each input once")
        found[name] = path
    if unnamed is not None:
        found[None] = unnamed
    if list(found.values()).count("-") > 1:
        raise UsageError("stdin is read twice", where="-", hint="write one of the inputs to a file")
    return found


def check_stdin(model: str, files: Mapping[str | None, str]) -> None:
    """Refuse to read model and input from one stream."""
    if model == "-" and "-" in files.values():
        raise UsageError("model and input cannot both be stdin", where="-", hint="write one of them to a file")


def model_of(path: str) -> Any:
    """Open the model; ``-`` is stdin."""
    import onnxsal

    libraries = click.get_current_context().meta.get(LIBRARIES, ())
    return onnxsal.load(sys.stdin.buffer.read() if path == "-" else path, ort_libraries=libraries)


def targets_of(text: str | None) -> Any:
    """Return a target as the library takes it: ``3,5`` is one per example, ``(1,2)`` an index of two axes."""
    if text is None:
        return None
    parts = _split(text)
    if not all(parts):
        raise UsageError(f"{text!r} has an empty part", where="--target", hint="say 3, or 3,5 for two examples")
    found = [_target(part) for part in parts]
    return found[0] if len(found) == 1 else found


def _split(text: str) -> list[str]:
    """Split at the commas between targets: not those within brackets, nor those within a class's name or a box."""
    named = re.match(r"\s*(label|box):", text)
    comma = rf",(?=\s*{named[1]}:)" if named else r",(?![^\[(]*[\])])"
    return [part.strip() for part in re.split(comma, text)]


def _target(text: str) -> Any:
    if not (text.startswith("(") and text.endswith(")")):
        return text
    try:
        return tuple(int(part) for part in text[1:-1].split(",") if part.strip())
    except ValueError:
        raise UsageError(f"{text!r} is not an index", where="--target", hint="whole numbers, as in (1,2)") from None
