"""The explained number as a function of the inputs, bound to an engine and a target."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from onnxsal.batching import Meter, first_rows, more_rows
from onnxsal.errors import ResourceError, UsageError
from onnxsal.importer.forest import Sum, sums_of
from onnxsal.importer.graph import Node
from onnxsal.importer.values import on_device
from onnxsal.plugins import rules_of
from onnxsal.target import outputs_of, resolve, split_neuron, value_of
from onnxsal.types import Feeds, Rules, Target

INDEPENDENT = 1e-3
"""How far a row may move, as a part of the score's scale, when other rows stand beside it."""


Result = TypeVar("Result")


class Runner(Protocol):
    """What a score needs of an engine."""

    device: str

    def run(self, values: Feeds, wanted: Sequence[str] | None = None) -> Feeds:
        """Return the wanted values by name; the model's outputs where None."""


class Recorded(Protocol):
    """A run with the way back still open."""

    outputs: Feeds
    explained: Sequence[str]

    def gradients(self, score: Callable[[Feeds], Tensor], *, again: bool = True) -> Feeds:
        """Return the derivative of ``score(outputs)``, summed over its rows, by each explained value.

        ``again`` says whether it will be asked for more than once.
        """


@dataclass
class Known:
    """What the call that is explained answered, and the way back where it was recorded.

    The record holds memory, so it is given up as soon as the score is asked for anything else, and lets go of it while
    the last of those who share it goes back.
    """

    outputs: Feeds
    record: Recorded | None = None
    sharers: int = 1


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
        rows: How many rows to give the engine at a time; found out where None.
        fixed_rows: How many rows the model takes at a time, where that is less than there are examples.
        known: What is known of the call already, so that it is not run again.
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
        fixed_rows: int | None = None,
        known: Known | None = None,
    ) -> None:
        self.engine = engine
        self.explained = tuple(explained)
        self.fixed = {name: value for name, value in feeds.items() if name not in self.explained}
        self.targets = targets
        self.stacked = stacked
        self.answers_stacked = stacked  # an inner value may be laid out otherwise than the outputs
        self.batched = batched
        self.seed = seed
        self.rows = rows
        self.known = known
        self.notes: dict[str, None] = {}
        self.examples = len(targets)
        self.together = fixed_rows or self.examples
        self._tried = False
        self._allowed: int | None = None
        self._measured: dict[str, int] = {}
        self._number: Tensor | None = None
        self._prints: list[bytes] | None = None
        self._compared: tuple[Feeds, Tensor] | None = None
        self._held: Feeds = {}
        self._feeds = self._with_rows({name: feeds[name] for name in self.explained})

    @property
    def feeds(self) -> Feeds:
        """The explained inputs, dim 0 counting examples."""
        return self._feeds

    @property
    def number(self) -> Tensor:
        """The score of the call itself, shape [examples]."""
        if self._number is None:
            mixed = self.examples > 1 and self.rows_allowed() is not None
            self._number = self(self._feeds) if self.known is None or mixed else self._whole()
        return self._number

    @property
    def nodes(self) -> list[Node]:
        """The ONNX nodes between the explained values and the score, in order."""
        from onnxsal.importer.section import nodes_between

        self._require_gradients()
        return nodes_between(self.engine.module, self.explained, outputs_of(self.targets))  # type: ignore[attr-defined]

    @property
    def trees(self) -> list[Sum]:
        """The decision trees among these nodes, one entry a node."""
        return sums_of(self.engine.module, self.nodes)  # type: ignore[attr-defined]

    def __call__(self, feeds: Feeds) -> Tensor:
        """Return the score of every row, shape [rows]."""
        if self._compared is not None and _are_same(feeds, self._compared[0]):
            return self._compared[1]
        with torch.no_grad():
            return torch.cat(list(self._chunked("scores", feeds, self._scores)))

    def gradients(
        self, feeds: Feeds, *, rules: Rules = None, reference: Feeds | None = None, relevance: bool = False
    ) -> Feeds:
        """Return the derivative of every row's score by its own feeds.

        Args:
            feeds: Rows of the explained inputs.
            rules: Other ways back through some operators: a rule by operator name, or a function from node to rule (see
                `onnxsal.importer.rules`).
            reference: As many rows, for rules that compare each node with what it was called with there.
            relevance: Whether the output sends back its share of the score instead of the score's slope, for rules
                that hand on relevance.
        """
        return self._gradients_by(tuple(feeds), feeds, rules, reference, relevance)

    def rules(self, family: str) -> dict[str, Any]:
        """Return the rules that plugins bring for a family of methods, by operator (`onnxsal.entries.Rules`)."""
        return rules_of(family)

    def note(self, text: str) -> None:
        """Note what somebody who relies on the result has to know."""
        self.notes.setdefault(text)

    def _is_recorded(self, names: Sequence[str], feeds: Feeds, rules: Rules = None) -> bool:
        """Say whether these feeds are the call itself, and the way back from it to these values, by rules, is known."""
        record = None if self.known is None else self.known.record
        takes = getattr(record, "takes", None)
        if rules is not None and not (takes and takes(rules)):
            return False
        return record is not None and set(names) == set(record.explained) and self._is_call(feeds)

    def _is_known(self, names: Sequence[str], feeds: Feeds) -> bool:
        """Say whether these feeds are the call itself, and these values of it are known."""
        return self.known is not None and set(names) <= set(self.known.outputs) and self._is_call(feeds)

    def _is_call(self, feeds: Feeds) -> bool:
        """Say whether these feeds are the call itself, whose rows were each answered as they are alone."""
        if not _are_same(feeds, self._feeds):
            return False
        return self.examples == 1 or (self.rows_allowed() is None and not (self.rows and self.rows < self.examples))

    def _from_record(self) -> Feeds:
        assert self.known is not None
        assert self.known.record is not None
        record = self.known.record
        self.known.sharers -= 1
        again = self.known.sharers > 0
        self.known.record = record if again else None
        gradients = record.gradients(lambda outputs: self._numbers(outputs, self.targets), again=again)
        return self._with_rows(gradients)

    def _from_ruled_record(self, rules: Rules, reference: Feeds | None, relevance: bool) -> Feeds:
        assert self.known is not None
        record: Any = self.known.record
        self.known.record = None
        beside = None if reference is None else self._call(reference, 0)[0]
        numbers = partial(self._numbers, targets=self.targets)
        gradients, answered = record.ruled(numbers, rules, beside, relevance=relevance)
        if reference is not None and answered is not None:
            self._compared = reference, self._numbers(answered, self.targets)
        return self._with_rows(gradients)

    def layer(self, *names: str) -> Layer:
        """Return what happens at inner values of the graph, each named as the ONNX file names it, or by its node."""
        self._require_gradients()
        return Layer(self, tuple(self._value(name) for name in names))

    def neuron(self, said: str) -> Neuron:
        """Return a number inside the graph.

        Raises:
            UsageError: there is no such value, or what is said of it is not one number.
        """
        name, rest = split_neuron(said)
        layer = self.layer(name)
        values = layer.activations(self.feeds)
        if not self.stacked:
            values = {n: value[0] for n, value in values.items()}
        try:
            ranked = self._resolved(layer.names[0] + rest, values)
        except UsageError as error:
            raise UsageError(error.what, where="neuron", hint=error.hint) from error
        if len(ranked) > 1 or any(target.reduction or target.minus for target in ranked[0]):
            raise UsageError(f"{said!r} is not one number of a layer", where="neuron", hint="give every index")
        return Neuron(self, self._of(ranked[0]), layer)

    def _resolved(self, said: str, values: Feeds) -> list[list[Target]]:
        return resolve(said, values, self.examples, stacked=self.stacked)

    def _of(self, targets: Sequence[Target]) -> BoundScore:
        """Return the score of other numbers of the same call."""
        return self._varied(targets=targets, known=None, _number=None, _measured={})

    def at(self, *names: str) -> BoundScore:
        """Return the score as a function of inner values; the inputs stay what they are.

        Every method that explains inputs explains these values when it is handed this score and its feeds.
        """
        layer = self.layer(*names)
        values = layer.activations(self.feeds)
        whole = next((name for name, value in values.items() if not value.is_floating_point()), None)
        if whole is not None:
            raise UsageError(
                f"{whole!r} holds {str(values[whole].dtype).removeprefix('torch.')}, nothing that could vary",
                where="layer",
                hint="choose a value of floating point",
            )
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
            fixed={name: value for name, value in (self.fixed | outer).items() if name not in values},
            explained=layer.names,
            batched=self.batched | frozenset(self.explained),
            stacked=stacked,
            known=None if self.known is None else Known(self.known.outputs),
            _held={},
            _tried=False,
            _allowed=None,
            _measured={},
        )

    def holding(self, held: Feeds) -> BoundScore:
        """Return the score of which some places cannot be varied: what a method puts there is not looked at.

        Args:
            held: By explained value, where it stays as it is: truth values that fit its rows.
        """
        return self._varied(_held=held)

    def with_feeds(self, feeds: Feeds) -> BoundScore:
        """Return the score of other examples: of each row of the feeds, which stand in the place of this score's."""
        if self.stacked:
            self.rows_allowed()  # what the model lets is found out on the call itself
        copies = _count(feeds) // self.examples
        return self._varied(
            _feeds=feeds, targets=[*self.targets] * copies, examples=self.examples * copies, known=None, _number=None
        )

    def _varied(self, **changes: Any) -> BoundScore:
        """Return the same score but for some of its parts."""
        other = copy.copy(self)
        vars(other).update({"_prints": None, "_compared": None} | changes)
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
        self, names: Sequence[str], feeds: Feeds, rules: Rules, reference: Feeds | None, relevance: bool
    ) -> Feeds:
        """Return the derivatives by some values of the graph, inputs or not."""
        if rules is None and not relevance and self._is_recorded(names, feeds):
            return self._from_record()
        if rules is not None and self._is_recorded(names, feeds, rules):
            return self._from_ruled_record(rules, reference, relevance)
        self._require_gradients()

        def work(rows: Feeds, start: int) -> Feeds:
            beside = None if reference is None else _rows(reference, start, _count(rows))
            return self._gradients(names, rows, start, rules, beside, relevance)

        return _joined(self._chunked("gradients", feeds, work))

    def constant(self, name: str) -> Tensor | None:
        """Return the constant of an ONNX name, None where the name is of something computed or fed."""
        self._require_gradients()
        array = self.engine.constants.get(name)  # type: ignore[attr-defined]
        return None if array is None else on_device(array, torch.device(self.engine.device))

    def normal(self, feeds: Feeds, draw: int = 0) -> Feeds:
        """Return standard normal noise shaped like the feeds, seeded by each example's own values."""
        noise: dict[str, list[Tensor]] = {name: [] for name in feeds}
        for generator in self.generators(feeds, draw):
            for name, value in feeds.items():
                dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
                noise[name].append(torch.randn(value.shape[1:], generator=generator, dtype=dtype))
        return {name: torch.stack(rows).to(feeds[name].device, feeds[name].dtype) for name, rows in noise.items()}

    def uniform(self, feeds: Feeds, count: int, draw: int = 0) -> Tensor:
        """Return numbers from 0 up to 1 for each row, shape [rows, count], seeded by each example's own values."""
        sources = self.generators(feeds, draw)
        return torch.stack([torch.rand(count, generator=source, dtype=torch.float64) for source in sources])

    def generators(self, feeds: Feeds, draw: int = 0) -> list[torch.Generator]:
        """Return a source of random numbers for each row, on the CPU, seeded by the row's own values."""
        return [torch.Generator().manual_seed(_seed(self.seed, draw, values)) for values in self._fingerprints(feeds)]

    def once(self, work: Callable[[], Result]) -> Result:
        """Return what the work gives; a trace does it at once, and keeps what comes out."""
        return work()

    def generator(self, draw: int = 0) -> torch.Generator:
        """Return a source of random numbers, on the CPU, seeded by the score's seed alone."""
        return torch.Generator().manual_seed(_seed(self.seed, draw, b""))

    def _fingerprints(self, feeds: Feeds) -> list[bytes]:
        """Return a hash of each row's values; those of the call itself are made once."""
        if not _are_same(feeds, self._feeds):
            return _fingerprints(feeds)
        if self._prints is None:
            self._prints = _fingerprints(feeds)
        return self._prints

    def _chunked(self, kind: str, feeds: Feeds, work: Callable[[Feeds, int], Result]) -> Iterator[Result]:
        """Do a kind of work a few rows at a time; where memory runs out, with half as many."""
        count = _count(feeds)
        start = 0
        if self.known is not None:
            self.known.record = None
        while start < count:
            size = self._call_size(kind, feeds, count)
            try:
                yield self._measuring(kind, feeds, work, start, size)
            except (torch.OutOfMemoryError, MemoryError) as error:
                if size == 1 or self.rows_allowed() is not None:
                    raise ResourceError(
                        f"out of memory with {size} row(s) at a time",
                        where=self.engine.device,
                        hint="use a smaller input, or -d cpu",
                    ) from error
                self.rows = size // 2
                continue
            start += size

    def _measuring(
        self, kind: str, feeds: Feeds, work: Callable[[Feeds, int], Result], start: int, size: int
    ) -> Result:
        """Do the work for some rows; where more follow, find out first how many bytes a row computes."""
        rows = _rows(feeds, start, size)
        settled = self.rows or kind in self._measured or start + size >= _count(feeds)
        knows = hasattr(self.engine, "rows_at_once") or not hasattr(self.engine, "gradients")
        if settled or knows or self.rows_allowed() is not None:
            return work(rows, start)
        with Meter() as meter:
            result = work(rows, start)
        self._measured[kind] = more_rows(rows, self.engine.device, meter.bytes // _count(rows))
        return result

    def _call_size(self, kind: str, feeds: Feeds, count: int) -> int:
        if not self.stacked or count == 1:
            return 1
        allowed = self.rows_allowed()
        if allowed is not None:
            return allowed
        return min(count, self.rows or self._measured.get(kind) or self._rows_at_first(feeds))

    def _rows_at_first(self, feeds: Feeds) -> int:
        """Return how many rows to try: as many as the engine knows to be right, or a careful guess."""
        if hasattr(self.engine, "rows_at_once"):
            return int(self.engine.rows_at_once(feeds))
        return first_rows(feeds, self.engine.device)

    def rows_allowed(self) -> int | None:
        """Return how many rows a call must have: None for any number; tried once, on the call itself."""
        if not self._tried:
            divided = self.together < self.examples  # as many rows as the file says, unless its batch can be opened
            self._allowed, self._tried = self.together if divided else self._try_other_size(), True
            if self._allowed is not None and self._go_over_to_many():
                self._allowed = self._try_other_size()
        return self._allowed

    def _go_over_to_many(self) -> bool:
        """Take an engine that answers many examples at once as it answers each alone, where there is one."""
        reopen = getattr(self.engine, "rebatched", None) if self.together == 1 else None
        opened = reopen(self._call(_rows(self._feeds, 0, 1), 0)[0]) if reopen is not None else None
        self.engine = opened or self.engine
        return opened is not None

    def _try_other_size(self) -> int | None:
        """Run the call with other numbers of rows; a model may refuse that, or let rows change each other."""
        with torch.no_grad():
            whole = self._whole()
            try:
                return None if all(_close(*pair) for pair in self._other_sizes(whole)) else 1
            except Exception:  # whatever a model does with a batch it was not exported for
                return self.together

    def _whole(self) -> Tensor:
        """Return the scores of the call itself, as many rows at once as the model takes."""
        if self.known is None or not set(outputs_of(self.targets)) <= set(self.known.outputs):
            starts = range(0, self.examples, self.together)
            with torch.no_grad():
                return torch.cat([self._scores(_rows(self._feeds, at, self.together), at) for at in starts])
        return self._numbers(self.known.outputs, self.targets)

    def _other_sizes(self, whole: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield scores of the same rows in other company, beside what they are in the call."""
        if self.examples == 1:
            other = {name: _rearranged(value) for name, value in self._feeds.items()}
            both = {name: torch.cat([value, other[name]]) for name, value in self._feeds.items()}
            yield self._scores(both, 0), torch.cat([whole, self._scores(other, 0)])
            return
        if self.together < self.examples:
            yield self._scores(_rows(self._feeds, 0, 2), 0), whole[:2]
        for row in (0, self.examples - 1):
            alone = {n: v[row : row + 1] for n, v in self._feeds.items()}
            yield self._scores(alone, row), whole[row : row + 1]

    def _call(self, feeds: Feeds, start: int) -> tuple[Feeds, list[Target]]:
        """Return the engine's whole feeds for some rows, and the targets of the first ones, which come again."""
        feeds = {name: _of_type(value, self._feeds[name].dtype) for name, value in feeds.items()}
        examples = [(start + row) % self.examples for row in range(_count(feeds))]
        for name, held in self._held.items():
            feeds[name] = torch.where(_picked(held, examples), _picked(self._feeds[name], examples), feeds[name])
        fixed = {n: _picked(v, examples) if n in self.batched else v for n, v in self.fixed.items()}
        call = feeds | fixed
        if not self.stacked:
            call = {n: v if n in self.fixed and n not in self.batched else v[0] for n, v in call.items()}
        return call, [self.targets[e] for e in examples[: self.examples]]

    def _scores(self, feeds: Feeds, start: int) -> Tensor:
        call, targets = self._call(feeds, start)
        return self._numbers(self.engine.run(call, outputs_of(targets)), targets)

    def _numbers(self, outputs: Feeds, targets: Sequence[Target]) -> Tensor:
        return value_of(outputs, targets, stacked=self.answers_stacked)

    def _gradients(
        self, names: Sequence[str], feeds: Feeds, start: int, rules: Rules, reference: Feeds | None, relevance: bool
    ) -> Feeds:
        call, targets = self._call(feeds, start)
        gradients: Feeds = self.engine.gradients(  # type: ignore[attr-defined]
            call,
            names,
            lambda outputs: self._numbers(outputs, targets),
            outputs_of(targets),
            rules,
            None if reference is None else self._call(reference, start)[0],
            relevance=relevance,
        )
        return self._with_rows(gradients | self._at_rest(gradients, start, _count(feeds)))

    def _at_rest(self, gradients: Feeds, start: int, count: int) -> Feeds:
        """Return the gradients by values of which some places are held: zero there."""
        examples = [(start + row) % self.examples for row in range(count)]
        return {
            name: gradients[name].masked_fill(_picked(held, examples) if self.stacked else held[0], 0)
            for name, held in self._held.items()
            if name in gradients
        }

    def _activations(self, names: Sequence[str], feeds: Feeds, start: int) -> Feeds:
        with torch.no_grad():
            return self._as_activations(self.engine.run(self._call(feeds, start)[0], names))

    def _from_outputs(self, names: Sequence[str]) -> Feeds:
        assert self.known is not None
        return self._as_activations({name: self.known.outputs[name] for name in names})

    def _as_activations(self, values: Feeds) -> Feeds:
        from onnxsal.importer.values import as_tensor

        return self._with_rows({name: as_tensor(value) for name, value in values.items()})

    def _with_rows(self, values: Feeds) -> Feeds:
        return values if self.stacked else _as_one_row(values)


class Layer:
    """Inner values of the graph: what they are for some feeds, and how the score moves with them."""

    def __init__(self, score: BoundScore, names: tuple[str, ...]) -> None:
        self.score = score
        self.names = names

    def activations(self, feeds: Feeds) -> Feeds:
        """Return the values for every row of the feeds."""
        if self.score._is_known(self.names, feeds):
            return self.score._from_outputs(self.names)
        return _joined(
            self.score._chunked(
                "activations", feeds, lambda rows, start: self.score._activations(self.names, rows, start)
            )
        )

    def gradients(
        self, feeds: Feeds, *, rules: Rules = None, reference: Feeds | None = None, relevance: bool = False
    ) -> Feeds:
        """Return the derivative of every row's score by the values; the rest as in `BoundScore.gradients`."""
        return self.score._gradients_by(self.names, feeds, rules, reference, relevance)


@dataclass(frozen=True)
class Neuron:
    """A number inside the graph: what it is for some feeds, and how the score moves with it.

    Args:
        outer: The explained number.
        score: The number inside, as a function of the same inputs.
        layer: The value that holds it.
    """

    outer: BoundScore
    score: BoundScore
    layer: Layer

    def pulls(self, feeds: Feeds) -> Tensor:
        """Return the derivative of every row's score by the number, shape [rows]."""
        (name,) = self.layer.names
        slopes = self.layer.gradients(feeds)[name]
        chosen = Layer(self.score, self.layer.names).gradients(feeds)[name]  # one at the number, zero elsewhere
        return (slopes * chosen).flatten(1).sum(1)


def _rows(feeds: Feeds, start: int, count: int) -> Feeds:
    return {name: value[start : start + count] for name, value in feeds.items()}


def _are_same(feeds: Feeds, others: Feeds) -> bool:
    """Say whether both hold the same tensors, not only equal ones."""
    return len(feeds) == len(others) and all(value is others.get(name) for name, value in feeds.items())


def _fingerprints(feeds: Feeds) -> list[bytes]:
    """Return a hash of each row's values."""
    columns = [_as_bytes(feeds[name]) for name in sorted(feeds)]
    rows = ([hashlib.sha256(column[row]).digest() for column in columns] for row in range(_count(feeds)))
    return [hashlib.sha256(b"".join(digests)).digest() for digests in rows]


def _as_bytes(value: Tensor) -> Any:
    """Return a value's bytes on the host, one line a row."""
    return value.detach().cpu().contiguous().view(torch.uint8).reshape(len(value), -1).numpy()


def _seed(seed: int, draw: int, values: bytes) -> int:
    digest = hashlib.sha256(f"{seed}/{draw}/".encode() + values).digest()
    return int.from_bytes(digest[:7], "big")


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
    """Return the rows of all parts under each name; of values that have none, the first part's."""
    chunks = list(parts)
    if len(chunks) == 1:
        return chunks[0]
    return {n: torch.cat([chunk[n] for chunk in chunks]) if value.ndim else value for n, value in chunks[0].items()}


def _rearranged(value: Tensor) -> Tensor:
    """Return another example that a model takes too: the values in another order, smaller where they may be."""
    other = value.roll(1, -1) if value.ndim > 1 else value
    return other * 0.5 if value.is_floating_point() else other


def _close(value: Tensor, expected: Tensor) -> bool:
    scale = expected.abs().max().clamp_min(1e-6)
    return value.shape == expected.shape and bool(((value - expected).abs().max() <= INDEPENDENT * scale).item())
