"""``onnxsal compile``: a model that explains itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxsal.cli._messages import Messages, message_options
from onnxsal.cli._options import (
    Pair,
    check_stdin,
    config_option,
    json_option,
    model_of,
    option,
    pairs,
    sources,
    targets_of,
)

if TYPE_CHECKING:
    from onnxsal.model import Model

TABLES = {"options": "set", "set-input": "set-input"}


@click.command("compile", short_help="Write the attribution itself as an ONNX model.")
@click.argument("model")
@click.argument("input", required=False)
@option("-i", "--input", "named", type=Pair(), multiple=True, metavar="NAME=PATH", help="An input by its ONNX name.")
@option("-m", "--method", default="saliency", show_default=True, help="See `onnxsal list methods`.")
@option(
    "-s", "--set", "options", type=Pair(), multiple=True, metavar="KEY=VALUE", help="An option of the method; repeat."
)
@option("-t", "--target", help="One for all examples, as for `onnxsal explain`. [default: the highest class]")
@option("--target-input", is_flag=True, help="Take the target at run time, as one more input `target`.")
@option(
    "--explain-input",
    "inputs",
    multiple=True,
    metavar="NAME",
    help="Explain this input only; repeat. [default: all of floating point]",
)
@option(
    "--fix",
    "fixed",
    type=Pair(),
    multiple=True,
    metavar="NAME=NUMBER",
    help="Hold this input to a number, or a JSON list of them; the file no longer takes it. Repeat.",
)
@option("--opset", type=click.IntRange(min=17), help="The file's opset. [default: the model's own, at least 17]")
@option(
    "--draws",
    type=click.Choice(["constant", "input", "fresh"]),
    default="constant",
    show_default=True,
    help="Where random numbers come from: settled now, one more input, or drawn by the file at every run.",
)
@option("--external-data", is_flag=True, help="Write the weights beside the file. [default: from 2 GB on]")
@option("--seed", type=int, default=0, show_default=True, help="Seeds constant draws.")
@option("--preset", metavar="NAME", help="How pictures are prepared; see `onnxsal list presets`.")
@option("--set-input", "settings", type=Pair(), multiple=True, metavar="KEY=VALUE", help="A setting of the reader.")
@option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-4,
    show_default=True,
    help="The accepted distance from the torch engine, as a part of the attribution's scale.",
)
@click.option("-o", "--output", metavar="PATH", help="[default: MODEL-METHOD.onnx]")
@json_option
@config_option(TABLES)
@message_options
@click.pass_context
def command(ctx: click.Context, /, model: str, input: str | None, method: str, **given: Any) -> None:
    """Write MODEL and an attribution of its answers as one ONNX file.

    The file takes MODEL's inputs and gives MODEL's outputs, unchanged, and NAME_attribution for each explained input
    NAME. It runs in plain ONNX Runtime, without torch or onnxsal, for any number of examples where MODEL takes any.

    Before it is written, it is run and compared: its outputs with MODEL's, its attributions with the torch engine's.
    INPUT is for models that do not take any numbers; inputs are drawn where none is given.
    """
    messages: Messages = ctx.obj
    messages.plugin_problems()
    tables = ctx.meta["onnxsal.tables"]
    files = sources(input, given["named"])
    check_stdin(model, files)
    _check_method(method, tables["options"] | pairs(given["options"]))

    from onnxsal.compiler.compile import compile

    opened = model_of(model)
    messages.detail(f"read {opened.name}")
    fixed = {name: _number(name, text) for name, text in given["fixed"]}
    feeds = _feeds(opened, fixed, files, tables["set-input"] | pairs(given["settings"]), given["preset"])
    compiled = compile(
        opened,
        method=method,
        target=targets_of(given["target"]),
        target_input=given["target_input"],
        inputs=given["inputs"] or None,
        fixed=fixed,
        feeds=feeds,
        opset=given["opset"],
        draws=given["draws"],
        external_data=given["external_data"] or None,
        seed=given["seed"],
        tolerance=given["tolerance"],
        **(tables["options"] | pairs(given["options"])),
    )
    messages.detail("compiled and checked")
    path = compiled.save(given["output"] or f"{Path(opened.name).stem}-{method}.onnx")
    for fixed in compiled.facts["fixed"]:
        messages.warn(f"the file is for {fixed} only: the model or the method does not leave it open")
    if compiled.facts["draws"].get("also_constant"):
        messages.warn("what else the method draws, masks or baselines, stands in the file")
    for name, found in compiled.facts["checked"]["across_kinks"].items():
        messages.warn(
            f"{found['examples']} of {found['of']} drawn examples of {name} differ from torch by up to "
            f"{found['largest']:.2g} of its scale, as where rounding decides on which side of a kink a unit stands"
        )
    messages.say(f"wrote {path}")
    if given["as_json"]:
        click.echo(json.dumps({**compiled.facts, "files": [str(path)]}, ensure_ascii=False))


def _check_method(method: str, options: dict[str, Any]) -> None:
    """Refuse a wrong name or option before torch is imported."""
    from onnxsal.plugins import registry

    registry().get("methods", method).check_options(options)


def _number(name: str, text: str) -> Any:
    """Return the numbers that an input is fixed to."""
    from onnxsal.errors import UsageError

    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no number", where=f"--fix {name}", hint="say 16000, true or [1, 2]") from error


def _feeds(model: Model, fixed: dict[str, Any], files: Any, settings: dict[str, Any], preset: str | None) -> Any:
    from onnxsal.inputs import read_inputs

    ports = [port for port in model.inputs if port.name not in fixed]
    return read_inputs(ports, files, settings, preset)[0] if files else None
