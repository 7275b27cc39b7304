"""``onnxsal explain``: why did the deployed model say this?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxsal.cli import _output
from onnxsal.cli._messages import Messages, message_options
from onnxsal.cli._options import (
    Pair,
    check_stdin,
    config_option,
    json_option,
    model_of,
    option,
    pairs,
    reading_options,
    sources,
    targets_of,
)

if TYPE_CHECKING:
    from onnxsal.types import Attribution

TABLES = {"options": "set", "set-input": "set-input", "set-format": "set-format"}
DEFAULT_METHOD = "saliency"


@click.command("explain", short_help="Say why a model answered what it answered.")
@click.argument("model")
@click.argument("input", required=False)
@option(
    "-i", "--input", "named", type=Pair(), multiple=True, metavar="NAME=PATH", help="An input by its ONNX name; repeat."
)
@option("-m", "--method", default=DEFAULT_METHOD, show_default=True, help="See `onnxsal list methods`.")
@option(
    "-s", "--set", "options", type=Pair(), multiple=True, metavar="KEY=VALUE", help="An option of the method; repeat."
)
@option("-t", "--target", help="Which number is explained; see above. [default: the highest class, or the only number]")
@option("-d", "--device", default="auto", show_default=True, help="auto, cpu, cuda:1, …; see `onnxsal list devices`.")
@option("-e", "--engine", default="auto", show_default=True, help="See `onnxsal list engines`.")
@option("-f", "--format", "formats", multiple=True, help="See `onnxsal list formats`; repeat.")
@option(
    "--set-format",
    "drawing",
    type=Pair(),
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of the formats; see `onnxsal list formats NAME`; repeat.",
)
@option("-o", "--output", metavar="PATH", help="A file, a folder, or - for stdout.")
@option("--preset", metavar="NAME", help="How pictures are prepared; see `onnxsal list presets`.")
@option(
    "--set-input",
    "settings",
    type=Pair(),
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of the input's reader; repeat.",
)
@option(
    "--explain-input",
    "inputs",
    multiple=True,
    metavar="NAME",
    help="Explain this input only; repeat. [default: all of floating point]",
)
@option(
    "--layer",
    multiple=True,
    metavar="NAME",
    help="Explain this value inside the graph, or what this node makes, in place of the inputs; repeat.",
)
@option(
    "--neuron",
    metavar="NAME[INDEX]",
    help="Explain this number inside the graph in place of an output; an expression as for -t.",
)
@option("--batch-size", type=click.IntRange(min=1), help="How many rows the engine is given at a time.")
@option("--seed", type=int, default=0, show_default=True, help="Seeds methods that draw random numbers.")
@option("--verify/--no-verify", default=True, show_default=True, help="Compare the import with ONNX Runtime first.")
@option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="The distance from ONNX Runtime that is accepted, as a part of an output's scale.",
)
@reading_options
@option("--allow-nan", is_flag=True, help="Take inputs that hold NaN or infinities, for models that are meant to.")
@option(
    "--pre-softmax", is_flag=True, help="Explain the numbers before the output's final softmax (or sigmoid) instead."
)
@option(
    "--completeness-tolerance",
    type=click.FloatRange(min=0),
    help="How far attributions may miss the score's difference, as a part of it; inf accepts all. [default: by method]",
)
@json_option
@config_option(TABLES)
@message_options
@click.pass_context
def command(ctx: click.Context, /, model: str, input: str | None, method: str, **given: Any) -> None:
    """Say why MODEL answered what it answered to INPUT.

    INPUT is a file for the model's only input, or an archive (.npz) with the inputs' ONNX names as keys; -i names the
    inputs one by one; - is stdin. Dim 0 counts the examples.

    \b
    -t says which number is explained:
      3                index 3 of the first output          logits[3]      of output "logits"
      argmax           the highest class (the default)      runnerup       the second highest
      top3             the three highest, each by itself    label:tabby    the class of that name
      boxes[0,5,4]     an index into more axes              (5,4)          the same, of the first output
      3 - 5            why this rather than that            mask[1].sum()  or mean, max, min, prod of many
      mask[1].region() a class summed over its own region   mask[1].over(FILE)  over what a mask shows
      out.cosine(FILE) the similarity to a reference        box:10,20,90,80@cat the score of the box there
      3,5              one for each example

    Where an option of the method takes a baseline, say a number, a name of `onnxsal list baselines`, or a file; where
    it takes features (what is varied together), a name of `onnxsal list masks`, or a file of labels. A name may carry
    options as NAME:VALUE or NAME:KEY=VALUE,KEY=VALUE:

    \b
      -s baseline=0.5      -s baseline=blur      -s baseline=blur:sigma=5      -s baseline=start.npz
      -s features=columns  -s features=grid:16   -s features=superpixels:80    -s features=regions.png

    \b
    Where results go:
      nothing said             a summary on stdout
      -o why.npz               one file, its format from the suffix
      -o why -f npz -f png     why.npz and why.png
      -o folder/ -f png        folder/MODEL-METHOD.png (npz where no -f is given)
      -f png                   MODEL-METHOD.png here; text formats go to stdout
      -o - -f json             stdout
    Of several targets (top3) each has a file of its own, why-1.npz, why-2.npz, …; on stdout they follow one another,
    as JSON in one object {"ranked": […]}. --json prints the facts and the names of the files that were written.

    Each option can be set by ONNXSAL_<OPTION> (ONNXSAL_METHOD, ONNXSAL_BATCH_SIZE, …) and in onnxsal.toml: [explain]
    with the long options' names, and [explain.options] for -s, [explain.set-input], [explain.set-format]. Flags go
    first.
    """
    messages: Messages = ctx.obj
    messages.plugin_problems()
    tables = ctx.meta["onnxsal.tables"]
    request = _request(ctx, method, given)
    stem = _output.stem_of(model, method)
    outputs = _output.plan(given["formats"], given["output"], stem, stdout_is_taken=given["as_json"])
    outputs = _output.configure(outputs, pairs(given["drawing"]), tables["set-format"])
    files = sources(input, given["named"])
    check_stdin(model, files)

    from onnxsal import pipeline  # imports torch: from here on faults cost seconds
    from onnxsal.inputs import read_inputs

    opened = model_of(model)
    messages.detail(f"read {opened.name}")
    settings = tables["set-input"] | pairs(given["settings"])
    arrays, pictures = read_inputs(opened.inputs, files, settings, given["preset"])
    messages.detail(f"read {', '.join(f'{name} {list(a.shape)}' for name, a in arrays.items())}")
    attribution = pipeline.run(opened, arrays, request, pictures)
    messages.detail(f"explained by {method} in {attribution.provenance.seconds:.2f} s")
    written = _output.write([replace(a, others=()) for a in attribution.ranked], outputs)
    for path in written:
        messages.say(f"wrote {path}")
    if given["as_json"]:
        click.echo(_facts(attribution, written))


def _request(ctx: click.Context, method: str, given: Mapping[str, Any]) -> Any:
    """Return the request; the method's name and options are checked here, before torch is imported."""
    from onnxsal.plugins import registry
    from onnxsal.types import Request

    options = registry().get("methods", method).check_options(_options_of_file(ctx, method) | pairs(given["options"]))
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
        verify=given["verify"],
        tolerance=given["tolerance"],
        allow_nan=given["allow_nan"],
        pre_softmax=given["pre_softmax"],
        quantized=given["quantized"],
        precision=given["precision"],
        completeness_tolerance=given["completeness_tolerance"],
    )


def _options_of_file(ctx: click.Context, method: str) -> dict[str, Any]:
    """Return the file's options, which are for the file's method; another one would not know them."""
    meant = ctx.meta["onnxsal.settings"].get("method", DEFAULT_METHOD)
    return dict(ctx.meta["onnxsal.tables"]["options"]) if method == meant else {}


def _facts(attribution: Attribution, written: Sequence[Path]) -> str:
    """Return the facts as one JSON object; of several targets under ``ranked``."""
    facts = [a.meta for a in attribution.ranked]
    whole: dict[str, Any] = facts[0] if len(facts) == 1 else {"ranked": facts}
    return json.dumps(whole | {"files": [str(path) for path in written]}, ensure_ascii=False, allow_nan=False)
