"""The order of things: model and feeds in, attribution out. The only file that knows it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxsal import entries, parity
from onnxsal.errors import InputError, OnnxsalError, PluginError, UsageError, nearest
from onnxsal.importer.values import as_tensor, to_host
from onnxsal.inputs import check_feeds, read_inputs
from onnxsal.model import Model, load
from onnxsal.plugins import Provider, registry
from onnxsal.score import BoundScore
from onnxsal.target import resolve
from onnxsal.types import Attribution, Feeds, Port, Provenance, Request, Target, TargetSpec


def explain(
    model: Model | str | Any,
    feeds: Mapping[str, Any],
    *,
    method: str = "saliency",
    target: TargetSpec = None,
    device: str = "auto",
    engine: str = "auto",
    seed: int = 0,
    batch_size: int | None = None,
    inputs: Sequence[str] | None = None,
    verify: bool = True,
    tolerance: float | None = None,
    **options: Any,
) -> Attribution:
    """Explain one answer of a model: how much each part of each input speaks for it.

    Args:
        model: A `Model`, or what `onnxsal.load` takes.
        feeds: Arrays or tensors by the model's input names; dim 0 counts the examples.
        method: The name of an attribution method.
        target: The explained number: an index, a tuple of indices, an expression such as ``"logits[3]"`` or ``"argmax"``, or
            a list with one of these per example. None: the highest class, or the only number there is.
        device: ``auto``, or a device such as ``cuda:1``.
        engine: ``auto``, or an engine's name.
        seed: Seeds methods that draw random numbers.
        batch_size: How many rows the engine is given at a time.
        inputs: Names of the inputs to explain; None means every floating-point one.
        verify: Whether to compare the import with ONNX Runtime first.
        tolerance: The largest accepted distance from ONNX Runtime, as a part of an output's scale.
        **options: The method's own options.

    Returns:
        The attribution; ``ranked`` holds one for each target of ``"top3"``.

    Raises:
        UsageError: an unknown method, option, target, device or engine.
        InputError: feeds that do not fit the model's ports.
        ImportFault: an operator is not supported.
        ParityError: the imported graph answers something else than ONNX Runtime.
    """
    request = Request(
        method, options, target, device, engine, seed, batch_size, inputs, verify=verify, tolerance=tolerance
    )
    return run(model if isinstance(model, Model) else load(model), feeds, request)


def run(
    model: Model, feeds: Mapping[str, Any], request: Request, pictures: Mapping[str, np.ndarray] | None = None
) -> Attribution:
    """Answer a request; errors as for `explain`.

    Args:
        model: The model.
        feeds: Arrays or tensors by input name.
        request: What is asked.
        pictures: What a person would see of an input, for formats that draw.
    """
    started = time.perf_counter()
    plan = _plan(model, feeds, request)
    checked = (
        parity.verify_once(model, plan.feeds, device=plan.device, tolerance=request.tolerance) if request.verify else None
    )
    if checked is not None:
        checked.require(model.name)
    with torch.no_grad():
        outputs = plan.engine.run(plan.feeds)
    ranked = resolve(request.target, outputs, plan.examples, stacked=plan.stacked, labels=labels_of(model))
    results = [_explain_target(plan, targets) for targets in ranked]
    provenance = _provenance(model, plan, time.perf_counter() - started)
    attributions = [
        replace(result, provenance=provenance, parity=checked.meta if checked else None, pictures=pictures or {})
        for result in results
    ]
    return replace(attributions[0], others=tuple(attributions[1:]))


@dataclass(frozen=True)
class _Plan:
    """A request with every name in it looked up, ready to run."""

    request: Request
    method: entries.Method
    provider: Provider
    options: dict[str, Any]
    engine: Any
    device: str
    feeds: Feeds
    explained: tuple[str, ...]
    examples: int
    stacked: bool
    batched: frozenset[str]


def _plan(model: Model, feeds: Mapping[str, Any], request: Request) -> _Plan:
    method, provider = registry().find("methods", request.method)
    options = method.check_options(dict(request.options))
    device = choose_device(request.device)
    arrays = check_feeds(model.inputs, feeds)
    explained = _explained(model, request.inputs)
    engine = _open_engine(model, method, request.engine, device)
    tensors = {n: v.to(device) if isinstance(v, Tensor) else v for n, v in _tensors(arrays).items()}
    with torch.no_grad():
        stacked = _counts_examples(tensors, explained, engine.run(tensors), request.target)
    examples = tensors[explained[0]].shape[0] if stacked else 1
    return _Plan(
        request,
        method,
        provider,
        options,
        engine,
        device,
        tensors,
        explained,
        examples,
        stacked,
        _batched(model.inputs, tensors, explained) if stacked else frozenset(),
    )


def _tensors(arrays: Mapping[str, np.ndarray]) -> Feeds:
    return {name: as_tensor(array) for name, array in arrays.items()}


def choose_device(name: str) -> str:
    """Return the torch device for ``auto``, ``cpu``, ``cuda:1``, …

    Raises:
        UsageError: no such device here; the message says what there is.
    """
    devices: dict[str, entries.Device] = {entry.name: entry for entry, _ in registry().items("devices")}
    if name == "auto":
        return max((d for d in devices.values() if d.count() > 0), key=lambda d: d.preference).name
    kind, _, index = name.partition(":")
    there = {d.name: d.count() for d in devices.values()}
    present = ", ".join(n if c == 1 else f"{n}:0 to {n}:{c - 1}" for n, c in there.items() if c)
    if kind not in devices or (index and not index.isdigit()):
        raise UsageError(f"no device {name!r}", where="--device", hint=f"{nearest(kind, devices)} here: {present}")
    if there[kind] <= int(index or 0):
        seen = f"{there[kind]} there" if there[kind] else "none is visible"
        raise UsageError(f"device {name!r} is not present ({seen})", where="--device", hint=f"here: {present}; or say auto")
    return name


def _open_engine(model: Model, method: entries.Method, name: str, device: str) -> Any:
    if name == "auto":
        name = "torch"
    engine: entries.Engine = registry().get("engines", name)
    if method.gradient and not engine.gradient:
        raise UsageError(
            f"method {method.name!r} needs gradients, engine {name!r} gives none", where="--engine", hint="use -e torch"
        )
    return engine.open(model, device)


def _explained(model: Model, wanted: Sequence[str] | None) -> tuple[str, ...]:
    floats = tuple(port.name for port in model.inputs if port.is_float)
    for name in wanted or ():
        known = [port.name for port in model.inputs]
        if name not in known:
            raise InputError(f"no input {name!r}", where=model.name, hint=nearest(name, known))
        if name not in floats:
            raise InputError(f"input {name!r} is no floating-point input", where=model.name, hint=_floats_hint(floats))
    chosen = tuple(wanted or floats)
    if not chosen:
        ports = ", ".join(map(str, model.inputs)) or "no inputs at all"
        raise InputError(f"no floating-point input to explain: {ports}", where=model.name, hint=_floats_hint(floats))
    return chosen


def _floats_hint(floats: Sequence[str]) -> str:
    return f"floating-point inputs: {', '.join(floats) or 'none'}"


def _counts_examples(feeds: Feeds, explained: Sequence[str], outputs: Feeds, target: TargetSpec) -> bool:
    """Say whether dim 0 of the explained inputs and of the explained output counts the examples."""
    sizes = {feeds[name].shape[0] if feeds[name].ndim else None for name in explained}
    name = next(iter(outputs))
    if isinstance(target, str):
        name = max((n for n in outputs if target.startswith(n)), key=len, default=name)
    output = outputs[name]
    return len(sizes) == 1 and isinstance(output, Tensor) and output.ndim > 0 and output.shape[0] == next(iter(sizes))


def _batched(ports: Sequence[Port], feeds: Feeds, explained: Sequence[str]) -> frozenset[str]:
    """Return the fixed inputs that have one row per example, as far as shapes and declarations tell."""
    declared = {port.name: port.shape[0] if port.shape else None for port in ports}
    count = feeds[explained[0]].shape[0]
    open_batch = any(not isinstance(declared[name], int) for name in explained)
    return frozenset(
        name
        for name, value in feeds.items()
        if name not in explained
        and isinstance(value, Tensor)
        and value.ndim > 0
        and value.shape[0] == count
        and not (open_batch and isinstance(declared[name], int))
    )


def _explain_target(plan: _Plan, targets: Sequence[Target]) -> Attribution:
    score = BoundScore(
        plan.engine,
        plan.feeds,
        plan.explained,
        targets,
        stacked=plan.stacked,
        batched=plan.batched,
        seed=plan.request.seed,
        rows=plan.request.batch_size,
    )
    feeds = score.feeds
    options = _with_baselines(plan, feeds)
    try:
        values = plan.method.explain(score, feeds, **options)
    except (OnnxsalError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        if plan.provider.distribution == "onnxsal":
            raise
        raise PluginError(f"method {plan.method.name!r} of {plan.provider} raised {type(error).__name__}: {error}") from error
    _check_values(plan, values, feeds)
    number = score(feeds)
    return Attribution(
        values={name: _array(values[name], plan.stacked) for name in plan.explained},
        inputs={name: to_host(value) for name, value in plan.feeds.items()},
        score=to_host(number),
        target=tuple(targets),
        method=plan.method.name,
        options={name: plan.request.options.get(name, default) for name, default in plan.options.items()},
        provenance=_EMPTY,
        completeness=_completeness(plan, score, number, values, options),
    )


_EMPTY = Provenance("", "", {}, {}, "", "", "", {}, 0, {}, 0.0)


def _array(value: Tensor, stacked: bool) -> np.ndarray:
    array = to_host(value if stacked else value[0])
    array.flags.writeable = False
    return array


def _check_values(plan: _Plan, values: Any, feeds: Feeds) -> None:
    """Refuse what is not shaped like the feeds; a method of a plugin may return anything."""
    names = list(values) if isinstance(values, dict) else None
    if names is None or set(names) != set(feeds):
        raise PluginError(
            f"method {plan.method.name!r} of {plan.provider} returned {names or type(values).__name__}, "
            f"not one attribution for each of {list(feeds)}"
        )
    for name, value in values.items():
        if not isinstance(value, Tensor) or value.shape != feeds[name].shape:
            got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise PluginError(
                f"method {plan.method.name!r} of {plan.provider} returned {got} for input {name!r} of shape "
                f"{list(feeds[name].shape)}"
            )


def _with_baselines(plan: _Plan, feeds: Feeds) -> dict[str, Any]:
    kinds = {name: option.type for name, option in plan.method.options.items()}
    return {
        name: make_baseline(value, feeds) if kinds[name] is entries.Baseline else value
        for name, value in plan.options.items()
    }


def make_baseline(spec: Any, feeds: Feeds) -> Feeds:
    """Return feeds-shaped tensors for a number, the name of a baseline, a file, or arrays by input name.

    Raises:
        UsageError: no such baseline.
        InputError: a file or array that does not fit the feeds.
    """
    if isinstance(spec, Mapping):
        return {name: _fitted(spec.get(name), value, name) for name, value in feeds.items()}
    try:
        number = float(spec)
    except (TypeError, ValueError):
        pass
    else:
        return {name: torch.full_like(value, number) for name, value in feeds.items()}
    if isinstance(spec, str) and spec not in registry().names("baselines") and any(c in spec for c in "./\\"):
        ports = [Port(n, str(v.dtype).removeprefix("torch."), (None, *v.shape[1:])) for n, v in feeds.items()]
        arrays, _ = read_inputs(ports, {None: spec}, {}, None)
        return make_baseline(arrays, feeds)
    maker = registry().get("baselines", str(spec))
    return maker.make(feeds, **maker.check_options({}))  # type: ignore[no-any-return]


def _fitted(array: Any, value: Tensor, name: str) -> Tensor:
    if array is None:
        raise InputError(f"the baseline has nothing for input {name!r}", hint="give one array per explained input")
    tensor = torch.as_tensor(array).to(value.device, value.dtype)
    try:
        return tensor.expand_as(value)
    except RuntimeError as error:
        raise InputError(
            f"the baseline of shape {list(tensor.shape)} does not fit input {name!r} of shape {list(value.shape)}",
            hint="give it the input's shape, or 1 in dim 0",
        ) from error


def _completeness(
    plan: _Plan, score: BoundScore, number: Tensor, values: Feeds, options: Mapping[str, Any]
) -> np.ndarray | None:
    """Return sum of attributions - (score - baseline's score) per example, where the method promises zero."""
    if not plan.method.complete:
        return None
    baseline = next((v for n, v in options.items() if plan.method.options[n].type is entries.Baseline), None)
    reference = score(baseline) if baseline is not None else torch.zeros_like(number)
    total = sum(value.flatten(1).sum(1) for value in values.values())
    return to_host(total - (number - reference))


def labels_of(model: Model) -> list[str] | None:
    """Return the class names that a model's metadata carries, in any of the usual ways of writing them."""
    import ast
    import json

    for key in ("labels", "names", "classes", "class_names", "id2label", "character"):
        text = model.metadata.get(key)
        if not text:
            continue
        for parse in (json.loads, ast.literal_eval):
            try:
                found = parse(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
            return [str(v) for v in (found.values() if isinstance(found, dict) else found)]
        return text.splitlines()
    return None


def _provenance(model: Model, plan: _Plan, seconds: float) -> Provenance:
    return Provenance(
        model=model.name,
        model_sha256=model.sha256,
        inputs_sha256={name: _hash(value) for name, value in plan.feeds.items()},
        opset=model.opset,
        producer=model.producer,
        engine=plan.engine.name,
        device=plan.device,
        dtype={name: str(plan.feeds[name].dtype).removeprefix("torch.") for name in plan.explained},
        seed=plan.request.seed,
        versions=_versions(plan.provider),
        seconds=round(seconds, 4),
    )


def _hash(value: Any) -> str:
    array = to_host(value)
    data = repr(array.tolist()).encode() if array.dtype.kind == "O" else np.ascontiguousarray(array).tobytes()
    return hashlib.sha256(f"{array.dtype.name}{array.shape}".encode() + data).hexdigest()


def _versions(provider: Provider) -> dict[str, str]:
    libraries = ("onnxsal", "torch", "onnx", "onnxruntime", "numpy")
    return {name: importlib.metadata.version(name) for name in libraries} | {provider.distribution: provider.version}
