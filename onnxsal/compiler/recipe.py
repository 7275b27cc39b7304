"""What a compiled file holds: a method with its options, bound to a model, its inputs and a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from onnxsal.compiler.draws import Drawing, Fed, Source
from onnxsal.compiler.score import GraphScore
from onnxsal.compiler.target import TARGET_INPUT, GraphTarget
from onnxsal.engines.torch import TorchEngine
from onnxsal.model import Model
from onnxsal.options import Choice
from onnxsal.types import Feeds, Port


@dataclass(frozen=True)
class Recipe:
    """A method bound to a model.

    Args:
        model: The model.
        choice: The method and its options.
        explained: The inputs that are explained.
        target: Which number.
        stacked: Whether dim 0 of inputs and outputs counts the examples.
        batched: Names of the other inputs that have one row per example.
        together: Whether the model takes any number of rows at a time.
        seed: Where random numbers start.
        drawings: Random numbers that come in at run time; settled where there are none.
    """

    model: Model
    choice: Choice
    explained: tuple[str, ...]
    target: GraphTarget
    stacked: bool
    batched: frozenset[str]
    together: bool
    seed: int = 0
    drawings: tuple[Drawing, ...] = ()

    @property
    def ports(self) -> tuple[Port, ...]:
        """The inputs of the file: the model's, then the target and random numbers where they come in at run time."""
        target = [self._target_port] if self.target.is_fed else []
        ports = {port.name: port for port in self.model.inputs}
        drawn = [drawing.port(ports, self._examples, stacked=self.stacked) for drawing in self.drawings]
        return (*self.model.inputs, *target, *drawn)

    @property
    def _examples(self) -> Any:
        """How many examples there are, as the explained inputs declare it."""
        return next((p.shape[0] for p in self.model.inputs if p.name in self.explained and p.shape), None)

    @property
    def _target_port(self) -> Port:
        output = next(port for port in self.model.outputs if port.name == self.target.output)
        axes = len(output.shape or (None, None)) - self.stacked
        shape = (self._examples if self.stacked else 1, *([axes] if axes > 1 else []))
        return Port(TARGET_INPUT, "int64", shape)

    def run(self, engine: TorchEngine, tensors: Feeds, source: Source | None = None) -> Feeds:
        """Run the method once; the model's own outputs come first, from a run of their own.

        Random numbers come from ``source`` where one is given.
        """
        fed = tensors.get(TARGET_INPUT) if self.target.is_fed else None
        if self.drawings:
            source = Fed(
                self.drawings, self._numbers(tensors), tensors[self.explained[0]].shape[0] if self.stacked else 1
            )
        tensors = {port.name: tensors[port.name] for port in self.model.inputs if port.name in tensors}
        with torch.no_grad():
            outputs = engine.run(tensors)
            places = self.target.places(outputs, fed, stacked=self.stacked)
        score = GraphScore(
            engine,
            tensors,
            self.explained,
            self.target,
            places,
            stacked=self.stacked,
            batched=self.batched,
            together=self.together,
            seed=self.seed,
            source=source,
        )
        found = self.choice.method.explain(score, score.feeds, **self.choice.arguments(score, score.feeds))
        values = {name: found[name] if self.stacked else found[name][0] for name in self.explained}
        return {name: value.detach().expand_as(tensors[name]) for name, value in values.items()}

    def _numbers(self, tensors: Feeds) -> Feeds:
        """Return the random numbers that came in, behind an axis of examples."""
        found = {drawing.name: tensors[drawing.name] for drawing in self.drawings}
        return found if self.stacked else {name: value.unsqueeze(0) for name, value in found.items()}
