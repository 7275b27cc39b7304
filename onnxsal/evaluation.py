"""How good are explanations? One method measured, or several side by side on the same inputs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from onnxsal.engine import IMPORTED, open_engine
from onnxsal.entries import Baseline, Baselines, Metric
from onnxsal.errors import CompletenessError, ImportFault, InputError, PluginError, UsageError, nearest
from onnxsal.importer.values import to_host
from onnxsal.importer.weights import layers_before, shuffled
from onnxsal.measurements import Comparison, Evaluation, Measurement
from onnxsal.model import Model, load
from onnxsal.options import arguments_of, checked, choose, named
from onnxsal.pipeline import Explained, attribution_of, explained_by, explanations, readings_of, score_of
from onnxsal.places import places
from onnxsal.plugins import Provider, blamed, registry
from onnxsal.region import check_region
from onnxsal.score import BoundScore, Known
from onnxsal.target import other_class, outputs_of
from onnxsal.types import Feeds, Request

OTHER_CLASS_DRAW = -2
"""Methods draw random numbers from draw 0 up, baselines by -1, metrics from here down."""

REFUSALS = (CompletenessError, ImportFault, InputError, UsageError)
"""How a method says that it cannot explain an answer which another one may."""

Said: TypeAlias = "str | tuple[str, Mapping[str, Any]]"
"""How a metric or method is asked for: a name with or without options (``deletion:steps=20``), or a pair of both."""

Tell: TypeAlias = Callable[[str], None]
"""Is told what has been done."""


def evaluate(
    model: Model | str | Any,
    feeds: Mapping[str, Any],
    *,
    method: str = "saliency",
    metrics: Sequence[Said] | None = None,
    region: Mapping[str, Any] | None = None,
    **asked: Any,
) -> Evaluation:
    """Explain a model's answer and measure how good the explanation is.

    Args:
        model: A `Model`, or what `onnxsal.load` takes.
        feeds: Arrays or tensors by the model's input names; dim 0 counts the examples.
        method: The name of an attribution method.
        metrics: Names of metrics, with options after a colon or as a pair of name and options; None: all that can be
            measured without being told more.
        region: Where the explanation should lie: truth values by input name, shaped like the input or without its
            channels; for metrics that need a region.
        **asked: Whatever `onnxsal.explain` takes besides, the method's own options among it.

    Raises:
        UsageError: an unknown method, metric or option, or a metric that the model or the method cannot carry.
        InputError: feeds or a region that do not fit the model's inputs.
    """
    fields = {name: asked.pop(name) for name in list(asked) if name in _SETTINGS}
    return measure(_opened(model), feeds, Request(method, asked, **fields), choose_metrics(metrics, region), region)


def compare(
    model: Model | str | Any,
    feeds: Mapping[str, Any],
    *,
    methods: Sequence[Said],
    metrics: Sequence[Said] | None = None,
    region: Mapping[str, Any] | None = None,
    **asked: Any,
) -> Comparison:
    """Explain a model's answer by several methods and rank them by how good the explanations are.

    Args:
        model: A `Model`, or what `onnxsal.load` takes.
        feeds: Arrays or tensors by the model's input names; dim 0 counts the examples.
        methods: Names of methods, with options after a colon or as a pair of name and options.
        metrics: As for `evaluate`.
        region: As for `evaluate`.
        **asked: Whatever `onnxsal.explain` takes besides; the methods' options go with their names.

    Raises:
        UsageError: as for `evaluate`, and for less than two methods.
        InputError: as for `evaluate`.
    """
    unknown = next((name for name in asked if name not in _SETTINGS), None)
    if unknown is not None:
        raise UsageError(f"no setting {unknown!r}", where="compare", hint=nearest(unknown, _SETTINGS))
    chosen = choose_metrics(metrics, region)
    return measure_all(_opened(model), feeds, choose_methods(methods), Request(**asked), chosen, region)


_SETTINGS = {field.name for field in dataclasses.fields(Request)} - {"method", "options"}


def _opened(model: Model | str | Any) -> Model:
    return model if isinstance(model, Model) else load(model)


@dataclass(frozen=True)
class ChosenMetric:
    """A metric with its options; ``asked`` says that somebody named it."""

    metric: Metric
    provider: Provider
    options: Mapping[str, Any]
    asked: bool


def choose_metrics(said: Sequence[Said] | None, region: Mapping[str, Any] | None) -> list[ChosenMetric]:
    """Return the metrics that are asked for, or all that can be measured.

    Raises:
        UsageError: no such metric or option, or a metric that needs a region where there is none.
    """
    if said is None:
        return [_chosen(entry.name, {}, False) for entry, _ in registry().items("metrics") if _can(entry, region)]
    if not said:
        raise UsageError("no metrics to measure", where="metrics", hint="name some, or leave metrics out")
    each = [said] if isinstance(said, str) else said
    chosen = [_chosen(*named("metrics", one, "metrics"), True) for one in each]
    lacking = next((one.metric.name for one in chosen if one.metric.needs_region and not region), None)
    if lacking:
        raise UsageError(
            f"metric {lacking!r} needs a region in which the explanation should lie",
            where="metrics",
            hint="--region NAME=PATH (region={name: array})",
        )
    _check_twice([one.metric.name for one in chosen], "metrics")
    return chosen


def _can(metric: Metric, region: Mapping[str, Any] | None) -> bool:
    return bool(region or not metric.needs_region) and not any(o.required for o in metric.options.values())


def _chosen(name: str, options: Mapping[str, Any], asked: bool) -> ChosenMetric:
    metric, provider = registry().find("metrics", name)
    return ChosenMetric(metric, provider, checked(metric, options), asked)


def choose_methods(said: Sequence[Said]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return the methods to compare, name and options by how they are called in the result.

    Raises:
        UsageError: no such method, one that is given twice, or less than two.
    """
    labels = [one if isinstance(one, str) else _label(one) for one in said]
    _check_twice(labels, "methods")
    if len(said) < 2:
        raise UsageError(
            f"{len(said)} method to compare", where="methods", hint="give two or more: -m METHOD -m METHOD"
        )
    found = {label: named("methods", one, "methods") for label, one in zip(labels, said, strict=True)}
    for name, options in found.values():
        choose(name, options)  # a wrong option is told before anything is run
    return found


def _label(said: Any) -> str:
    name, options = said
    told = ",".join(f"{key}={value}" for key, value in options.items())
    return f"{name}:{told}" if told else str(name)


def _check_twice(names: Sequence[str], where: str) -> None:
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise UsageError(f"{twice!r} is given twice", where=where, hint="once is enough")


def measure_all(
    model: Model,
    feeds: Mapping[str, Any],
    methods: Mapping[str, tuple[str, Mapping[str, Any]]],
    request: Request,
    metrics: Sequence[ChosenMetric],
    region: Mapping[str, Any] | None = None,
    tell: Tell = lambda _: None,
) -> Comparison:
    """Measure the explanations of several methods; arguments as for `measure`, errors as for `compare`.

    A method that cannot explain the answer is left out, unless no two remain: its fault is then raised.
    """
    evaluations, faults = {}, {}
    for label, (name, options) in methods.items():
        asked = replace(request, method=name, options=options)
        try:
            evaluations[label] = measure(model, feeds, asked, metrics, region, tell)
        except REFUSALS as fault:
            faults[label] = fault
    if len(evaluations) < 2:
        raise next(iter(faults.values()))
    return Comparison(evaluations, {label: fault.what for label, fault in faults.items()})


def measure(
    model: Model,
    feeds: Mapping[str, Any],
    request: Request,
    metrics: Sequence[ChosenMetric],
    region: Mapping[str, Any] | None = None,
    tell: Tell = lambda _: None,
) -> Evaluation:
    """Explain and measure; errors as for `evaluate`.

    Args:
        model: The model.
        feeds: Arrays or tensors by input name.
        request: What is explained, and how.
        metrics: What is measured.
        region: Where the explanation should lie.
        tell: Is told what has been done.
    """
    marked = check_region(region or {}, feeds)
    started = time.perf_counter()
    found = explanations(model, feeds, request)
    if len(found) > 1:
        raise UsageError(f"{len(found)} targets to explain", where="target", hint="measure one target at a time")
    attribution = attribution_of(found, time.perf_counter() - started)
    tell(f"explained by {request.method} in {attribution.provenance.seconds:.2f} s")
    examined = Examined(found[0], marked)
    measurements, skipped = {}, {}
    for one in metrics:
        try:
            measurements[one.metric.name] = _measured(examined, one)
        except (UsageError, ImportFault) as fault:
            if one.asked:
                raise
            skipped[one.metric.name] = fault.what
        else:
            tell(f"measured {one.metric.name} in {measurements[one.metric.name].seconds:.2f} s")
    return Evaluation(attribution, measurements, skipped)


class Examined:
    """Implements the `onnxsal.types.Explanation` that metrics see."""

    def __init__(self, found: Explained, region: Mapping[str, np.ndarray]) -> None:
        self._found = found
        self._region = region
        self._check_region()

    def _check_region(self) -> None:
        subject = self._found.plan.subject
        for name in self._region:
            if subject.layers or name not in subject.inputs:
                raise InputError(
                    f"input {name!r} is marked, but not explained", where="region", hint=nearest(name, subject.inputs)
                )
        marked = torch.stack([value.reshape(len(value), -1).any(1) for value in self.region.values()]).any(0)
        if self._region and not marked.all():
            raise InputError(
                f"nothing of example {int((~marked).nonzero()[0])} is marked",
                where="region",
                hint="whatever is above zero is inside",
            )

    def arguments(self, metric: Metric, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a metric's options as it is handed them."""
        return arguments_of(metric, options, self.score, self.feeds, self._found.outside)

    @property
    def score(self) -> BoundScore:
        """The explained number as a function of the explained inputs."""
        return self._found.score

    @property
    def feeds(self) -> Feeds:
        """The explained inputs."""
        return self.score.feeds

    @property
    def values(self) -> Feeds:
        """The attributions, shaped like the feeds."""
        return self._found.values

    @cached_property
    def channels(self) -> dict[str, tuple[int, ...]]:
        """The axes of each feed along which all numbers stand at one place."""
        return {name: self._channels(name, value.shape) for name, value in self.feeds.items()}

    def _channels(self, name: str, shape: torch.Size) -> tuple[int, ...]:
        addresses = self._addresses.get(name)
        spread = places(shape) if addresses is None else _varying(addresses)
        return tuple(axis for axis in range(1, len(shape)) if axis not in spread)

    @property
    def _addresses(self) -> Feeds:
        """The element of its input that each element of an embedding was made of, shaped like the feeds."""
        found = self._found.plan.subject.addresses
        return found if self.score.stacked else {name: value[None] for name, value in found.items()}

    @property
    def baselines(self) -> Feeds | None:
        """What the method explains against, shape [baselines, *feed's shape]; None where it takes no baseline."""
        for name, option in self._found.plan.method.options.items():
            if option.type is Baseline:
                return {n: value[None] for n, value in self._found.arguments[name].items()}
            if option.type is Baselines:
                return dict(self._found.arguments[name])
        return None

    @cached_property
    def region(self) -> Feeds:
        """What somebody marked in the inputs, nothing in those that were left out; of ids, in their embeddings."""
        found = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in self.feeds.items()}
        for name, marked in self._region.items():
            inside = torch.from_numpy(marked.copy()).to(self._found.plan.feeds[name].device)
            entered = [entrance.value for entrance in self._found.plan.subject.entrances.get(name, ())]
            found |= {value: inside.flatten()[self._addresses[value]] for value in entered}
            if not entered:
                found[name] = inside.reshape(found[name].shape)
        return found

    def again(self, feeds: Feeds) -> Feeds:
        """Return the attributions of k copies of the examples that have other values."""
        return self._method(self.score, feeds)

    @cached_property
    def _method(self) -> Callable[[BoundScore, Feeds], Feeds]:
        return self._found.plan.choice.bound(self.score, self.feeds, self._found.outside)  # type: ignore[return-value]

    def of_other_targets(self) -> Feeds:
        """Return the attributions of another class for each example, drawn by the example's seed."""
        plan, targets = self._found.plan, self.score.targets
        with torch.no_grad():
            outputs = plan.calls.answers(lambda feeds: plan.running.engine.run(feeds, outputs_of(targets)), plan.feeds)
        generators = self.score.generators(self.feeds, OTHER_CLASS_DRAW)
        others = [
            other_class(target, outputs, generator, stacked=plan.stacked)
            for target, generator in zip(targets, generators, strict=True)
        ]
        return explained_by(plan, score_of(plan, others)).values

    def with_random_weights(self, stages: int) -> Iterator[Feeds]:
        """Yield the attributions of the model with more and more of its weights shuffled, from the output back."""
        plan, targets = self._found.plan, self.score.targets
        layers = layers_before(plan.model.graph, targets[0].output)
        if not layers:
            raise UsageError("no weights lead to the score", where=plan.model.name, hint="leave this metric out")
        for stage in range(1, min(stages, len(layers)) + 1):
            reached = layers[: -(-len(layers) * stage // stages)]
            names = {name for layer in reached for name in layer}
            model = plan.model.with_graph(shuffled(plan.model.graph, names, plan.request.seed))
            method = plan.choice.neediest
            running = open_engine(model, method, method.needs, IMPORTED, plan.running.device, readings_of(plan.request))
            random = replace(plan, model=model, running=running, known=Known({}))
            yield explained_by(random, score_of(random, targets)).values


def _varying(addresses: Tensor) -> tuple[int, ...]:
    """Return the axes within an example along which addresses change."""
    axes = range(1, addresses.ndim)
    return tuple(axis for axis in axes if bool((addresses != addresses.narrow(axis, 0, 1)).any()))


def _measured(examined: Examined, chosen: ChosenMetric) -> Measurement:
    metric = chosen.metric
    started = time.perf_counter()
    arguments = examined.arguments(metric, chosen.options)
    with blamed(chosen.provider, f"metric {metric.name!r}"):
        numbers = metric.measure(examined, **arguments)
    examples = len(examined.score.targets)
    if not isinstance(numbers, Tensor) or numbers.shape != (examples,):
        got = list(numbers.shape) if isinstance(numbers, Tensor) else type(numbers).__name__
        raise PluginError(f"metric {metric.name!r} of {chosen.provider} returned {got}, not a number per example")
    values = to_host(torch.where(_finite(examined.values), numbers.double(), torch.nan))
    return Measurement(metric.name, chosen.options, metric.higher_is_better, values, time.perf_counter() - started)


def _finite(values: Feeds) -> Tensor:
    """Say which examples have attributions that can be measured."""
    return torch.stack([torch.isfinite(v.reshape(len(v), -1)).all(1) for v in values.values()]).all(0)
