"""``onnxsal evaluate``: how good is the explanation?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from onnxsal.cli import _tables
from onnxsal.cli._asking import (
    check_named,
    explaining_options,
    input_options,
    measuring_options,
    method_options,
    method_request,
    read,
    read_marks,
)
from onnxsal.cli._measures import count, direction, number, show_skipped
from onnxsal.cli._messages import Messages, message_options
from onnxsal.cli._options import config_option, json_option

if TYPE_CHECKING:
    from onnxsal.measurements import Evaluation


@click.command("evaluate", short_help="Measure how good a method's explanation is.")
@input_options
@method_options
@measuring_options
@explaining_options
@json_option
@config_option({"options": "set", "set-input": "set-input"})
@message_options
@click.pass_context
def command(ctx: click.Context, /, model: str, input: str | None, method: str, **given: Any) -> None:
    """Explain what MODEL answered to INPUT, and measure how good the explanation is.

    Inputs, targets and methods are those of `onnxsal explain`. A metric may carry options as NAME:VALUE or
    NAME:KEY=VALUE,KEY=VALUE; `onnxsal list metrics NAME` tells them.

    \b
      onnxsal evaluate model.onnx cat.png -m integrated_gradients -M deletion:steps=20 -M insertion
      onnxsal evaluate model.onnx cat.png -M pointing_game --region image=cat-mask.png

    Of several examples the table tells the mean and the sample standard deviation; --json tells each.
    """
    messages: Messages = ctx.obj
    messages.plugin_problems()
    request = method_request(ctx, method, given)
    check_named("metrics", given["metrics"])
    opened, arrays, _ = read(ctx, model, input, given)
    region = read_marks(ctx, opened, given)

    from onnxsal import evaluation

    metrics = evaluation.choose_metrics(given["metrics"] or None, region)
    found = evaluation.measure(opened, arrays, request, metrics, region, messages.detail)
    if given["as_json"]:
        click.echo(json.dumps(found.meta, ensure_ascii=False, allow_nan=False))
    else:
        _show(found)


def _show(found: Evaluation) -> None:
    _tables.show(
        ["metric", "better", "mean", "deviation"],
        [
            (one.metric, direction(one.higher_is_better), number(one.mean), number(one.deviation))
            for one in found.measurements.values()
        ],
    )
    examples = len(found.attribution.score)
    _tables.put(f"{found.attribution.method}, over {count(examples, 'example')}; deviation: of a sample")
    show_skipped(found.skipped)
