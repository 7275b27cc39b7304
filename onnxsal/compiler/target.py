"""Which number a compiled file explains: one index for all examples, the highest class, or what it is fed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from onnxsal.errors import UsageError
from onnxsal.target import output_of, resolve, value_of
from onnxsal.target.resolver import EXPRESSION, RANKS
from onnxsal.types import Feeds, Target, TargetSpec

TARGET_INPUT = "target"
"""The name of the input that takes the target at run time."""

OF_ONE_ANSWER = re.compile(r"^top\d+$|^box:|\.region\(\)$")
"""Targets that are found by looking at one answer."""


@dataclass(frozen=True)
class GraphTarget:
    """A target that a graph can resolve for any batch.

    Args:
        fixed: The target of every example; along ``axis`` its index holds a slice.
        word: "argmax" or "runnerup", where the answer decides along ``axis``.
        axis: That axis, among those of one example.
        is_fed: Whether the index comes in at run time; ``fixed`` then only says of which output.
        minus: The target whose number is taken away.
    """

    fixed: Target
    word: str | None = None
    axis: int = 0
    is_fed: bool = False
    minus: GraphTarget | None = None

    @property
    def output(self) -> str:
        """The ONNX name of the output; a difference has another one in ``minus``."""
        return self.fixed.output

    @property
    def outputs(self) -> list[str]:
        """All outputs that the number is made of."""
        return list(dict.fromkeys(part.output for part in self._parts()))

    def _parts(self) -> Iterator[GraphTarget]:
        yield self
        if self.minus is not None:
            yield from self.minus._parts()

    def __str__(self) -> str:
        text = str(self.fixed)
        if self.is_fed:
            text = f"{self.output}[{TARGET_INPUT}]"
        elif self.word:
            name, bracket, index = text.partition("[")
            parts = index.removesuffix("]").split(",")
            parts[self.axis] = self.word
            text = f"{name}{bracket}{','.join(parts)}]"
        return f"{text} - {self.minus}" if self.minus else text

    def places(self, outputs: Feeds, fed: Tensor | None, *, stacked: bool) -> list[Tensor | None]:
        """Return where each example's number lies, for each part of a difference; None where that is fixed."""
        return [part._places(outputs, fed, stacked) for part in self._parts()]

    def _places(self, outputs: Feeds, fed: Tensor | None, stacked: bool) -> Tensor | None:
        output = _with_rows(outputs[self.output], stacked)
        if self.is_fed:
            assert fed is not None
            return _flat_places(fed, output.shape[1:])
        if self.word is None:
            return None
        line = output[(slice(None), *self.fixed.index)]
        return line.argmax(1) if RANKS[self.word] == 0 else line.topk(2, 1).indices[:, 1]

    def value(self, outputs: Feeds, places: Sequence[Tensor | None], *, stacked: bool) -> Tensor:
        """Return the explained number of every row; with places for N examples, row r is example r mod N."""
        first, *others = (
            part._value(outputs, place, stacked) for part, place in zip(self._parts(), places, strict=True)
        )
        return first - others[0] if others else first

    def _value(self, outputs: Feeds, places: Tensor | None, stacked: bool) -> Tensor:
        if places is None:
            return value_of(outputs, [self.fixed], stacked=stacked)
        output = _with_rows(outputs[self.output], stacked)
        numbers = output.reshape(output.shape[0], -1) if self.is_fed else output[(slice(None), *self.fixed.index)]
        copies = output.shape[0] // places.shape[0]
        of_rows = places if copies == 1 else places.repeat(copies)
        return numbers.gather(1, of_rows.unsqueeze(1)).squeeze(1)


def _with_rows(output: Tensor, stacked: bool) -> Tensor:
    return output if stacked else output.unsqueeze(0)


def _flat_places(fed: Tensor, sizes: Sequence[Any]) -> Tensor:
    """Return indices of one column per axis, or of one axis alone, as places among an example's flattened numbers."""
    columns = fed.unsqueeze(1) if fed.ndim == 1 else fed
    places = torch.zeros_like(columns[:, 0])
    for axis, size in enumerate(sizes):
        column = columns[:, axis]
        places = places * size + torch.where(column < 0, column + size, column)
    return places


def graph_target(
    spec: TargetSpec,
    outputs: Feeds,
    examples: int,
    *,
    stacked: bool,
    is_fed: bool,
    labels: Sequence[str] | None = None,
) -> GraphTarget:
    """Return what a user's target means for any batch, judged by what the model answers to some examples.

    Raises:
        UsageError: no such output or index, or a target that a graph cannot resolve.
    """
    if isinstance(spec, list):
        raise UsageError("a file has one target for all examples", where="target", hint="give the target at run time")
    text = spec.strip() if isinstance(spec, str) else ""
    if OF_ONE_ANSWER.search(text):
        raise UsageError(
            f"{text!r} is found in one answer, not in all", where="target", hint="say argmax or an index; or take it "
            "at run time"
        )  # fmt: skip
    if is_fed:
        return _fed(spec, outputs)
    sides = re.split(r"\s+-\s+", text)
    if len(sides) == 2 and text.removeprefix("label:") not in (labels or ()):
        left, right = (
            graph_target(side, outputs, examples, stacked=stacked, is_fed=False, labels=labels) for side in sides
        )
        return replace(left, minus=right)
    found = resolve(spec, outputs, examples, stacked=stacked, labels=labels)[0][0]
    word, axis = _word_in(spec, outputs, stacked)
    if word is None:
        return GraphTarget(replace(found, label=None))
    index = tuple(slice(None) if i == axis else part for i, part in enumerate(found.index))
    return GraphTarget(Target(found.output, index), word, axis)


def _word_in(spec: TargetSpec, outputs: Feeds, stacked: bool) -> tuple[str | None, int]:
    """Return the word in a target's index that each answer decides, and along which axis it stands."""
    name = output_of(spec, outputs)
    if spec is None or spec == name:
        is_choice = outputs[name].ndim - stacked == 1 and outputs[name].shape[-1] != 1
        return ("argmax", 0) if is_choice else (None, 0)
    if isinstance(spec, str) and spec.strip() in RANKS:
        return spec.strip(), 0
    match = EXPRESSION.match(spec.strip().removeprefix(name)) if isinstance(spec, str) else None
    parts = [part.strip() for part in (match.group("index") or "").split(",")] if match else []
    return next(((part, axis) for axis, part in enumerate(parts) if part in RANKS), (None, 0))


def _fed(spec: TargetSpec, outputs: Feeds) -> GraphTarget:
    name = output_of(spec, outputs)
    if spec is not None and spec != name:
        raise UsageError(
            f"the target is given at run time, and as {spec!r}", where="target", hint="name an output, or nothing"
        )
    return GraphTarget(Target(name), is_fed=True)
