"""Which engine: ``auto``, or one that is asked for and gives what the method needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onnxsal.device import choose_device, choose_provider, has_tensors
from onnxsal.entries import Engine, Method, Need
from onnxsal.errors import ImportFault, UsageError
from onnxsal.model import Model
from onnxsal.plugins import registry

IMPORTED, ORIGINAL, COMPILED = "torch", "onnxruntime", "compiled"
"""What ``auto`` takes: for methods that need gradients or inner values, and for those that only need the score; on an
execution provider of ONNX Runtime the last stands in for the first."""


@dataclass(frozen=True)
class Running:
    """An engine over a model.

    ``device`` is where tensors lie, ``place`` where the engine computes, which is the same but for execution providers
    of ONNX Runtime; ``original`` says that it runs the file itself, so that there is no import to be proved;
    ``options`` how it was opened.
    """

    engine: Any
    device: str
    place: str
    original: bool
    options: Mapping[str, Any]


def check_device(engine: str, device: str) -> None:
    """Refuse a device that an engine does not find here, before anything is run.

    Raises:
        UsageError: no such engine or device.
    """
    provides = not has_tensors(device) if engine == "auto" else registry().get("engines", engine).providers
    (choose_provider if provides else choose_device)(device)


def open_engine(
    model: Model, method: Method, need: Need, name: str, device: str, readings: Mapping[str, str] = {}
) -> Running:
    """Return an engine over the model, made once a model.

    Args:
        model: The model.
        method: The method that is going to be run.
        need: What the method, or what is asked of it, needs.
        name: An engine's name, or ``auto``: methods that only call the score run the original file, unless there is an
            accelerator and the model can be imported; the others run the imported graph, or what is known to give
            the same gradients faster.
        device: A torch device, an execution provider of ONNX Runtime, or ``auto``.
        readings: How else than deployed the model is to be read (options of the engine): only an import can be.

    Raises:
        UsageError: no such engine or device, or the engine does not give what is needed.
        ImportFault: an operator is not supported, and the method needs the imported graph.
    """
    if name == "auto" and not has_tensors(device):
        name = ORIGINAL if need == "score" and not readings else COMPILED
    if name != "auto":
        entry = _fitting(name, need, method)
        return _opened(model, entry, (choose_provider if entry.providers else choose_device)(device), readings)
    chosen = choose_device(device)
    if need == "score" and chosen == "cpu" and not readings:
        return _opened(model, registry().get("engines", ORIGINAL), chosen)
    if need == "gradient" and chosen == "cpu" and not readings and (known := _known_to_be_faster(model)):
        return known
    try:
        return _opened(model, registry().get("engines", IMPORTED), chosen, readings)
    except ImportFault as fault:
        if need == "score" and device == "auto" and not readings:
            return _opened(model, registry().get("engines", ORIGINAL), "cpu")
        raise ImportFault(fault.what, where=fault.where, hint=_ways_out(fault.hint)) from fault


def _fitting(name: str, need: Need, method: Method) -> Engine:
    engine: Engine = registry().get("engines", name)
    if not engine.serves(need):
        lacks = "gradients" if need == "gradient" else "the values inside the graph"
        raise UsageError(
            f"method {method.name!r} needs {lacks}, engine {name!r} gives none", where="--engine", hint="use -e torch"
        )
    return engine


def _opened(model: Model, entry: Engine, device: str, readings: Mapping[str, str] = {}) -> Running:
    for name, value in readings.items():
        if name not in entry.options:
            raise UsageError(
                f"engine {entry.name!r} runs the file as it is deployed, not as {value!r}",
                where=f"--{name}",
                hint="use -e torch",
            )
    options = entry.check_options(dict(readings))
    key = entry.name, device, *options.values()
    if key not in model.engines:
        model.engines[key] = entry.open(model, device, **options)
    return Running(model.engines[key], "cpu" if entry.providers else device, device, not entry.gradient, options)


def _known_to_be_faster(model: Model) -> Running | None:
    """Return an engine that earlier runs have shown to be faster than the imported graph."""
    for entry, _ in registry().items("engines"):
        key = entry.name, "faster"
        if entry.faster is not None and key not in model.engines and (found := entry.faster(model)) is not None:
            model.engines[key] = found
        if key in model.engines:
            return Running(model.engines[key], "cpu", "cpu", False, {})
    return None


def _ways_out(hint: str | None) -> str:
    return "; ".join(filter(None, (hint, without_gradients())))


def without_gradients() -> str:
    """Return a sentence that names the installed methods which need no gradient and no inner values."""
    names = list(_forward_only())
    return f"methods that need no gradient: {', '.join(names)}" if names else "no method without gradients is installed"


def _forward_only() -> Iterator[str]:
    methods: list[Method] = [entry for entry, _ in registry().items("methods")]
    return (method.name for method in methods if method.needs == "score")
