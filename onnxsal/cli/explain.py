"""``onnxsal explain``: why did the deployed model say this?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxsal.cli import _output
from onnxsal.cli._asking import explaining_options, input_options, method_options, method_request, read
from onnxsal.cli._messages import Messages, message_options
from onnxsal.cli._options import Pair, config_option, json_option, option, pairs

if TYPE_CHECKING:
    from onnxsal.types import Attribution

TABLES = {"options": "set", "set-input": "set-input", "set-format": "set-format"}


@click.command("explain", short_help="Say why a model answered what it answered.")
@input_options
@method_options
@explaining_options
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
    request = method_request(ctx, method, given)
    stem = _output.stem_of(model, method)
    outputs = _output.plan(given["formats"], given["output"], stem, stdout_is_taken=given["as_json"])
    outputs = _output.configure(outputs, pairs(given["drawing"]), tables["set-format"])
    opened, arrays, pictures = read(ctx, model, input, given)

    from onnxsal import pipeline

    attribution = pipeline.run(opened, arrays, request, pictures)
    messages.detail(f"explained by {method} in {attribution.provenance.seconds:.2f} s")
    written = _output.write([replace(a, others=()) for a in attribution.ranked], outputs)
    for path in written:
        messages.say(f"wrote {path}")
    if given["as_json"]:
        click.echo(_facts(attribution, written))


def _facts(attribution: Attribution, written: Sequence[Path]) -> str:
    """Return the facts as one JSON object; of several targets under ``ranked``."""
    facts = [a.meta for a in attribution.ranked]
    whole: dict[str, Any] = facts[0] if len(facts) == 1 else {"ranked": facts}
    return json.dumps(whole | {"files": [str(path) for path in written]}, ensure_ascii=False, allow_nan=False)
