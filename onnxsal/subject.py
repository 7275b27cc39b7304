"""What is explained: inputs, or values inside the graph in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxsal.engine import without_gradients
from onnxsal.entries import Need
from onnxsal.errors import InputError, UsageError, nearest
from onnxsal.importer.section import value_in
from onnxsal.model import Model
from onnxsal.score import BoundScore
from onnxsal.types import Feeds, Request


@dataclass(frozen=True)
class Subject:
    """What methods see and vary.

    Args:
        inputs: The inputs that are explained, or that stand for the call where inner values are.
        layers: Inner values that are explained in their place; none: the inputs themselves.
    """

    inputs: tuple[str, ...]
    layers: tuple[str, ...] = ()

    def score(self, score: BoundScore) -> BoundScore:
        """Return a score of the inputs as one of what is explained."""
        return score.at(*self.layers) if self.layers else score

    def placed(self, score: BoundScore, rows: Feeds) -> Feeds:
        """Return what other inputs are where the explanation looks: a baseline is said in terms of the inputs."""
        return score.layer(*self.layers).activations(rows) if self.layers else rows


def subject_of(model: Model, need: Need, request: Request) -> Subject:
    """Return what a request explains; every name is looked up.

    Raises:
        InputError: there is no such input, or no gradient goes by it.
        UsageError: there is no such layer.
    """
    if not request.layer:
        return Subject(explained_inputs(model, need, request.inputs))
    if request.inputs:
        raise UsageError(
            "inputs and a layer cannot both be explained", where="--layer", hint="leave out --explain-input"
        )
    layers = tuple(value_in(model.graph, name) for name in request.layer)
    return Subject(explained_inputs(model, "score", None), layers)


def explained_inputs(model: Model, need: Need, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the inputs to explain; a method that only calls the score may vary whole numbers too."""
    known = [port.name for port in model.inputs]
    floats = [port.name for port in model.inputs if port.is_float]
    numbers = [port.name for port in model.inputs if port.is_number] if need == "score" else floats
    for name in wanted or ():
        if name not in known:
            raise InputError(f"no input {name!r}", where=model.name, hint=nearest(name, known))
        if name not in numbers:
            kind = "is no input of numbers" if need == "score" else "is no floating-point input"
            raise InputError(f"input {name!r} {kind}", where=model.name, hint=_inputs_hint(need, numbers))
    chosen = tuple(wanted or floats or numbers)
    if not chosen:
        ports = ", ".join(map(str, model.inputs)) or "no inputs at all"
        kind = "input of numbers" if need == "score" else "floating-point input"
        raise InputError(f"no {kind} to explain: {ports}", where=model.name, hint=_inputs_hint(need, numbers))
    return chosen


def _inputs_hint(need: Need, numbers: Sequence[str]) -> str:
    if need == "score":
        return f"inputs of numbers: {', '.join(numbers) or 'none'}"
    return f"floating-point inputs: {', '.join(numbers) or 'none'}; {without_gradients()}"
