"""An imported network against ONNX Runtime: answers, gradients, and gradients without autograd."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from onnxsal.model import Model
from onnxsal.parity import distance

Arrays = dict[str, np.ndarray]

CHANGE = 5e-3
"""How far differences move the score, as a part of the answers' scale."""


@dataclass
class Agreement:
    """One imported model and one set of inputs.

    The score is a random combination of all numbers the model answers, so that every output counts, and none cancels
    another as the sum of a softmax would.
    """

    model: Model
    feeds: Arrays

    @cached_property
    def module(self) -> torch.fx.GraphModule:
        return self.model.torch()

    @cached_property
    def session(self):
        return self.model.session(optimised=False)

    @property
    def floats(self) -> list[str]:
        """The inputs that have a gradient."""
        return [port.name for port in self.model.inputs if port.is_float]

    def parity(self) -> float:
        """Return the largest distance of an output from ONNX Runtime's, as a part of that output's scale."""
        expected = self.session.run(None, self.feeds)
        with torch.no_grad():
            got = self.module(*(torch.from_numpy(self.feeds[p.name]) for p in self.model.inputs))
        assert len(got) == len(expected)
        distances = [distance(g.numpy(), e) for g, e in zip(got, expected, strict=True)]
        return max(gap / scale for gap, scale in distances)

    def gradients(self, moved: Arrays | None = None) -> Arrays:
        """Return the score's gradient by every float input, at the inputs or where some are moved to."""
        tensors = {n: torch.from_numpy(a) for n, a in (self.feeds | (moved or {})).items()}
        leaves = {n: tensors[n].requires_grad_() for n in self.floats}
        score = combined(self.module(*(tensors[p.name] for p in self.model.inputs)))
        return {n: g.numpy() for n, g in zip(leaves, torch.autograd.grad(score, list(leaves.values())), strict=True)}

    def runtime_score(self, moved: Arrays) -> float:
        """Return the score by ONNX Runtime's answer, in double precision."""
        return float(combined([torch.from_numpy(a) for a in self.session.run(None, self.feeds | moved)]))

    def difference(self, name: str, seed: int) -> tuple[float, float]:
        """Return how the score changes along a random way: by ONNX Runtime's own answers, and by the gradient.

        The lengths along the axes are random. The signs are the gradient's, lest the parts cancel and rounding drowns
        the rest. A ReLU may have its kink on the way, so the gradient is the mean of four on it.
        """
        gradient = self.gradients()[name].astype(np.float64)
        lengths = np.abs(np.random.default_rng(seed).standard_normal(gradient.shape))
        way = lengths * np.sign(gradient) * CHANGE * self.scale / (lengths * np.abs(gradient)).sum()
        ahead, behind = self._moved(name, way), self._moved(name, -way)
        between = [self.gradients({name: self._moved(name, part * way)})[name] for part in (-0.75, -0.25, 0.25, 0.75)]
        measured = self.runtime_score({name: ahead}) - self.runtime_score({name: behind})
        promised = np.mean(between, axis=0, dtype=np.float64) * (ahead.astype(np.float64) - behind)
        return measured, float(promised.sum())

    def _moved(self, name: str, way: np.ndarray) -> np.ndarray:
        here = self.feeds[name]
        return (here + way).astype(here.dtype)

    @cached_property
    def scale(self) -> float:
        """The root of the sum of squares of all floating-point answers."""
        answers = self.session.run(None, self.feeds)
        return float(np.sqrt(sum((a.astype(np.float64) ** 2).sum() for a in answers if a.dtype.kind == "f")))


def combined(outputs: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Return a random combination of all floating-point numbers of the outputs, the same one each time."""
    generator = torch.Generator().manual_seed(2)
    wide = [output.double() for output in outputs if output.is_floating_point()]
    return sum((torch.randn(o.shape, generator=generator, dtype=o.dtype) * o).sum() for o in wide)
