"""What a compiled file holds: a method with its options, bound to a model, its inputs and a target."""

from __future__ import annotations

from dataclasses import dataclass

import torch

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
    """

    model: Model
    choice: Choice
    explained: tuple[str, ...]
    target: GraphTarget
    stacked: bool
    batched: frozenset[str]
    together: bool
    seed: int = 0

    @property
    def ports(self) -> tuple[Port, ...]:
        """The inputs of the file: the model's, and the target where it comes in at run time."""
        if not self.target.is_fed:
            return self.model.inputs
        output = next(port for port in self.model.outputs if port.name == self.target.output)
        examples = next(p.shape[0] for p in self.model.inputs if p.name in self.explained and p.shape)
        axes = len(output.shape or (None, None)) - self.stacked
        shape = (examples if self.stacked else 1, *([axes] if axes > 1 else []))
        return (*self.model.inputs, Port(TARGET_INPUT, "int64", shape))

    def run(self, engine: TorchEngine, tensors: Feeds) -> Feeds:
        """Run the method once; the model's own outputs come first, from a run of their own."""
        fed = tensors.get(TARGET_INPUT) if self.target.is_fed else None
        tensors = {name: value for name, value in tensors.items() if fed is None or name != TARGET_INPUT}
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
        )
        found = self.choice.method.explain(score, score.feeds, **self.choice.arguments(score, score.feeds))
        values = {name: found[name] if self.stacked else found[name][0] for name in self.explained}
        return {name: value.detach().expand_as(tensors[name]) for name, value in values.items()}
