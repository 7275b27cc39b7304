"""What is explained: inputs, the embeddings that ids index in their place, or values inside the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from onnxsal.engine import without_gradients
from onnxsal.entries import Method, Need
from onnxsal.errors import InputError, UsageError, nearest
from onnxsal.importer.entrances import SMALL_TABLE, Entrance, addresses_of, entrances_of, folded
from onnxsal.importer.section import value_in
from onnxsal.joining import Calls
from onnxsal.model import Model
from onnxsal.score import BoundScore
from onnxsal.types import Feeds, Port, Request


@dataclass(frozen=True)
class Subject:
    """What methods see and vary.

    Args:
        inputs: The inputs that are explained, or that stand for the call where named values are.
        layers: Named values that are explained in their place; none: the inputs themselves.
        entrances: For each input without a gradient, the values it becomes.
        inside: Whether such inputs are explained at those values; a method that only calls the score varies ids.
        addresses: For each element of such a value, the element of the input that it was made of.
        held: For each input of ids, the places that stay as they are, padding and kept tokens: they get nothing.
    """

    inputs: tuple[str, ...]
    layers: tuple[str, ...] = ()
    entrances: Mapping[str, tuple[Entrance, ...]] = field(default_factory=dict)
    inside: bool = True
    addresses: Feeds = field(default_factory=dict)
    held: Feeds = field(default_factory=dict)

    @property
    def values(self) -> tuple[str, ...]:
        """The values inside the graph that methods see, inputs among them where others are; none: the inputs."""
        if not self.entrances or not self.inside:
            return self.layers
        entered = [e.value for name in self.inputs for e in self.entrances.get(name, ())]
        return (*(name for name in self.inputs if name not in self.entrances), *entered)

    def entered(self, model: Model, engine: Any, feeds: Feeds, kept: Sequence[int], calls: Calls) -> Subject:
        """Return the subject with the places of its ids in a call looked up.

        Args:
            model: The model.
            engine: Runs it.
            feeds: The call.
            kept: The ids of tokens that stay as they are.
            calls: How many calls of the model it is.
        """
        beside = [port.name for port in model.inputs if port.name not in self.inputs and not _is_looked_up(model, port)]
        others = {name: feeds[name] for name in beside if name in feeds}
        held = {name: _held(feeds[name], others, kept) for name in self.entrances}
        addresses: Feeds = {}
        for name, entrances in self.entrances.items() if self.inside else ():
            values = [entrance.value for entrance in entrances]
            each = [addresses_of(engine.module, part, name, values) for part in calls.of(feeds)]
            size = feeds[name].numel() // calls.count if name in calls.inputs else 0
            addresses |= {value: _one_after_another([part[value] for part in each], size) for value in values}
        return replace(self, addresses=addresses, held={name: there for name, there in held.items() if there.any()})

    def score(self, score: BoundScore) -> BoundScore:
        """Return a score of the inputs as one of what is explained; held places cannot be varied."""
        if not self.values:
            return _holding(score, self.held)
        held = {
            entrance.value: there.flatten()[self.addresses[entrance.value]]
            for name, there in self.held.items()
            for entrance in self.entrances[name]
        }
        return _holding(score.at(*self.values), held)

    def placed(self, score: BoundScore, rows: Feeds) -> Feeds:
        """Return what other inputs are where the explanation looks."""
        return score.layer(*self.values).activations(rows)

    def attributed(self, values: Feeds, feeds: Feeds) -> Feeds:
        """Return what a method says of the values it saw, of a whole call, as attributions of what is explained."""
        if not self.entrances:
            return values
        return {name: self._of_input(name, values, feeds[name]) for name in self.inputs}

    def _of_input(self, name: str, values: Feeds, like: Tensor) -> Tensor:
        if name not in self.entrances or not self.inside:
            return values[name].masked_fill(self.held[name], 0) if name in self.held else values[name]
        parts = [folded(values[e.value], self.addresses[e.value], like) for e in self.entrances[name]]
        total = torch.stack(parts).sum(0)
        return total.masked_fill(self.held[name], 0) if name in self.held else total


def _holding(score: BoundScore, held: Feeds) -> BoundScore:
    return score.holding({n: there if score.stacked else there[None] for n, there in held.items()}) if held else score


def subject_of(model: Model, method: Method, need: Need, request: Request) -> Subject:
    """Return what a request explains; every name is looked up.

    Raises:
        InputError: there is no such input, or no gradient goes by it.
        UsageError: there is no such layer.
    """
    if method.through and not request.layer:
        raise UsageError(
            f"{method.name} explains the values of a layer, and none is named",
            where="--layer",
            hint="say --layer NAME; `onnxsal inspect` names the nodes",
        )
    if request.layer:
        if request.inputs:
            raise UsageError(
                "inputs and a layer cannot both be explained", where="--layer", hint="leave out --explain-input"
            )
        layers = tuple(value_in(model.graph, name) for name in request.layer)
        return Subject(
            _chosen(model, method.needs if method.through and method.gradient else "score", None, {}), layers
        )
    entrances = {port.name: entrances_of(model.graph, port.name) for port in model.inputs if port.is_number}
    found = {name: ways for name, ways in entrances.items() if ways}
    inputs = _chosen(model, need, request.inputs, found)
    return Subject(inputs, entrances={n: found[n] for n in inputs if n in found}, inside=need != "score")


def _chosen(
    model: Model, need: Need, wanted: Sequence[str] | None, entrances: Mapping[str, tuple[Entrance, ...]]
) -> tuple[str, ...]:
    """Return the inputs to explain: those that are wanted, or the first kind there is: floats, ids, other numbers."""
    known = [port.name for port in model.inputs]
    floats = [port.name for port in model.inputs if port.is_float and port.name not in entrances]
    able = [port.name for port in model.inputs if _is_able(port, need, entrances)]
    for name in wanted or ():
        if name not in known:
            raise InputError(f"no input {name!r}", where=model.name, hint=nearest(name, known))
        if name not in able:
            kind = "is no input of numbers" if need == "score" else "has no gradient"
            raise InputError(f"input {name!r} {kind}", where=model.name, hint=_hint(need, able))
    chosen = tuple(wanted or floats or _telling(entrances) or able)
    if not chosen:
        ports = ", ".join(map(str, model.inputs)) or "no inputs at all"
        kind = "input of numbers" if need == "score" else "input with a gradient"
        raise InputError(f"no {kind} to explain: {ports}", where=model.name, hint=_hint(need, able))
    return chosen


def _is_able(port: Port, need: Need, entrances: Mapping[str, Any]) -> bool:
    return port.is_float or port.name in entrances or (need == "score" and port.is_number)


def _hint(need: Need, able: Sequence[str]) -> str:
    names = ", ".join(able) or "none"
    return f"inputs of numbers: {names}" if need == "score" else f"inputs with one: {names}; {without_gradients()}"


def _telling(entrances: Mapping[str, tuple[Entrance, ...]]) -> list[str]:
    """Return the inputs that say which tokens there are; what only says of which kind they are stays as it is."""
    looked_up = [name for name, ways in entrances.items() if ways[0].kind != "number"]
    large = [name for name in looked_up if any((e.rows or SMALL_TABLE + 1) > SMALL_TABLE for e in entrances[name])]
    return large or looked_up


def _is_looked_up(model: Model, port: Port) -> bool:
    return any(e.kind != "number" for e in entrances_of(model.graph, port.name)) if port.is_number else False


def _held(ids: Tensor, others: Mapping[str, Any], kept: Sequence[int]) -> Tensor:
    """Return where ids stay as they are: where they are filled up, and where a token is kept."""
    held = torch.isin(ids.long(), torch.tensor(list(kept), device=ids.device, dtype=torch.int64))
    padding = _padding(ids, others)
    return held if padding is None else held | padding


def _one_after_another(addresses: Sequence[Tensor], size: int) -> Tensor:
    """Return the addresses in the whole input of values that were made of its parts, each of some elements."""
    return torch.cat([part + number * size for number, part in enumerate(addresses)])


def _padding(ids: Tensor, others: Mapping[str, Any]) -> Tensor | None:
    """Return where ids are filled up, as a mask or a length beside them says; None where nothing says it.

    What is taken for filling has to hold one id throughout: whichever way round a mask is meant, words are not hidden.
    """
    for candidate in _candidates(ids, others):
        filling = ids[candidate]
        if filling.numel() and not candidate.all() and bool((filling == filling[0]).all()):
            return candidate
    return None


def _candidates(ids: Tensor, others: Mapping[str, Any]) -> Iterator[Tensor]:
    for name, other in others.items():
        if not isinstance(other, Tensor):
            continue
        if other.shape == ids.shape and bool(((other == 0) | (other == 1)).all()):
            yield other == 0
        elif "len" in name.lower() and ids.ndim == 2 and other.numel() == len(ids) and not other.is_floating_point():
            yield torch.arange(ids.shape[1], device=ids.device) >= other.reshape(-1, 1)
