"""The original file in ONNX Runtime: forward only, for methods that need no gradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from onnxsal.entries import Engine
from onnxsal.errors import ModelError, UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from onnxsal.importer.graph import Graph
    from onnxsal.model import Model


LIVING = 256
"""How many times an input's bytes a large network is taken to keep alive at once."""


class OnnxRuntimeEngine:
    """Runs the file as it was deployed, by any of ONNX Runtime's execution providers; tensors lie on the CPU."""

    name = "onnxruntime"

    def __init__(self, model: Model, device: str) -> None:
        self.device = "cpu"
        self.place = device
        self.inputs = [port.name for port in model.inputs]
        self.outputs = [port.name for port in model.outputs]
        self.model = model
        self.session = self._opened()
        self._inner: dict[tuple[str, ...], Any] = {}
        self.breadth = _breadth(model.graph)

    def rebatched(self, values: Feeds) -> OnnxRuntimeEngine | None:
        """Return an engine that takes many examples at once, found on one; None where there is none."""
        from onnxsal.rebatching import rebatched

        opened = rebatched(self.model, values)
        return None if opened is None else OnnxRuntimeEngine(opened, self.place)

    def run(self, values: Feeds, wanted: Sequence[str] | None = None) -> Feeds:
        """Return values by name: the outputs, or those that are wanted, inner ones too."""
        from onnxsal.importer.values import as_table, as_tensor, to_host

        names = self.outputs if wanted is None else list(wanted)
        given = [name for name in values if name not in self.inputs]
        if given:
            raise UsageError(
                f"the onnxruntime engine does not start from {given[0]!r} inside the graph",
                where="--engine",
                hint="use -e torch",
            )
        answers = self._answers(names, {name: to_host(values[name]) for name in self.inputs if name in values})
        return {name: as_table(as_tensor(answer)) for name, answer in zip(names, answers, strict=True)}

    def _session(self, names: Sequence[str]) -> Any:
        """Return the session that gives some values: the plain one, or one that shows inner values too."""
        inner = tuple(name for name in names if name not in self.outputs)
        if not inner:
            return self.session
        if inner not in self._inner:
            self._inner[inner] = self._opened(inner)
        return self._inner[inner]

    def _opened(self, inner: Sequence[str] = ()) -> Any:
        from onnxsal.device import providers_of

        return self.model.session(providers=providers_of(self.place), inner=inner)

    def rows_at_once(self, feeds: Feeds) -> int:
        """Return how many rows of these feeds to give a call: many where the model is tiny, else as many as fit."""
        from onnxsal.batching import FIRST_ROWS, HOST_BYTES, MOST_ROWS, row_bytes

        size = max(1, row_bytes(feeds))
        tiny = HOST_BYTES // (size * self.breadth)
        return max(1, min(HOST_BYTES // (LIVING * size), max(FIRST_ROWS, tiny), MOST_ROWS))

    def _answers(self, names: list[str], arrays: dict[str, Any]) -> list[Any]:
        try:
            return list(self._session(names).run(names, arrays))
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            if "allocat" in str(error).lower():
                raise MemoryError(str(error)) from error
            raise ModelError(
                f"ONNX Runtime cannot run it: {' '.join(str(error).split())[:300]}",
                where=self.model.name,
                hint="if the input is what the model takes, use -e torch",
            ) from error


def _breadth(graph: Graph) -> int:
    """Return more than any of the graph's values can be larger than its inputs, all of them together."""
    widest = max((max(array.shape, default=1) for array in graph.constants.values()), default=1)
    return widest * sum(1 for _ in graph.walk())


def open_onnxruntime(model: Model, device: str) -> OnnxRuntimeEngine:
    """The original file in ONNX Runtime, forward only."""
    return OnnxRuntimeEngine(model, device)


@hookimpl
def onnxsal_engines() -> Iterable[Engine]:
    yield Engine("onnxruntime", open_onnxruntime, gradient=False, providers=True)
