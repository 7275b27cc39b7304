"""The imported graph and autograd, on any torch device: the reference engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxsal.entries import Engine
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds, Precision, Quantized

if TYPE_CHECKING:
    from torch import Tensor, fx

    from onnxsal.importer.rules import OpenRun
    from onnxsal.model import Model


class TorchEngine:
    """Runs and differentiates the imported ``fx.GraphModule``, whole or from and to any ONNX value of it."""

    name = "torch"

    def __init__(
        self, model: Model, device: str, *, quantized: Quantized = "ste", precision: Precision = "native"
    ) -> None:
        self.device = device
        self.model = model
        self.reading: dict[str, Any] = {"quantized": quantized, "precision": precision}
        self.inputs = [port.name for port in model.inputs]
        self.outputs = [port.name for port in model.outputs]
        self.module = model.torch(device, **self.reading)
        self.constants = model.graph.constants
        self._sections: dict[tuple[tuple[str, ...], ...], fx.GraphModule] = {}

    def rebatched(self, values: Feeds) -> TorchEngine | None:
        """Return an engine that takes many examples at once, found on one; None where there is none."""
        from onnxsal.rebatching import rebatched

        opened = rebatched(self.model, values)
        return None if opened is None else TorchEngine(opened, self.device, **self.reading)

    def run(self, values: Feeds, wanted: Sequence[str] | None = None) -> Feeds:
        """Return values by name: the outputs, or those that are wanted.

        Args:
            values: The inputs, and perhaps inner values, which are then not computed.
            wanted: Names of ONNX values; the model's outputs where None.
        """
        names = self.outputs if wanted is None else list(wanted)
        given = [name for name in values if name not in self.inputs]
        plain = not given and names == self.outputs
        part = self.module if plain else self._section(given, names, ())
        return _by_name(names, self._call(part, self._arguments(values, given)))

    def gradients(
        self,
        values: Feeds,
        explained: Iterable[str],
        score: Callable[[Feeds], Tensor],
        wanted: Sequence[str] | None = None,
        rules: Any = None,
        reference: Feeds | None = None,
        *,
        relevance: bool = False,
    ) -> Feeds:
        """Return the derivative of ``score(wanted values)``, summed over its rows, by each explained value.

        Args:
            values: The inputs, and perhaps inner values, which are then not computed.
            explained: Names of inputs, of given inner values, or of other inner values.
            score: The explained number of every row.
            wanted: Names of the values that ``score`` takes; the model's outputs where None.
            rules: Backward rules by operator name, or a function from node to rule.
            reference: The values of a reference run, for rules that compare with one.
            relevance: Whether each wanted value sends back its share of the score, instead of the score's slope.
        """
        import torch

        explained = list(explained)
        names = self.outputs if wanted is None else list(wanted)
        watched = [name for name in explained if name not in values]
        leaves = {n: values[n].detach().requires_grad_() for n in explained if n in values}
        with torch.enable_grad():
            answers = self._answers(values | leaves, names, watched, rules, reference)
            total = score(_by_name(names, _sending_back(answers[: len(names)], relevance))).sum()
        points = leaves | dict(zip(watched, answers[len(names) :], strict=True))
        return _gradients(total, {name: points[name] for name in explained})

    def record(
        self,
        values: Feeds,
        explained: Sequence[str],
        wanted: Sequence[str] | None = None,
        ruled: Sequence[str] = (),
    ) -> Record:
        """Run the graph and keep the way back to the explained values open, so that a gradient costs no second run.

        Args:
            values: The inputs.
            explained: Names of inputs, or of inner values: then the way back ends there, and costs no more than that.
            wanted: Names of ONNX values; the model's outputs where None.
            ruled: Operators that may get a rule on the way back, which is then gone once.
        """
        import torch

        names = self.outputs if wanted is None else list(wanted)
        if ruled:
            return self._record_ruled(values, explained, names, ruled)
        watched = [name for name in explained if name not in values]
        leaves = {name: values[name].detach().requires_grad_() for name in explained if name in values}
        with torch.enable_grad():
            answers = _by_name([*names, *watched], self._answers(values | leaves, names, watched, None, None))
        points = leaves | {name: answers[name] for name in watched}
        return Record(answers, {name: points[name] for name in explained})

    def _record_ruled(
        self, values: Feeds, explained: Sequence[str], names: Sequence[str], ruled: Sequence[str]
    ) -> RuledRecord:
        import torch

        from onnxsal.importer.rules import OpenRun

        leaves = {name: values[name].detach().requires_grad_() for name in explained}
        run = OpenRun(self.module if list(names) == self.outputs else self._section((), names, ()), ruled)
        with torch.enable_grad():
            answers = run.run(self._arguments(values | leaves, ()))
        return RuledRecord(_by_name(names, answers), leaves, self, run)

    def _answers(
        self, values: Feeds, names: Sequence[str], watched: Sequence[str], rules: Any, reference: Feeds | None
    ) -> Sequence[Tensor]:
        given = [name for name in values if name not in self.inputs]
        plain = not given and not watched and list(names) == self.outputs
        part = self.module if plain else self._section(given, names, watched)
        if rules is None:
            return self._call(part, self._arguments(values, given))
        from onnxsal.importer.rules import RuledRun, chooser, record

        choose = chooser(rules)
        calls = None if reference is None else record(part, choose, self._arguments(reference, given))
        return self._interpret(RuledRun(part, choose, calls), self._arguments(values, given))

    def _call(self, part: fx.GraphModule, arguments: Sequence[Any]) -> Sequence[Any]:
        return part(*arguments)  # type: ignore[no-any-return]

    def _interpret(self, run: fx.Interpreter, arguments: Sequence[Any]) -> Sequence[Any]:
        return run.run(*arguments)  # type: ignore[no-any-return]

    def _arguments(self, values: Feeds, given: Sequence[str]) -> list[Any]:
        return [values.get(name) for name in self.inputs] + [values[name] for name in given]

    def _section(self, given: Sequence[str], wanted: Sequence[str], watched: Sequence[str]) -> fx.GraphModule:
        from onnxsal.importer.section import section

        key = tuple(given), tuple(wanted), tuple(watched)
        if key not in self._sections:
            self._sections[key] = section(self.module, *key)
        return self._sections[key]


@dataclass(frozen=True)
class Record:
    """A run whose way back is still open."""

    answers: Feeds
    points: Feeds

    @property
    def explained(self) -> Sequence[str]:
        """The names of the values that gradients are taken by."""
        return tuple(self.points)

    @property
    def outputs(self) -> Feeds:
        """The wanted values by name, and the explained ones inside the graph."""
        return {n: v.detach() if hasattr(v, "detach") else v for n, v in self.answers.items()}

    def gradients(self, score: Callable[[Feeds], Tensor], *, again: bool = True) -> Feeds:
        """Return the derivative of ``score(wanted values)``, summed over its rows, by each explained value.

        Args:
            score: The explained number of every row.
            again: Whether the way back stays open; else it is let go of step by step.
        """
        import torch

        with torch.enable_grad():
            return _gradients(score(self.answers).sum(), self.points, again=again)


@dataclass(frozen=True)
class RuledRecord(Record):
    """A run whose rules are chosen when its way back is gone."""

    engine: TorchEngine
    run: OpenRun

    def takes(self, rules: Any) -> bool:
        """Say whether these rules are among those the run was made for."""
        from onnxsal.importer.rules import chooser

        return self.run.takes(chooser(rules))

    def ruled(
        self, score: Callable[[Feeds], Tensor], rules: Any, reference: Feeds | None, *, relevance: bool
    ) -> tuple[Feeds, Feeds | None]:
        """Return what `TorchEngine.gradients` does, and what was answered to the reference."""
        import torch

        from onnxsal.importer.rules import chooser, recorded

        choose = chooser(rules)
        calls: dict[Any, Any] = {}
        answered = None
        if reference is not None:
            calls, answered = recorded(self.run.module, choose, self.engine._arguments(reference, ()))
        self.run.settle(choose, calls)
        with torch.enable_grad():
            answers = dict(zip(self.answers, _sending_back(list(self.answers.values()), relevance), strict=True))
            gradients = _gradients(score(answers).sum(), self.points)
        return gradients, None if answered is None else _by_name(list(self.answers), answered)


def _sending_back(answers: Sequence[Any], relevance: bool) -> Sequence[Any]:
    if not relevance:
        return answers
    from onnxsal.importer.rules import weighed

    return [weighed(answer) for answer in answers]


def _by_name(names: Sequence[str], answers: Sequence[Any]) -> Feeds:
    """Return answers by name; maps from class to score as tables, so that one can be picked by its place."""
    from onnxsal.importer.values import as_table

    return dict(zip(names, map(as_table, answers), strict=True))


def _gradients(total: Tensor, points: Feeds, *, again: bool = False) -> Feeds:
    """Return the derivatives of a number; zero where it does not depend on a point in a differentiable way."""
    import torch

    points = {name: point for name, point in points.items() if isinstance(point, torch.Tensor)}
    tracked = {name: point for name, point in points.items() if point.requires_grad}
    found: Feeds = {}
    if total.requires_grad and tracked:
        gradients = torch.autograd.grad(total, list(tracked.values()), allow_unused=True, retain_graph=again)
        found = {name: g for name, g in zip(tracked, gradients, strict=True) if g is not None}
    return {name: found.get(name, torch.zeros_like(point)).detach() for name, point in points.items()}


def open_torch(
    model: Model, device: str, *, quantized: Quantized = "ste", precision: Precision = "native"
) -> TorchEngine:
    """The imported graph and autograd, on any torch device.

    Args:
        quantized: ste computes what a quantised model is deployed to, gradients going straight through the rounding;
            float leaves the rounding out.
        precision: native computes in the model's own types; float32 raises float16 and bfloat16.
    """
    return TorchEngine(model, device, quantized=quantized, precision=precision)


@hookimpl
def onnxsal_engines() -> Iterable[Engine]:
    yield Engine("torch", open_torch, gradient=True)
