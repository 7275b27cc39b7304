"""``onnxsal verify``: does the imported graph answer what ONNX Runtime answers?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from onnxsal.cli import _tables
from onnxsal.cli._messages import Messages, message_options
from onnxsal.cli._options import (
    Pair,
    check_stdin,
    config_option,
    json_option,
    library_option,
    model_of,
    option,
    pairs,
    reading_options,
    sources,
)
from onnxsal.errors import ParityError

if TYPE_CHECKING:
    from onnxsal.model import Model
    from onnxsal.parity import Parity


@click.command("verify", short_help="Compare the imported model with ONNX Runtime.")
@click.argument("model")
@click.argument("input", required=False)
@option("-i", "--input", "named", type=Pair(), multiple=True, metavar="NAME=PATH", help="An input by its ONNX name.")
@option("-d", "--device", default="cpu", show_default=True, help="auto, cpu, cuda:1, …")
@option("--tolerance", type=click.FloatRange(min=0), help="The accepted distance, as a part of an output's scale.")
@option("--preset", metavar="NAME", help="How pictures are prepared; see `onnxsal list presets`.")
@option("--set-input", "settings", type=Pair(), multiple=True, metavar="KEY=VALUE", help="A setting of the reader.")
@reading_options
@option("--seed", type=int, default=0, show_default=True, help="Seeds the input that is drawn where none is given.")
@click.option(
    "--export-node",
    metavar="OUT.onnx",
    help="Write the first node that differs as a model of its own, and what it is fed as OUT.npz.",
)
@library_option
@json_option
@config_option({"set-input": "set-input"})
@message_options
@click.pass_context
def command(ctx: click.Context, /, model: str, input: str | None, **given: Any) -> None:
    """Run MODEL on INPUT, imported and in ONNX Runtime, and compare every output.

    Without INPUT one is drawn that fits. The exit code is 6 where an output differs by more than the tolerance; the
    first node that differs is then named. The column "optimised" says how far ONNX Runtime's optimised run is from its
    plain one. A quantised model that is read without its rounding (--quantized float) is given a wider tolerance.
    """
    from onnxsal import parity
    from onnxsal.device import choose_device

    messages: Messages = ctx.obj
    messages.plugin_problems()
    files = sources(input, given["named"])
    check_stdin(model, files)
    device = choose_device(given["device"])
    opened = model_of(model)
    messages.detail(f"read {opened.name}")
    feeds = _feeds(ctx, opened, files, given) if files else parity.draw(opened, given["seed"])
    found = parity.verify(
        opened,
        feeds,
        device=device,
        tolerance=given["tolerance"],
        quantized=given["quantized"],
        precision=given["precision"],
    )
    messages.detail("compared")
    if given["as_json"]:
        click.echo(json.dumps({"model": opened.name, "sha256": opened.sha256, "device": device, **_plain(found.meta)}))
    else:
        _show(found)
    if given["export_node"]:
        _export(messages, opened, feeds, found, given["export_node"])
    _require(found, opened.name, parity.remedy(opened, given["quantized"], given["precision"]))


def _feeds(ctx: click.Context, model: Model, files: Any, given: Any) -> Any:
    from onnxsal.inputs import check_feeds, read_inputs
    from onnxsal.joining import calls_of

    settings = ctx.meta["onnxsal.tables"]["set-input"] | pairs(given["settings"])
    arrays, _ = read_inputs(model.inputs, files, settings, given["preset"])
    return check_feeds(calls_of(model.inputs, arrays).ports, arrays)


def _plain(value: Any) -> Any:
    """Return the value as strict JSON can hold it: an infinite distance becomes text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and value - value != 0 else value


def _show(found: Parity) -> None:
    rows = [
        (
            "ok" if output.ok else "DIFFERS",
            output.name,
            f"{output.max_abs:.3g}",
            f"{output.max_rel:.3g}",
            f"{output.scale:.3g}",
            f"{output.optimised_rel:.3g}",
        )
        for output in found.outputs
    ]
    _tables.show(["", "output", "largest", "of scale", "scale", "optimised"], rows)
    verdict = "agrees with ONNX Runtime" if found.ok else "differs from ONNX Runtime"
    _tables.put(f"{verdict} (accepted: {found.tolerance:g} of an output's scale)")
    if found.first:
        _tables.put(f"the first to differ is {found.first}")
        _tables.put(f"  imported      {found.first.ours}")
        _tables.put(f"  ONNX Runtime  {found.first.theirs}")


def _export(messages: Messages, model: Model, feeds: Any, found: Parity, path: str) -> None:
    """Write the first node that differs, and its inputs, beside each other."""
    import io
    from pathlib import Path

    import numpy as np

    from onnxsal.excerpt import excerpt
    from onnxsal.joining import calls_of
    from onnxsal.results import write_whole

    if found.first is None:
        messages.say("no node differs: nothing is exported")
        return
    inputs: dict[str, Any]
    call = calls_of(model.inputs, feeds).of(feeds)[found.first.call]
    proto, inputs = excerpt(model, call, found.first.node)
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, **inputs)
    beside = Path(path).with_suffix(".npz")
    for target, data in ((Path(path), proto.SerializeToString()), (beside, stream.getvalue())):
        messages.say(f"wrote {write_whole(target, data)}")
    messages.say(f"try it: onnxsal verify {path} {beside}")


def _require(found: Parity, where: str, remedy: str) -> None:
    try:
        found.require(where)
    except ParityError as error:
        report = "please report the node with the model, or a part of it"
        error.hint = f"--tolerance accepts a larger distance; {remedy or report}"
        raise
