"""The order of things: model and feeds in, attribution out. The only file that knows it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onnxsal import entries
from onnxsal.baseline import speaks_of_inputs
from onnxsal.batching import batched_inputs, counts_examples, first_rows, in_parts
from onnxsal.completeness import Completeness, explosion
from onnxsal.diagnosis import find_break
from onnxsal.engine import Running, check_device, open_engine, without_gradients
from onnxsal.errors import PluginError, UsageError
from onnxsal.importer.precision import raised_tensor
from onnxsal.importer.section import nodes_between, value_in, value_named
from onnxsal.importer.values import as_tensor, to_host
from onnxsal.inputs import check_feeds
from onnxsal.inspection import gradient_reach
from onnxsal.joining import Calls, calls_of
from onnxsal.labels import features_of, labels_of
from onnxsal.model import Model, load
from onnxsal.options import Choice, Outside, choose
from onnxsal.parity import Parity, remedy, require_place, verify_once
from onnxsal.plugins import Provider, blamed, registry, rules_of
from onnxsal.score import BoundScore, Known, Recorded
from onnxsal.subject import Subject, subject_of
from onnxsal.target import Answers, ask, output_of, outputs_of, split_neuron
from onnxsal.types import Attribution, Feeds, Precision, Provenance, Quantized, Request, Target, TargetSpec


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
    layer: str | Sequence[str] | None = None,
    neuron: str | None = None,
    keep_tokens: Sequence[int] = (),
    verify: bool = True,
    tolerance: float | None = None,
    allow_nan: bool = False,
    pre_softmax: bool = False,
    quantized: Quantized = "ste",
    precision: Precision = "native",
    completeness_tolerance: float | None = None,
    **options: Any,
) -> Attribution:
    """Explain one answer of a model: how much each part of each input speaks for it.

    Args:
        model: A `Model`, or what `onnxsal.load` takes.
        feeds: Arrays or tensors by the model's input names; dim 0 counts the examples.
        method: The name of an attribution method.
        target: The explained number: an index, a tuple of indices, an expression such as ``"logits[3]"`` or
            ``"argmax"``, a `Target`, or a list with one of these per example; `onnxsal.target` lists the expressions.
            None: the highest class, or the only number there is.
        device: ``auto``, or a device such as ``cuda:1``.
        engine: ``auto``, or an engine's name.
        seed: Seeds methods that draw random numbers.
        batch_size: How many rows the engine is given at a time.
        inputs: Names of the inputs to explain; None means every floating-point one.
        layer: Values inside the graph, or the nodes that make them, to explain in place of the inputs, by ONNX name.
        neuron: A number inside the graph to explain in place of an output: ``"conv1[3,5,5]"``, ``"relu[2].mean()"``.
        verify: Whether to compare the import with ONNX Runtime first.
        tolerance: The largest accepted distance from ONNX Runtime, as a part of an output's scale.
        keep_tokens: Ids of tokens that stay as they are and get nothing: the tokenizer's own, such as [CLS]. Padding is
            known by the mask beside it.
        allow_nan: Whether inputs may hold NaN and infinities, for models that are meant to take them.
        pre_softmax: Whether to explain the numbers before an output's final softmax in its place.
        quantized: How a quantised model is read: ``ste`` computes what is deployed, gradients going straight through
            the rounding; ``float`` leaves the rounding out.
        precision: ``native`` computes in the model's own types, ``float32`` raises float16 and bfloat16.
        completeness_tolerance: How far the attributions of a method that promises it may miss the score's difference
            from the baseline's, as a part of it; None: by the method. ``inf`` accepts whatever comes out.
        **options: The method's own options.

    Returns:
        The attribution; ``ranked`` holds one for each target of ``"top3"``.

    Raises:
        UsageError: an unknown method, option, target, layer, device or engine.
        InputError: feeds that do not fit the model's ports.
        ImportFault: an operator is not supported.
        ParityError: the imported graph answers something else than ONNX Runtime.
        CompletenessError: the attributions do not sum to what they explain.
    """
    request = Request(
        method,
        options,
        target,
        device,
        engine,
        seed,
        batch_size,
        inputs,
        [layer] if isinstance(layer, str) else layer,
        neuron,
        keep_tokens,
        verify=verify,
        tolerance=tolerance,
        allow_nan=allow_nan,
        pre_softmax=pre_softmax,
        quantized=quantized,
        precision=precision,
        completeness_tolerance=completeness_tolerance,
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
    found = explanations(model, feeds, request)
    return attribution_of(found, time.perf_counter() - started, pictures)


def explanations(model: Model, feeds: Mapping[str, Any], request: Request) -> list[Explained]:
    """Return what the method says of each target, highest first; errors as for `explain`."""
    plan = _plan(model, feeds, request)
    labels = None if request.neuron else labels_of(model.metadata)
    try:
        ranked = plan.answers.resolve(plan.target, plan.examples, stacked=plan.stacked, labels=labels)
    except UsageError as error:
        if request.neuron is None:
            raise
        raise UsageError(error.what.replace("output ", "value "), where="neuron", hint=error.hint) from error
    plan.known.sharers = len(ranked)
    found = [explained_by(plan, score_of(plan, targets)) for targets in ranked]
    for one in found:
        _require_reach(plan, model, one.values, one.score.targets[0].output)
    return found


def attribution_of(
    found: Sequence[Explained], seconds: float, pictures: Mapping[str, np.ndarray] | None = None
) -> Attribution:
    """Return the result for the highest target, with those for the others beside it."""
    plan = found[0].plan
    finished = [
        replace(
            result,
            provenance=_provenance(plan.model, plan, result, seconds),
            pictures=dict(pictures or {}),
            features=_features(plan.model, plan),
        )
        for result in map(_attribution, found)
    ]
    return replace(finished[0], others=tuple(finished[1:]))


@dataclass(frozen=True)
class Plan:
    """A request with every name in it looked up, run once, ready to be explained."""

    model: Model
    request: Request
    choice: Choice
    running: Running
    feeds: Feeds
    target: TargetSpec
    answers: Answers
    calls: Calls
    known: Known
    parity: Parity | None
    subject: Subject
    examples: int
    stacked: bool
    batched: frozenset[str]

    @property
    def method(self) -> entries.Method:
        """The method asked for."""
        return self.choice.method

    @property
    def provider(self) -> Provider:
        """Who brings the method."""
        return self.choice.provider


@dataclass(frozen=True)
class Explained:
    """One target's explanation, with what it was made by: the score, and the options as the method was handed them.

    ``outside`` are the inputs where values inside the graph are explained in their place.
    """

    plan: Plan
    score: BoundScore
    outside: Outside | None
    arguments: Mapping[str, Any]
    values: Feeds


def _plan(model: Model, feeds: Mapping[str, Any], request: Request) -> Plan:
    """Look everything up, cheapest first, so that a wrong name costs no run."""
    request = _with_own_neuron(_with_own_layer(request))
    choice = choose(request.method, request.options)
    method = choice.neediest
    check_device(request.engine, request.device)
    need = _need(method, request)
    subject = subject_of(model, choice.method, need, request)
    explained = subject.inputs
    calls = calls_of(model.inputs, feeds)
    arrays = check_feeds(calls.ports, feeds, allow_nan=request.allow_nan)
    running = open_engine(model, method, need, request.engine, request.device, readings_of(request))
    tensors = {name: _placed(array, running.device, request.precision) for name, array in arrays.items()}
    _require_place(model, calls.of(arrays)[0], running, request)
    parity = None if running.original else _verified(model, calls.of(arrays)[0], running.device, request)
    subject = (
        subject.entered(model, running.engine, tensors, request.keep_tokens, calls) if subject.entrances else subject
    )
    ways_back = _ways_back(choice, subject, running)
    first = _FirstRun(model, running, ways_back, _ruled(method), tensors, explained, calls)
    target, answers = _answers(model, request, first)
    output = output_of(target, answers.values)
    if need == "gradient":
        _require_numbers(model, answers.values, output)
    stacked = counts_examples(tensors, explained, answers.values[output])
    calls.require_examples(explained, stacked, output)
    return Plan(
        model=model,
        request=request,
        choice=choice,
        running=running,
        feeds=tensors,
        target=target,
        answers=answers,
        calls=calls,
        known=first.known,
        parity=parity,
        subject=subject,
        examples=tensors[explained[0]].shape[0] if stacked else 1,
        stacked=stacked,
        batched=_batched(calls, tensors, explained) if stacked else frozenset(),
    )


def _batched(calls: Calls, feeds: Feeds, explained: Sequence[str]) -> frozenset[str]:
    """Return the inputs that are not explained and have one row per example."""
    divided = calls.inputs.difference(explained)
    return divided if calls.size else batched_inputs(calls.ports, feeds, explained)


@dataclass
class _FirstRun:
    """Runs the call, a large one in parts; the way back is kept open to the values a method takes gradients by."""

    model: Model
    running: Running
    ways_back: Sequence[str]
    ruled: Sequence[str]
    feeds: Feeds
    explained: Sequence[str]
    calls: Calls
    known: Known = field(default_factory=lambda: Known({}))

    def __call__(self, wanted: Sequence[str]) -> Feeds:
        """Return values of the graph by name."""
        if self.calls.size is not None:
            self.known = Known(self.calls.answers(lambda feeds: self._run(feeds, wanted), self.feeds))
            return self.known.outputs
        engine = self.running.engine
        inputs = {name: self.feeds[name] for name in self.explained}
        rows = max(value.shape[0] if value.ndim else 1 for value in inputs.values())
        room = engine.rows_at_once(inputs) if hasattr(engine, "rows_at_once") else first_rows(inputs, engine.device)
        record = self._recorded(wanted) if rows <= room else None
        parts = self._in_parts(wanted, room) if rows > room else None
        if record is not None:
            self.known = Known(record.outputs, record)
        else:
            self.known = Known(self._run(self.feeds, wanted) if parts is None else parts)
        return self.known.outputs

    def _recorded(self, wanted: Sequence[str]) -> Recorded | None:
        """Return the run with the way back kept open; None where nobody asks for that, or memory runs out."""
        if not self.ways_back:
            return None
        try:
            ruled = {"ruled": self.ruled} if self.ruled else {}
            return self.running.engine.record(self.feeds, self.ways_back, wanted, **ruled)  # type: ignore[no-any-return]
        except (torch.OutOfMemoryError, MemoryError):
            return None

    def _run(self, feeds: Feeds, wanted: Sequence[str]) -> Feeds:
        with torch.no_grad():
            return self.running.engine.run(feeds, wanted)  # type: ignore[no-any-return]

    def _in_parts(self, wanted: Sequence[str], size: int) -> Feeds | None:
        """Return the answers to a few rows at a time; None where the model does not take or give rows so."""
        if len({self.feeds[name].shape[:1] for name in self.explained}) != 1:
            return None
        stacked = [*self.explained, *batched_inputs(self.model.inputs, self.feeds, self.explained)]
        try:
            return in_parts(lambda feeds: self._run(feeds, wanted), self.feeds, stacked, size)
        except Exception:  # whatever a model does with a batch it was not exported for
            return None


def _ways_back(choice: Choice, subject: Subject, running: Running) -> Sequence[str]:
    """Return the values by which the method may take plain gradients of the call; none where that is not known."""
    takes = choice.neediest.needs == "gradient" and hasattr(running.engine, "record")
    if not takes or subject.values:
        return ()
    if "layer" not in choice.method.options:
        return subject.inputs
    if not choice.options["layer"]:
        return ()
    name = value_named(running.engine.module, choice.options["layer"])
    return () if name in running.engine.inputs else (name,)


def _ruled(method: entries.Method) -> Sequence[str]:
    """Return the operators that may get a rule when the method goes back from the call."""
    if not isinstance(method.ruled, str):
        return method.ruled
    return [operator for operator, rule in rules_of(method.ruled).items() if rule is not None]


def _with_own_layer(request: Request) -> Request:
    """Return the request with the layer as the method's own option, where it has one: Grad-CAM looks at a layer."""
    if not request.layer or "layer" not in registry().get("methods", request.method).options:
        return request
    if len(request.layer) > 1 or request.options.get("layer"):  # the command line hands on defaults too
        raise UsageError(f"{request.method} looks at one layer", where="--layer", hint="name it once")
    return replace(request, layer=None, options={**request.options, "layer": request.layer[0]})


def _with_own_neuron(request: Request) -> Request:
    """Return the request with the neuron as the method's own option, where it has one: it then stands on the way."""
    if request.neuron is None or "neuron" not in registry().get("methods", request.method).options:
        return request
    return replace(request, neuron=None, options={**request.options, "neuron": request.neuron})


def _need(method: entries.Method, request: Request) -> entries.Need:
    """Return what is needed of an engine: a layer can be varied only where the graph is imported."""
    return "layers" if request.layer and method.needs == "score" else method.needs


def _answers(model: Model, request: Request, first: _FirstRun) -> tuple[TargetSpec, Answers]:
    """Run the call once for all that the target, or the neuron in its place, may speak of.

    Raises:
        UsageError: both are given, or there is no such value in the graph.
    """
    if request.neuron is None:
        return request.target, ask(first, model.graph, request.target, pre_softmax=request.pre_softmax)
    if request.target is not None:
        raise UsageError(
            "a neuron and a target cannot both be explained",
            where="--neuron",
            hint="leave one out; -m neuron_conductance explains a target through a neuron",
        )
    name, rest = split_neuron(request.neuron)
    value = value_in(model.graph, name, "neuron")
    return value + rest, Answers(first([value]), (), None, model.graph)


def _require_numbers(model: Model, values: Mapping[str, Any], output: str) -> None:
    """Refuse to take gradients of classes and other whole numbers.

    Raises:
        UsageError: the output has no gradient; the message says what stands before it.
    """
    value = values[output]
    if not isinstance(value, Tensor) or value.is_floating_point():
        return
    maker = next((node for node in model.graph.nodes if output in node.outputs), None)
    before = next((name for name in maker.inputs if name), "") if maker else ""
    ways = [f"explain a number before it: --neuron '{before}[…]'"] if before else []
    raise UsageError(
        f"output {output!r} holds {str(value.dtype).removeprefix('torch.')}, which has no gradient"
        + (f" (from {maker})" if maker else ""),
        where="target",
        hint="; ".join([*ways, without_gradients()]),
    )


def _features(model: Model, plan: Plan) -> tuple[str, ...]:
    """Return the columns' names, where they are as many as an explained table has columns."""
    names = features_of(model.metadata)
    tables = [plan.feeds[name].shape for name in plan.subject.inputs if plan.feeds[name].ndim == 2]
    return tuple(names) if any(shape[1] == len(names) for shape in tables) else ()


def _placed(array: np.ndarray, device: str, precision: Precision) -> Any:
    value = raised_tensor(as_tensor(array)) if precision == "float32" else as_tensor(array)
    return value.to(device) if isinstance(value, Tensor) else value


def _require_place(model: Model, feeds: Mapping[str, Any], running: Running, request: Request) -> None:
    """Refuse an execution provider that answers something else than the CPU; looked at once a model."""
    asked = "place", running.place, request.tolerance
    if not request.verify or running.place == running.device or asked in model.proofs:
        return
    session = getattr(running.engine, "original", running.engine).session
    require_place(model, {n: np.asarray(v) for n, v in feeds.items()}, session, running.place, request.tolerance)
    model.proofs[asked] = True


def _verified(model: Model, feeds: Mapping[str, Any], device: str, request: Request) -> Parity | None:
    """Return how far what is explained is from what is deployed; a reading without rounding rests on one with it."""
    if not request.verify:
        return None
    readings: list[Quantized] = ["ste", "float"] if request.quantized == "float" and model.is_quantised else ["ste"]
    for quantized in readings:
        parity = verify_once(
            model,
            feeds,
            device=device,
            tolerance=request.tolerance,
            quantized=quantized,
            precision=request.precision,
        )
        parity.require(model.name, remedy(model, quantized, request.precision))
    return parity


def readings_of(request: Request) -> dict[str, str]:
    """Return how the model is to be read, where that is asked for."""
    asked = {"quantized": request.quantized, "precision": request.precision}
    return {name: value for name, value in asked.items() if value != getattr(Request, name)}


def score_of(plan: Plan, targets: Sequence[Target]) -> BoundScore:
    """Return the explained number as a function of the explained inputs."""
    return BoundScore(
        plan.running.engine,
        plan.feeds,
        plan.subject.inputs,
        targets,
        stacked=plan.stacked,
        batched=plan.batched,
        seed=plan.request.seed,
        rows=plan.request.batch_size,
        fixed_rows=plan.calls.size,
        known=plan.known,
    )


def explained_by(plan: Plan, outer: BoundScore) -> Explained:
    """Run the method on a score of the inputs; a plugin's fault is told as such."""
    _require_way(plan, outer)
    score = plan.subject.score(outer)
    feeds = score.feeds
    if plan.method.through:
        outside, arguments = None, plan.choice.arguments(outer, outer.feeds)
        work = partial(plan.method.explain, outer, outer.feeds, plan.subject.layers, **arguments)
    else:
        outside = _outside(plan, outer) if plan.subject.values else None
        arguments = plan.choice.arguments(score, feeds, outside)
        work = partial(plan.method.explain, score, feeds, **arguments)
    with blamed(plan.provider, f"method {plan.method.name!r}"):
        values = work()
    _check_values(plan, values, feeds)
    return Explained(plan, score, outside, arguments, values)


def _require_way(plan: Plan, score: BoundScore) -> None:
    """Refuse a layer that the score is not computed from; who only looks at what is there needs no way.

    Raises:
        UsageError: no way leads from the layer to the score.
    """
    if plan.method.through and not plan.method.gradient:
        return
    ends = outputs_of(score.targets)
    for name in plan.subject.layers:
        if name not in ends and not nodes_between(plan.running.engine.module, [name], ends):
            told = ", ".join(map(repr, ends))
            raise UsageError(
                f"no way leads from {name!r} to {told}",
                where="layer",
                hint="choose a value that it is computed from; `onnxsal inspect` names the layers in order",
            )


def _attribution(found: Explained) -> Attribution:
    plan, score = found.plan, found.score
    number = score.number
    completeness = _completeness(plan, score, number, found.values, found.arguments)
    whole = {name: value if score.stacked else value[0] for name, value in found.values.items()}
    arrays = {name: _frozen(value) for name, value in plan.subject.attributed(whole, plan.feeds).items()}
    layers = _layers(score) if plan.subject.layers else {}
    return Attribution(
        values=arrays,
        inputs={name: to_host(value) for name, value in plan.feeds.items()} | layers,
        score=to_host(number),
        target=tuple(score.targets),
        method=plan.method.name,
        options=plan.choice.facts,
        provenance=replace(
            _UNFINISHED, notes=(*_reading_notes(plan), *score.notes, *_notes(plan, score, number, arrays))
        ),
        parity=plan.parity.meta if plan.parity else None,
        completeness=None if completeness is None else to_host(completeness),
        layer=tuple(layers),
        neuron=plan.request.neuron,
    )


_UNFINISHED = Provenance("", "", {}, {}, "", "", "", {}, 0, {}, 0.0)


def _frozen(value: Tensor) -> np.ndarray:
    array = to_host(value)
    array.flags.writeable = False
    return array


def _layers(score: BoundScore) -> dict[str, np.ndarray]:
    """Return the values inside the graph that are explained, as they are in the call."""
    return {name: _frozen(value if score.stacked else value[0]) for name, value in score.feeds.items()}


def _outside(plan: Plan, score: BoundScore) -> Outside:
    """Return how baselines come to where the method looks; for ids, those that speak of numbers are made there."""
    return Outside(
        score, partial(plan.subject.placed, score), of_inputs=speaks_of_inputs if plan.subject.entrances else None
    )


def _check_values(plan: Plan, values: Any, feeds: Feeds) -> None:
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


def _completeness(
    plan: Plan, score: BoundScore, number: Tensor, values: Feeds, options: Mapping[str, Any]
) -> Tensor | None:
    """Return sum of attributions - (score - baseline's score) per example, where the method promises zero."""
    if plan.method.relevance:
        sizes = sum((value.abs().reshape(len(value), -1).sum(1) for value in values.values()), torch.zeros_like(number))
        if remark := explosion(sizes, number):
            score.note(remark)
    if not plan.method.complete:
        return None
    reference = _reference(plan, score, number, options)
    total = sum((value.reshape(len(value), -1).sum(1) for value in values.values()), torch.zeros_like(number))
    given = plan.request.completeness_tolerance
    found = Completeness(total, number, reference, plan.method.tolerance if given is None else given)
    found.require(plan.method.name)
    if found.remark:
        score.note(found.remark)
    return found.missed


def _reference(plan: Plan, score: BoundScore, number: Tensor, options: Mapping[str, Any]) -> Tensor:
    """Return the baseline's score per example; of several baselines the mean, of none zero."""
    for name, option in plan.method.options.items():
        if option.type is entries.Baseline:
            return score(options[name])
        if option.type is entries.Baselines:
            rows = {n: value.flatten(0, 1) for n, value in options[name].items()}
            return score(rows).unflatten(0, (-1, len(number))).mean(0)
    return torch.zeros_like(number)


def _provenance(model: Model, plan: Plan, result: Attribution, seconds: float) -> Provenance:
    return Provenance(
        model=model.name,
        model_sha256=model.sha256,
        inputs_sha256={name: _hash(value) for name, value in plan.feeds.items()},
        opset=model.opset,
        producer=model.producer,
        engine=plan.running.engine.name,
        device=plan.running.place,
        dtype={name: value.dtype.name for name, value in result.values.items()},
        seed=plan.request.seed,
        versions=_versions(plan.provider),
        seconds=round(seconds, 4),
        notes=result.provenance.notes,
        quantized=plan.running.options.get("quantized") if model.is_quantised else None,
        precision=plan.running.options.get("precision") if model.is_half else None,
    )


def _reading_notes(plan: Plan) -> Iterator[str]:
    """Say how far from the deployed answer a quantised model is that is read without its rounding."""
    if plan.running.options.get("quantized") != "float" or not plan.model.is_quantised:
        return
    what = "the quantised model is read without its rounding"
    if plan.parity is None:
        yield f"{what}; how far that is from the deployed answer was not looked at (--no-verify)"
        return
    worst = max(plan.parity.outputs, key=lambda output: output.max_rel)
    yield f"{what}: output {worst.name!r} was up to {worst.max_rel:.2g} of its scale from the deployed answer"


def _notes(plan: Plan, score: BoundScore, number: Tensor, values: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yield what somebody who relies on the figures has to know."""
    kind = "value" if plan.subject.layers else "input"
    for name, held in plan.subject.held.items():
        count = f"{int(held.sum())} of {held.numel()}"
        yield f"{count} ids of input {name!r} stay as they are (padding, kept tokens) and get 0"
    broken = [f"{_bad(v)} of {v.size} attributions of {kind} {n!r} are" for n, v in values.items() if _bad(v)]
    broken += [] if torch.isfinite(number).all() else ["the score is"]
    if broken:
        place = None if plan.running.original else find_break(score, score.feeds)
        yield f"{', '.join(broken)} not finite{f'; {place}' if place else ''}"
    by_gradient = plan.method.needs == "gradient"
    why = "no differentiable way leads from it to the score" if by_gradient else "the score does not move with it"
    shares = plan.method.complete or plan.method.relevance
    for name, value in values.items():
        if not value.any() and not (shares and not score.feeds[name].any()):  # of nothing there is nothing to share
            yield f"every attribution of {kind} {name!r} is zero: {why}"


def _require_reach(plan: Plan, model: Model, values: Feeds, output: str) -> None:
    """Refuse zeros of a method that takes gradients where none could have come through the graph.

    Raises:
        UsageError: the method cannot explain such a model; names what cuts, and the methods that can.
    """
    if plan.method.needs != "gradient" or any(value.any() for value in values.values()):
        return
    cut = next((g for g in gradient_reach(model) if g.output == output and g.cut), None)
    if cut:
        raise UsageError(
            f"method {plan.method.name!r} takes gradients, and none passes {cut.cut}, which {cut.why}",
            where="--method",
            hint=without_gradients(),
        )


def _bad(value: np.ndarray) -> int:
    return int(np.count_nonzero(~np.isfinite(value)))


def _hash(value: Any) -> str:
    array = to_host(value)
    data = repr(array.tolist()).encode() if array.dtype.kind == "O" else np.ascontiguousarray(array).tobytes()
    return hashlib.sha256(f"{array.dtype.name}{array.shape}".encode() + data).hexdigest()


def _versions(provider: Provider) -> dict[str, str]:
    return _own_versions() | {provider.distribution: provider.version}


@cache
def _own_versions() -> dict[str, str]:
    libraries = ("onnxsal", "torch", "onnx", "onnxruntime", "numpy")
    return {name: importlib.metadata.version(name) for name in libraries}
