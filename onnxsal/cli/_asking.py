"""Options that say what is explained: the input, the target, how the model is run; from flags to a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from onnxsal.cli._messages import Messages
from onnxsal.cli._options import (
    Function,
    Pair,
    check_stdin,
    library_option,
    model_of,
    option,
    pairs,
    reading_options,
    sources,
    targets_of,
)
from onnxsal.errors import UsageError

DEFAULT_METHOD = "saliency"


def input_options(function: Function) -> Function:
    """Add the model, its input, and how that is read to a command."""
    return _all(
        function,
        click.argument("model"),
        click.argument("input", required=False),
        library_option,
        option(
            "-i",
            "--input",
            "named",
            type=Pair(),
            multiple=True,
            metavar="NAME=PATH",
            help="An input by its ONNX name; repeat.",
        ),
        option("--preset", metavar="NAME", help="How pictures are prepared; see `onnxsal list presets`."),
        option(
            "--set-input",
            "settings",
            type=Pair(),
            multiple=True,
            metavar="KEY=VALUE",
            help="A setting of the input's reader; repeat.",
        ),
    )


def method_options(function: Function) -> Function:
    """Add the method and its options to a command."""
    return _all(
        function,
        option("-m", "--method", default=DEFAULT_METHOD, show_default=True, help="See `onnxsal list methods`."),
        option(
            "-s",
            "--set",
            "options",
            type=Pair(),
            multiple=True,
            metavar="KEY=VALUE",
            help="An option of the method; repeat.",
        ),
    )


def measuring_options(function: Function) -> Function:
    """Add what is measured to a command."""
    return _all(
        function,
        option(
            "-M",
            "--metric",
            "metrics",
            multiple=True,
            metavar="NAME[:OPTIONS]",
            help="See `onnxsal list metrics`; repeat. [default: all that need nothing more]",
        ),
        option(
            "--region",
            type=Pair(),
            multiple=True,
            metavar="NAME=PATH",
            help="Where the explanation of an input should lie: a picture that is bright there, or an array; repeat.",
        ),
    )


def explaining_options(function: Function) -> Function:
    """Add which number is explained, and how the model is run, to a command."""
    return _all(
        function,
        option(
            "-t",
            "--target",
            help="3, logits[3], argmax, …: see `onnxsal explain -h`. [default: the highest class, or the only number]",
        ),
        option(
            "-d",
            "--device",
            default="auto",
            show_default=True,
            help="auto, cpu, cuda:1, …; see `onnxsal list devices`.",
        ),
        option("-e", "--engine", default="auto", show_default=True, help="See `onnxsal list engines`."),
        option(
            "--explain-input",
            "inputs",
            multiple=True,
            metavar="NAME",
            help="Explain this input only; repeat. [default: all floats, else ids]",
        ),
        option(
            "--layer",
            multiple=True,
            metavar="NAME",
            help="Explain this value inside the graph, or what this node makes, in place of the inputs; repeat.",
        ),
        option(
            "--neuron",
            metavar="NAME[INDEX]",
            help="Explain this number inside the graph in place of an output; an expression as for -t.",
        ),
        option(
            "--keep-token",
            "keep_tokens",
            type=int,
            multiple=True,
            metavar="ID",
            help="A token of the tokenizer's own, such as [CLS], that stays as it is and gets 0; repeat.",
        ),
        option("--batch-size", type=click.IntRange(min=1), help="How many rows the engine is given at a time."),
        option("--seed", type=int, default=0, show_default=True, help="Seeds methods that draw random numbers."),
        option(
            "--verify/--no-verify", default=True, show_default=True, help="Compare the import with ONNX Runtime first."
        ),
        option(
            "--tolerance",
            type=click.FloatRange(min=0),
            help="The distance from ONNX Runtime that is accepted, as a part of an output's scale.",
        ),
        reading_options,
        option(
            "--allow-nan", is_flag=True, help="Take inputs that hold NaN or infinities, for models that are meant to."
        ),
        option(
            "--pre-softmax",
            is_flag=True,
            help="Explain the numbers before the output's final softmax (or sigmoid) instead.",
        ),
        option(
            "--completeness-tolerance",
            type=click.FloatRange(min=0),
            help="How far attributions may miss the score's difference, as a part of it; inf accepts all. "
            "[default: by method]",
        ),
    )


def _all(function: Function, *decorators: Callable[[Any], Any]) -> Function:
    """Decorate such that help tells the options in the order they are written in."""
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def method_request(ctx: click.Context, method: str, given: Mapping[str, Any]) -> Any:
    """Return the request for one method; its name and options are checked here, before torch is imported."""
    from onnxsal.plugins import registry

    options = registry().get("methods", method).check_options(_options_of_file(ctx, method) | pairs(given["options"]))
    return request_of(given, method, options)


def _options_of_file(ctx: click.Context, method: str) -> dict[str, Any]:
    """Return the file's options, which are for the file's method; another one would not know them."""
    meant = ctx.meta["onnxsal.settings"].get("method", DEFAULT_METHOD)
    return dict(ctx.meta["onnxsal.tables"]["options"]) if method == meant else {}


def check_named(kind: str, said: Iterable[str]) -> None:
    """Refuse a name with options that nobody knows, before torch is imported."""
    from onnxsal.plugins import registry

    for one in said:
        registry().configured(kind, one)


def request_of(given: Mapping[str, Any], method: str = DEFAULT_METHOD, options: Mapping[str, Any] = {}) -> Any:
    """Return the request that the explaining options make of a method and its options."""
    from onnxsal.types import Request

    return Request(
        method,
        options,
        targets_of(given["target"]),
        given["device"],
        given["engine"],
        given["seed"],
        given["batch_size"],
        given["inputs"] or None,
        given["layer"] or None,
        given["neuron"],
        given["keep_tokens"],
        verify=given["verify"],
        tolerance=given["tolerance"],
        allow_nan=given["allow_nan"],
        pre_softmax=given["pre_softmax"],
        quantized=given["quantized"],
        precision=given["precision"],
        completeness_tolerance=given["completeness_tolerance"],
    )


def read(ctx: click.Context, model: str, input: str | None, given: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return the model, its inputs' arrays and, where a person could see them, their pictures."""
    files = sources(input, given["named"])
    check_stdin(model, files)

    from onnxsal.inputs import read_inputs

    messages: Messages = ctx.obj
    opened = model_of(model)
    messages.detail(f"read {opened.name}")
    arrays, pictures = read_inputs(opened.inputs, files, _reader_settings(ctx, given), given["preset"])
    messages.detail(f"read {', '.join(f'{name} {list(a.shape)}' for name, a in arrays.items())}")
    return opened, arrays, pictures


def read_marks(ctx: click.Context, model: Any, given: Mapping[str, Any]) -> Any:
    """Return the region that is marked in the inputs, arrays by input name."""
    from onnxsal.inputs import STDIN, read_region

    files = pairs(given["region"])
    if STDIN in files.values():
        raise UsageError("a region is not read from stdin", where="--region", hint="write it to a file")
    return read_region(model.inputs, files, _reader_settings(ctx, given), given["preset"])


def _reader_settings(ctx: click.Context, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the inputs' readers: flags go before the configuration file."""
    return ctx.meta["onnxsal.tables"]["set-input"] | pairs(given["settings"])  # type: ignore[no-any-return]
