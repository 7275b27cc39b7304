"""The explained number as a function of the inputs, bound to an engine and a target."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from onnxsal.errors import ResourceError, UsageError
from onnxsal.importer.graph import Node
from onnxsal.target import outputs_of, value_of
from onnxsal.types import Feeds, Rules, Target

ROWS_PER_CALL = 16
"""How many rows an engine is given at a time, unless the request says otherwise."""

INDEPENDENT = 1e-3
"""How far a row may move, as a part of the score's scale, when other rows stand beside it."""


Result = TypeVar("Result")


class Runner(Protocol):
    """What a score needs of an engine."""

    device: str

    def run(self, values: Feeds, wanted: Sequence[str] | None = None) -> Feeds:
        """Return the wanted values by name; the model's outputs where None."""


class BoundScore:
    """Implements the `onnxsal.types.Score` that methods see.

    Args:
        engine: Runs the model.
        feeds: All inputs of the call that is explained.
        explained: The inputs that methods see and vary; the others stay as they are.
        targets: One per example.
        stacked: Whether dim 0 of inputs and outputs counts the examples. Where it does not, the call is one example,
            and methods see it behind a new leading axis.
        batched: Names of the fixed inputs that have one row per example.
        seed: Where random numbers start.
        rows: How many rows to give the engine at a time.
    """

    def __init__(
        self,
        engine: Runner,
        feeds: Feeds,
        explained: Sequence[str],
        targets: Sequence[Target],
        *,
        stacked: bool,
        batched: frozenset[str] = frozenset(),
        seed: int = 0,
        rows: int | None = None,
    ) -> None:
        self.engine = engine
        self.explained = tuple(explained)
        self.fixed = {name: value for name, value in feeds.items() if name not in self.explained}
        self.targets = targets
        self.stacked = stacked
        self.batched = batched
        self.seed = seed
        self.rows = rows or ROWS_PER_CALL
        self.examples = len(targets)
        self._tried = False
        self._allowed: int | None = None
        self._feeds = self._with_rows({name: feeds[name] for name in self.explained})

    @property
    def feeds(self) -> Feeds:
        """The explained inputs, dim 0 counting examples."""
        return self._feeds

    @property
    def nodes(self) -> list[Node]:
        """The ONNX nodes between the explained values and the score, in order."""
        from onnxsal.importer.section import nodes_between

        self._require_gradients()
        return nodes_between(self.engine.module, self.explained, outputs_of(self.targets))  # type: ignore[attr-defined]

    def __call__(self, feeds: Feeds) -> Tensor:
        """Return the score of every row, shape [rows]."""
        with torch.no_grad():
            return torch.cat(list(self._chunked(feeds, self._scores)))

    def gradients(self, feeds: Feeds, *, rules: Rules = None, reference: Feeds | None = None) -> Feeds:
        """Return the derivative of every row's score by its own feeds.

        Args:
            feeds: Rows of the explained inputs.
            rules: Other ways back through some operators: a rule by operator name, or a function from node to rule (see
                `onnxsal.importer.rules`).
            reference: As many rows, for rules that compare each node with what it was called with there.
        """
        return self._gradients_by(tuple(feeds), feeds, rules, reference)

    def layer(self, *names: str) -> Layer:
        """Return what happens at inner values of the graph, each named as the ONNX file names it, or by its node."""
        self._require_gradients()
        return Layer(self, tuple(self._value(name) for name in names))

    def at(self, *names: str) -> BoundScore:
        """Return the score as a function of inner values; the inputs stay what they are.

        Every method that explains inputs explains these values when it is handed this score and its feeds.
        """
        layer = self.layer(*names)
        values = layer.activations(self.feeds)
        stacked = self.stacked and all(v.ndim > 0 and v.shape[0] == self.examples for v in values.values())
        if self.stacked and not stacked and self.examples > 1:
            raise UsageError(
                f"the first axis of {', '.join(layer.names)} does not count the examples",
                where="layer",
                hint="explain one example at a time, or choose another layer",
            )
        outer = self._feeds | {name: self.fixed[name] for name in self.batched}
        if self.stacked and not stacked:
            values, outer = _as_one_row(values), _as_one_row(outer)
        return self._varied(
            _feeds=values,
            fixed=self.fixed | outer,
            explained=layer.names,
            batched=self.batched | frozenset(self.explained),
            stacked=stacked,
            _tried=False,
            _allowed=None,
        )

    def with_feeds(self, feeds: Feeds) -> BoundScore:
        """Return the score of other examples: of each row of the feeds, which stand in the place of this score's."""
        if self.stacked:
            self._rows_allowed()  # what the model lets is found out on the call itself
        copies = _count(feeds) // self.examples
        return self._varied(_feeds=feeds, targets=[*self.targets] * copies, examples=self.examples * copies)

    def _varied(self, **changes: Any) -> BoundScore:
        """Return the same score but for some of its parts."""
        other = copy.copy(self)
        vars(other).update(changes)
        return other

    def _value(self, name: str) -> str:
        from onnxsal.importer.section import value_named

        return value_named(self.engine.module, name)  # type: ignore[attr-defined]

    def _require_gradients(self) -> None:
        if not hasattr(self.engine, "gradients"):
            raise UsageError(
                "this engine gives no gradients", where="--engine", hint="use -e torch, or a black-box method"
            )

    def _gradients_by(
        self, names: Sequence[str], feeds: Feeds, rules: Rules = None, reference: Feeds | None = None
    ) -> Feeds:
        """Return the derivatives by some values of the graph, inputs or not."""
        self._require_gradients()

        def work(rows: Feeds, start: int) -> Feeds:
            beside = None if reference is None else _rows(reference, start, _count(rows))
            return self._gradients(names, rows, start, rules, beside)

        return _joined(self._chunked(feeds, work))

    def normal(self, feeds: Feeds, draw: int = 0) -> Feeds:
        """Return standard normal noise shaped like the feeds, seeded by each example's own values."""
        noise: dict[str, list[Tensor]] = {name: [] for name in feeds}
        for generator in self.generators(feeds, draw):
            for name, value in feeds.items():
                drawn = torch.randn(value.shape[1:], generator=generator, dtype=torch.float64)
                noise[name].append(drawn.to(value.device, value.dtype))
        return {name: torch.stack(rows) for name, rows in noise.items()}

    def generators(self, feeds: Feeds, draw: int = 0) -> list[torch.Generator]:
        """Return a source of random numbers for each row, on the CPU, seeded by the row's own values."""
        seeds = [self._seed_of(feeds, row, draw) for row in range(_count(feeds))]
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    def generator(self, draw: int = 0) -> torch.Generator:
        """Return a source of random numbers, on the CPU, seeded by the score's seed alone."""
        return torch.Generator().manual_seed(self._seed_of({}, 0, draw))

    def _seed_of(self, feeds: Feeds, example: int, draw: int) -> int:
        digest = hashlib.sha256(f"{self.seed}/{draw}".encode())
        for name in sorted(feeds):
            digest.update(feeds[name][example].detach().cpu().double().contiguous().numpy().tobytes())
        return int.from_bytes(digest.digest()[:7], "big")

    def _chunked(self, feeds: Feeds, work: Callable[[Feeds, int], Result]) -> Iterator[Result]:
        """Do the work a few rows at a time; where memory runs out, with half as many."""
        count = _count(feeds)
        start = 0
        while start < count:
            size = self._call_size(count)
            try:
                yield work(_rows(feeds, start, size), start)
            except (torch.OutOfMemoryError, MemoryError) as error:
                if size == 1 or self._rows_allowed() is not None:
                    raise ResourceError(
                        f"out of memory with {size} row(s) at a time",
                        where=self.engine.device,
                        hint="use a smaller input, or -d cpu",
                    ) from error
                self.rows = size // 2
                continue
            start += size

    def _call_size(self, count: int) -> int:
        if not self.stacked or count == 1:
            return 1
        allowed = self._rows_allowed()
        return min(count, self.rows) if allowed is None else allowed

    def _rows_allowed(self) -> int | None:
        """Return how many rows a call must have: None for any number; tried once, on the call itself."""
        if not self._tried:
            self._allowed, self._tried = self._try_other_size(), True
        return self._allowed

    def _try_other_size(self) -> int | None:
        """Run the call with other numbers of rows; a model may refuse that, or let rows change each other."""
        with torch.no_grad():
            whole = self._scores(self._feeds, 0)
            try:
                return None if all(_close(*pair) for pair in self._other_sizes(whole)) else 1
            except Exception:  # whatever a model does with a batch it was not exported for
                return self.examples

    def _other_sizes(self, whole: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield scores of the same rows in other company, beside what they are in the call."""
        if self.examples == 1:
            yield self._scores({n: torch.cat([v, v]) for n, v in self._feeds.items()}, 0), whole.repeat(2)
            return
        for row in (0, self.examples - 1):
            alone = {n: v[row : row + 1] for n, v in self._feeds.items()}
            yield self._scores(alone, row), whole[row : row + 1]

    def _call(self, feeds: Feeds, start: int) -> tuple[Feeds, list[Target]]:
        """Return the engine's whole feeds for some rows, and their targets."""
        feeds = {name: _of_type(value, self._feeds[name].dtype) for name, value in feeds.items()}
        examples = [(start + row) % self.examples for row in range(_count(feeds))]
        fixed = {n: _picked(v, examples) if n in self.batched else v for n, v in self.fixed.items()}
        call = feeds | fixed
        if not self.stacked:
            call = {n: v if n in self.fixed and n not in self.batched else v[0] for n, v in call.items()}
        return call, [self.targets[e] for e in examples]

    def _scores(self, feeds: Feeds, start: int) -> Tensor:
        call, targets = self._call(feeds, start)
        return value_of(self.engine.run(call, outputs_of(targets)), targets, stacked=self.stacked)

    def _gradients(
        self, names: Sequence[str], feeds: Feeds, start: int, rules: Rules, reference: Feeds | None
    ) -> Feeds:
        call, targets = self._call(feeds, start)
        gradients: Feeds = self.engine.gradients(  # type: ignore[attr-defined]
            call,
            names,
            lambda outputs: value_of(outputs, targets, stacked=self.stacked),
            outputs_of(targets),
            rules,
            None if reference is None else self._call(reference, start)[0],
        )
        return self._with_rows(gradients)

    def _activations(self, names: Sequence[str], feeds: Feeds, start: int) -> Feeds:
        with torch.no_grad():
            return self._with_rows(self.engine.run(self._call(feeds, start)[0], names))

    def _with_rows(self, values: Feeds) -> Feeds:
        return values if self.stacked else _as_one_row(values)


class Layer:
    """Inner values of the graph: what they are for some feeds, and how the score moves with them."""

    def __init__(self, score: BoundScore, names: tuple[str, ...]) -> None:
        self.score = score
        self.names = names

    def activations(self, feeds: Feeds) -> Feeds:
        """Return the values for every row of the feeds."""
        return _joined(self.score._chunked(feeds, lambda rows, start: self.score._activations(self.names, rows, start)))

    def gradients(self, feeds: Feeds, *, rules: Rules = None, reference: Feeds | None = None) -> Feeds:
        """Return the derivative of every row's score by the values; ``rules`` as in `BoundScore.gradients`."""
        return self.score._gradients_by(self.names, feeds, rules, reference)


def _rows(feeds: Feeds, start: int, count: int) -> Feeds:
    return {name: value[start : start + count] for name, value in feeds.items()}


def _of_type(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the value in the model's own type; methods may compute ids and pixels in floating point."""
    if value.dtype == dtype:
        return value
    return value.to(dtype) if dtype.is_floating_point else value.round().to(dtype)


def _picked(value: Tensor, examples: Sequence[int]) -> Tensor:
    """Return the rows of a fixed input, which may be text, that belong to some examples; copies share one row."""
    rows = [example % len(value) for example in examples]
    if rows == list(range(len(value))):
        return value
    return value[torch.tensor(rows, device=value.device)] if isinstance(value, Tensor) else value[rows]


def _as_one_row(values: Feeds) -> Feeds:
    return {name: value[None] for name, value in values.items()}


def _count(feeds: Feeds) -> int:
    return next(iter(feeds.values())).shape[0]


def _joined(parts: Iterator[Feeds]) -> Feeds:
    """Return the rows of all parts under each name."""
    chunks = list(parts)
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _close(value: Tensor, expected: Tensor) -> bool:
    scale = expected.abs().max().clamp_min(1e-6)
    return value.shape == expected.shape and bool(((value - expected).abs().max() <= INDEPENDENT * scale).item())
