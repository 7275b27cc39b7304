"""``onnxsal inspect``: what is in this file, and can it be explained?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from onnxsal.cli import _tables
from onnxsal.cli._messages import Messages, message_options
from onnxsal.cli._options import json_option, library_option, model_of

if TYPE_CHECKING:
    from onnxsal.inspection import Cut, Inspection, OperatorUse

SHOWN = 3
"""How many node names and metadata lines stand for many."""


@click.command("inspect", short_help="Show what a model takes, gives and is made of.")
@click.argument("model")
@click.option("--nodes", is_flag=True, help="Name every node under its operator, and every layer.")
@library_option
@json_option
@message_options
@click.pass_obj
def command(messages: Messages, model: str, nodes: bool, as_json: bool) -> None:
    """Show what MODEL takes, gives and is made of, and how far a gradient goes through it.

    Nothing is run, and a model with unsupported operators is shown like any other: what is missing is said last, and
    the exit code stays 0.
    """
    from onnxsal.inspection import inspect

    messages.plugin_problems()
    opened = model_of(model)
    messages.detail(f"read {opened.name}")
    found = inspect(opened)
    if as_json:
        click.echo(json.dumps(found.meta, ensure_ascii=False))
        return
    _show_file(found)
    _show_ports(found)
    _show_operators(found, nodes)
    _show_gradients(found, nodes)
    _show_layers(found, nodes)
    _show_missing(found)


def _show_file(found: Inspection) -> None:
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in found.opset.items())
    _tables.facts(
        [
            ("model", found.name),
            ("size", size_text(found.size)),
            ("sha256", found.sha256),
            ("opset", opsets),
            ("producer", found.producer or "not stated"),
            ("parameters", f"{found.parameters:,} ({size_text(found.parameter_bytes)})"),
            ("nodes", f"{found.nodes:,}"),
            *((f"metadata {key}", _short(value)) for key, value in found.metadata.items()),
        ]
    )


def size_text(size: float) -> str:
    """Return bytes as a person says them."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:100]}… ({len(text)} characters)"


def _show_ports(found: Inspection) -> None:
    _tables.put("")
    rows = [("input", port) for port in found.inputs] + [("output", port) for port in found.outputs]
    _tables.show(
        ["port", "name", "type", "shape"], [(kind, port.name, port.dtype, _dims(port.shape)) for kind, port in rows]
    )


def _dims(shape: tuple[object, ...] | None) -> str:
    return "?" if shape is None else f"[{', '.join('?' if d is None else str(d) for d in shape)}]"


def _show_operators(found: Inspection, nodes: bool) -> None:
    _tables.put("")
    last = "nodes" if nodes else "served by"
    _tables.show(
        ["operator", "count", "since", "gradient", last],
        [
            (
                use.full_name,
                len(use.nodes),
                use.since or "-",
                "yes" if use.gradient else "no",
                ", ".join(use.nodes) if nodes else _server(use),
            )
            for use in found.operators
        ],
    )


def _server(use: OperatorUse) -> str:
    return "nobody" if use.missing else f"{use.provider} {use.function}"


def _show_gradients(found: Inspection, every: bool) -> None:
    _tables.put("")
    rows = [(g.output, ", ".join(g.reaches) or "no input", f"cut by {g.cut}" if g.cut else "") for g in found.gradients]
    _tables.show(["gradient of", "reaches", ""], rows)
    carried = f"{len(found.carrying)} of the main graph's nodes carry a gradient"
    if not found.cutting:
        _tables.put(f"{carried}, none cuts it")
        if not any(port.is_float for port in found.inputs) and any(p.kind == "embedding" for p in found.layers):
            _tables.put("no input is of floating point: explain the embeddings (--layer)")
        return
    _tables.put(f"{carried}; {len(found.cutting)} cut it")
    _tables.put("")
    _tables.show(["gradient ends at", "nodes", "because it"], [_cut_row(cut, every) for cut in found.cuts])


def _cut_row(cut: Cut, every: bool) -> tuple[str, str, str]:
    hidden = 0 if every else len(cut.nodes) - SHOWN
    shown = cut.nodes[:SHOWN] if hidden > 0 else cut.nodes
    return cut.operator, ", ".join(shown) + (f" and {hidden} more" if hidden > 0 else ""), cut.why


def _show_layers(found: Inspection, every: bool) -> None:
    """Show the values to name as layers: of many of a kind the first and the last, unless all are asked for."""
    if not found.layers:
        return
    _tables.put("")
    rows = []
    for kind in dict.fromkeys(layer.kind for layer in found.layers):
        of_kind = [layer for layer in found.layers if layer.kind == kind]
        shown = of_kind if every or len(of_kind) <= SHOWN else [of_kind[0], of_kind[-1]]
        for layer in shown:
            place = f"{of_kind.index(layer) + 1} of {len(of_kind)}"
            rows.append((kind, place, " ".join(layer.operators), layer.value))
    _tables.show(["layer", "", "made by", "value (for --layer)"], rows)


def _show_missing(found: Inspection) -> None:
    if not found.missing:
        return
    _tables.heading("unsupported: this model cannot be imported yet")
    for use in found.missing:
        first = f"node {use.nodes[0]!r}" + (f" and {len(use.nodes) - 1} more" if len(use.nodes) > 1 else "")
        _tables.put(f"{first}: {use.missing}")
    from onnxsal.engine import without_gradients
    from onnxsal.importer.lookup import HOW_TO_ADD

    _tables.put(HOW_TO_ADD)
    if found.runnable:
        _tables.put(f"ONNX Runtime runs it as it is, for {without_gradients()}")
    else:
        _tables.put("ONNX Runtime does not load it either: give the library of its operators (--ort-library PATH)")
