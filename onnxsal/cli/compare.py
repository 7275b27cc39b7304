"""``onnxsal compare``: which method explains this model best?"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Mapping, Sequence
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
    from onnxsal.measurements import Comparison, Measurement

HEADS = 28
"""What the columns of a metric's name and its better direction take of a line."""


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
    A method that cannot explain the answer is left out, as long as two remain.
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
    for name, why in found.left_out.items():
        messages.warn(f"{name} is left out: {why}")
    if given["as_json"]:
        click.echo(json.dumps(found.meta, ensure_ascii=False, allow_nan=False))
    else:
        _show(found)


def _show(found: Comparison) -> None:
    letters = {name: string.ascii_uppercase[i % 26] * (1 + i // 26) for i, name in enumerate(found.mean_ranks)}
    _show_ranking(found, letters)
    columns = {letter: _column(found, name) for name, letter in letters.items()}
    for some in _fitting(columns):
        _tables.put("")
        heads = [(metric, direction(one.higher_is_better)) for metric, one in _shared(found).items()]
        rows = zip(heads, *(columns[letter] for letter in some), strict=True)
        _tables.show(["metric", "better", *some], [(*head, *cells) for head, *cells in rows])
    examples = len(next(iter(found.mean_ranks.values())))
    _tables.put(f"means over {count(examples, 'example')}, in brackets the mean rank; deviation: of a sample")
    for name, why in found.left_out.items():
        _tables.put(f"left out: {name}: {why}")
    show_skipped({name: why for one in found.evaluations.values() for name, why in one.skipped.items()})


def _show_ranking(found: Comparison, letters: Mapping[str, str]) -> None:
    from onnxsal.measurements import deviation_of, mean_of

    means = [{name: ranks.mean() for name, ranks in by.items()} for by in found.ranks.values()]
    firsts = {name: sum(by[name] == min(by.values()) for by in means) for name in letters}
    rows = [
        (letters[name], name, f"{mean_of(ranks):.2f}", number(deviation_of(ranks)), f"{firsts[name]} of {len(means)}")
        for name, ranks in found.mean_ranks.items()
    ]
    _tables.show(["", "method", "mean rank", "deviation", "first in"], rows)


def _shared(found: Comparison) -> dict[str, Measurement]:
    """Return the metrics that rank the methods."""
    first = next(iter(found.evaluations.values()))
    return {metric: first.measurements[metric] for metric in found.ranks}


def _column(found: Comparison, name: str) -> list[str]:
    """Return what a method reaches by each metric, and its mean rank."""
    measured = found.evaluations[name].measurements
    return [f"{number(measured[metric].mean)} ({by[name].mean():.1f})" for metric, by in found.ranks.items()]


def _fitting(columns: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Yield as many columns at a time as stand side by side in the terminal."""
    widest = max(len(cell) for cells in columns.values() for cell in cells)
    at_once = max(1, (_tables.terminal_width() - HEADS) // (widest + len(_tables.GAP)))
    letters = list(columns)
    for start in range(0, len(letters), at_once):
        yield letters[start : start + at_once]
