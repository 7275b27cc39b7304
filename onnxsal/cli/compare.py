"""``onnxsal compare``: which method explains this model best?"""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any

import click

from onnxsal.cli import _tables
from onnxsal.cli._asking import (
    check_named,
    explaining_options,
    input_options,
    measuring_options,
    read,
    read_marks,
    request_of,
)
from onnxsal.cli._measures import count, direction, number, show_skipped
from onnxsal.cli._messages import Messages, message_options
from onnxsal.cli._options import config_option, json_option, option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnxsal.measurements import Comparison


@click.command("compare", short_help="Rank methods by how good their explanations are.")
@input_options
@option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    required=True,
    metavar="NAME[:OPTIONS]",
    help="See `onnxsal list methods`; give two or more.",
)
@measuring_options
@explaining_options
@json_option
@config_option({"set-input": "set-input"})
@message_options
@click.pass_context
def command(ctx: click.Context, /, model: str, input: str | None, **given: Any) -> None:
    """Explain what MODEL answered to INPUT by several methods, and rank them.

    Inputs and targets are those of `onnxsal explain`. A method and a metric may carry options as NAME:VALUE or
    NAME:KEY=VALUE,KEY=VALUE.

    \b
      onnxsal compare model.onnx cat.png -m saliency -m integrated_gradients:steps=20 -m grad_cam

    Every metric ranks the methods for each example, 1 is the best; a method's place is its mean rank over the metrics
    and examples. The deviation, of a sample, says how much the mean rank over the metrics differs between examples.
    """
    messages: Messages = ctx.obj
    messages.plugin_problems()
    request = request_of(given)
    check_named("methods", given["methods"])
    check_named("metrics", given["metrics"])
    opened, arrays, _ = read(ctx, model, input, given)
    region = read_marks(ctx, opened, given)

    from onnxsal import evaluation

    methods = evaluation.choose_methods(given["methods"])
    metrics = evaluation.choose_metrics(given["metrics"] or None, region)
    found = evaluation.measure_all(opened, arrays, methods, request, metrics, region, messages.detail)
    if given["as_json"]:
        click.echo(json.dumps(found.meta, ensure_ascii=False, allow_nan=False))
    else:
        _show(found)


def _show(found: Comparison) -> None:
    names = list(found.mean_ranks)
    places = [list(found.evaluations).index(name) for name in names]
    letters = [string.ascii_uppercase[i % 26] * (1 + i // 26) for i in range(len(names))]
    _show_ranking(found, dict(zip(names, letters, strict=True)), places)
    _tables.put("")
    evaluations = [found.evaluations[name] for name in names]
    rows = []
    for metric, ranks in found.ranks.items():
        measured = [evaluation.measurements[metric] for evaluation in evaluations]
        means = ranks.mean(1)[places]
        cells = [f"{number(one.mean)} ({mean:.1f})" for one, mean in zip(measured, means, strict=True)]
        rows.append((metric, direction(measured[0].higher_is_better), *cells))
    _tables.show(["metric", "better", *letters], rows)
    examples = len(evaluations[0].attribution.score)
    _tables.put(f"means over {count(examples, 'example')}, in brackets the mean rank; deviation: of a sample")
    show_skipped({name: why for evaluation in evaluations for name, why in evaluation.skipped.items()})


def _show_ranking(found: Comparison, letters: Mapping[str, str], places: Sequence[int]) -> None:
    from onnxsal.measurements import deviation_of, mean_of

    firsts = [sum(bool(r.mean(1)[i] == r.mean(1).min()) for r in found.ranks.values()) for i in places]
    rows = [
        (letters[name], name, f"{mean_of(ranks):.2f}", number(deviation_of(ranks)), f"{first} of {len(found.ranks)}")
        for (name, ranks), first in zip(found.mean_ranks.items(), firsts, strict=True)
    ]
    _tables.show(["", "method", "mean rank", "deviation", "first in"], rows)
