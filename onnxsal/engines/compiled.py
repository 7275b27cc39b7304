"""The original file and its compiled gradient in ONNX Runtime, by any execution provider: gradients at its speed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxsal.device import CPU
from onnxsal.engines.onnxruntime import OnnxRuntimeEngine
from onnxsal.engines.torch import Record, TorchEngine
from onnxsal.entries import Engine
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Tensor

    from onnxsal.compiler.gradient import CompiledGradient
    from onnxsal.model import Model


class CompiledEngine(TorchEngine):
    """Runs the file as it was deployed, and gradients as compiled files; what is neither, as the torch engine does.

    Rules, inner values and relevance are the torch engine's part.
    """

    name = "compiled"

    def __init__(self, model: Model, device: str) -> None:
        super().__init__(model, "cpu")
        self.model = model
        self.original = OnnxRuntimeEngine(model, device)
        self._gradients: dict[Any, Any] = {}

    def run(self, values: Feeds, wanted: Sequence[str] | None = None) -> Feeds:
        """Return values by name; outputs come from the original file."""
        names = self.outputs if wanted is None else list(wanted)
        if set(names) <= set(self.outputs) and set(values) <= set(self.inputs):
            return self.original.run(values, names)
        return super().run(values, wanted)

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
        """Return the derivative of ``score(wanted values)``, as `TorchEngine.gradients` does."""
        explained = list(explained)
        names = self.outputs if wanted is None else list(wanted)
        session = None if rules is not None or relevance else self._session(values, explained, names)
        if session is None:
            return super().gradients(values, explained, score, wanted, rules, reference, relevance=relevance)
        opened, shapes = session
        return _from_a_session(opened, shapes, values, explained, score, names)

    def record(  # type: ignore[override]
        self,
        values: Feeds,
        explained: Sequence[str],
        wanted: Sequence[str] | None = None,
        ruled: Sequence[str] = (),
    ) -> Answered | Record:
        """Run the original file; the way back is run anew."""
        names = self.outputs if wanted is None else list(wanted)
        if ruled or self._session(values, explained, names) is None:
            return super().record(values, explained, wanted, ruled)
        return Answered(self, values, explained, self.run(values, names))

    def _session(self, values: Feeds, explained: Sequence[str], names: Sequence[str]) -> Any:
        """Return the session for these inputs and outputs, and the outputs' shapes and types for these rows.

        None where the torch engine is to be used: for inner values, and where there is no file.
        """
        from onnxsal.compiler.gradient import open_session

        if not (set(explained) <= set(values) <= set(self.inputs) and set(names) <= set(self.outputs)):
            return None
        signature = tuple((name, tuple(value.shape)) for name, value in values.items())
        key = tuple(explained), tuple(names), signature
        if key not in self._gradients:
            kept = self._gradient(explained, names, values)
            if kept is None:
                self._gradients[key] = None
                return None
            outputs = self.original.run(values, names)
            shapes = {name: (outputs[name].shape, outputs[name].dtype) for name in names}
            if kept.path not in self._gradients:
                self._gradients[kept.path] = open_session(str(kept.path), self.original.place)
            self._gradients[key] = self._gradients[kept.path], shapes
        return self._gradients[key]

    def _gradient(self, explained: Sequence[str], names: Sequence[str], values: Feeds) -> CompiledGradient | None:
        """Return the file that computes the gradient, made where there is none."""
        from onnxsal.compiler.gradient import compiled_gradient

        return compiled_gradient(self.model, explained, names, values, self.original.place)

    def rows_at_once(self, feeds: Feeds) -> int:
        """Return how many rows to give a call."""
        return self.original.rows_at_once(feeds)


class KnownEngine(CompiledEngine):
    """Compiles nothing: a gradient is computed by a file only where there is one that is faster."""

    def _gradient(self, explained: Sequence[str], names: Sequence[str], values: Feeds) -> CompiledGradient | None:
        from onnxsal.compiler.gradient import kept_gradient
        from onnxsal.compiler.speed import FASTER

        kept = kept_gradient(self.model, explained, names, values, self.original.place)
        return kept if kept is not None and kept.speedup >= FASTER else None


@dataclass(frozen=True)
class Answered:
    """What the file answered to some values, and a way to ask for gradients there."""

    engine: CompiledEngine
    values: Feeds
    explained: Sequence[str]
    outputs: Feeds

    def gradients(self, score: Callable[[Feeds], Tensor], *, again: bool = True) -> Feeds:  # noqa: ARG002
        """Return the derivative of ``score(outputs)``, summed over its rows, by each explained input."""
        return self.engine.gradients(self.values, self.explained, score, list(self.outputs))


def _from_a_session(
    session: Any,
    shapes: Mapping[str, Any],
    values: Feeds,
    explained: Sequence[str],
    score: Callable[[Feeds], Tensor],
    names: Sequence[str],
) -> Feeds:
    """Run a compiled gradient, once where what comes back does not depend on the outputs.

    Most scores pick a number: what they send back is the same whatever the outputs are. That is supposed first, and
    looked at again once the outputs are there.
    """
    import torch

    from onnxsal.compiler.gradient import run_session

    supposed = _sent_back(score, {n: torch.zeros(shape, dtype=dtype) for n, (shape, dtype) in shapes.items()})
    found = run_session(session, values, supposed)
    meant = _sent_back(score, {name: found[name] for name in names})
    if any(not torch.equal(supposed[name], meant[name]) for name in names):
        found = run_session(session, values, meant)
    return {name: found[f"{name}_gradient"] for name in explained}


def _sent_back(score: Callable[[Feeds], Tensor], outputs: Feeds) -> Feeds:
    """Return the derivative of the score by every output."""
    import torch

    leaves = {name: value.detach().requires_grad_() for name, value in outputs.items()}
    with torch.enable_grad():
        total = score(leaves).sum()
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {n: torch.zeros_like(leaf) if g is None else g for (n, leaf), g in zip(leaves.items(), found, strict=True)}


def open_compiled(model: Model, device: str) -> CompiledEngine:
    """The original file and its compiled gradient in ONNX Runtime."""
    return CompiledEngine(model, device)


def open_known(model: Model) -> KnownEngine | None:
    """Open the engine where a gradient of the model was compiled before, and is faster."""
    from onnxsal.compiler.speed import has_a_fast_gradient

    return KnownEngine(model, CPU) if has_a_fast_gradient(model) else None


@hookimpl
def onnxsal_engines() -> Iterable[Engine]:
    yield Engine("compiled", open_compiled, gradient=True, providers=True, faster=open_known)
