"""From what a user says of a method's options to what the method is handed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from torch import Tensor

from onnxsal.baseline import Generators, check_baseline, make_baseline, make_baselines
from onnxsal.entries import Baseline, Baselines, Entry, Features, InnerMethod, Method, Need
from onnxsal.errors import UsageError
from onnxsal.features import check_features, make_features
from onnxsal.plugins import Provider, registry
from onnxsal.types import Feeds, Score

BASELINE_DRAW = -1
"""Baselines draw other random numbers than methods, whose draws count from 0."""

_CHECKS: dict[Any, Callable[[Any], None]] = {
    Baseline: check_baseline,
    Baselines: check_baseline,
    Features: check_features,
}
_MAKERS: dict[Any, Callable[[Any, Feeds, Generators], Feeds]] = {Baseline: make_baseline, Baselines: make_baselines}
_EXAMPLES_AXIS = {Baseline: 0, Baselines: 1, Features: 0}


@dataclass(frozen=True)
class Outside:
    """The inputs, in whose terms baselines are said, where a method looks at values inside the graph.

    ``score`` is a function of the inputs, ``placed`` returns what rows of them are where the method looks;
    ``of_inputs`` tells the baselines that are said so, where others are said in terms of what the method sees.
    """

    score: Score
    placed: Callable[[Feeds], Feeds]
    of_inputs: Callable[[Any], bool] | None = None

    def holds(self, said: Any) -> bool:
        """Say whether a baseline is said in terms of the inputs."""
        return self.of_inputs is None or self.of_inputs(said)

    def made(self, kind: Any, said: Any) -> Feeds:
        """Return baselines where the method looks; of several, each is a row for every example."""
        made = _made(kind, said, self.score, self.score.feeds)
        if kind is Baseline:
            return self.placed(made)
        count = len(next(iter(made.values())))
        rows = self.placed({name: value.flatten(0, 1) for name, value in made.items()})
        return {name: value.unflatten(0, (count, -1)) for name, value in rows.items()}


def _made(kind: Any, said: Any, score: Score, feeds: Feeds) -> Feeds:
    return _MAKERS[kind](said, feeds, partial(score.generators, feeds, BASELINE_DRAW))


@dataclass(frozen=True)
class Choice:
    """A method as it was asked for, its options checked; an option that is a method is a choice itself."""

    method: Method
    provider: Provider
    options: Mapping[str, Any]

    @property
    def methods(self) -> Iterator[Method]:
        """The method, and those within it."""
        yield self.method
        for inner in self.options.values():
            if isinstance(inner, Choice):
                yield from inner.methods

    @property
    def neediest(self) -> Method:
        """The one of the methods that asks most of an engine."""
        return max(self.methods, key=lambda method: get_args(Need).index(method.needs))

    @property
    def facts(self) -> dict[str, Any]:
        """The options as they are written down; a method within is told with its own options."""
        return {
            name: {"method": value.method.name, **value.facts} if isinstance(value, Choice) else value
            for name, value in self.options.items()
        }

    def arguments(self, score: Score, feeds: Feeds, outside: Outside | None = None) -> dict[str, Any]:
        """Return the options as the method is handed them: baselines and features as tensors, methods as functions."""
        return arguments_of(self.method, self.options, score, feeds, outside)

    def bound(self, score: Score, feeds: Feeds, outside: Outside | None = None) -> Callable[[Score, Feeds], Feeds]:
        """Return the method as a function of a score and k copies of the feeds, whose values may be others."""
        arguments = self.arguments(score, feeds, outside)

        def explain(score: Score, rows: Feeds) -> Feeds:
            copies = _count(rows) // _count(feeds)
            repeated = {name: self._repeated(name, value, copies) for name, value in arguments.items()}
            return self.method.explain(score.with_feeds(rows), rows, **repeated)  # type: ignore[no-any-return]

        return explain

    def _repeated(self, name: str, value: Any, copies: int) -> Any:
        kind = self.method.options[name].type
        if kind not in _EXAMPLES_AXIS:
            return value
        alike = kind is Features  # then one row is for all examples, however many
        return {n: v if alike and len(v) == 1 else _copies(v, copies, _EXAMPLES_AXIS[kind]) for n, v in value.items()}


def choose(name: str, given: Mapping[str, Any]) -> Choice:
    """Return a method with its options; every name in them is looked up.

    Raises:
        UsageError: no such method, baseline or mask, or an option is unknown, missing, or of the wrong type.
    """
    method, provider = registry().find("methods", name)
    return Choice(method, provider, checked(method, given))


def checked(entry: Entry, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry's options, every name in them looked up; errors as for `choose`."""
    options = entry.check_options(dict(given))
    for option in entry.options.values():
        if option.type in _CHECKS:
            _CHECKS[option.type](options[option.name])
        elif option.type is InnerMethod:
            options[option.name] = _inner(options[option.name], option.name)
    return options


def arguments_of(
    entry: Entry, options: Mapping[str, Any], score: Score, feeds: Feeds, outside: Outside | None = None
) -> dict[str, Any]:
    """Return checked options as an entry's function is handed them."""

    def argument(name: str, value: Any) -> Any:
        if isinstance(value, Choice):
            return value.bound(score, feeds, outside)
        kind = entry.options[name].type
        if kind in {Baseline, Baselines} and outside is not None and outside.holds(value):
            return outside.made(kind, value)
        if kind is Features:
            return score.once(lambda: make_features(value, feeds))
        return _made(kind, value, score, feeds) if kind in _MAKERS else value

    return {name: argument(name, value) for name, value in options.items()}


def _inner(said: Any, where: str) -> Choice:
    choice = choose(*named("methods", said, f"option {where}"))
    if choice.method.through:
        raise UsageError(
            f"{choice.method.name} explains a layer and cannot stand within another method",
            where=f"option {where}",
            hint="use it alone, with --layer",
        )
    return choice


def named(kind: str, said: Any, where: str) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the options of an entry that a user asks for, as text or as a pair of both.

    Raises:
        UsageError: no such entry, or neither text nor a pair.
    """
    if isinstance(said, str):
        return registry().parsed(kind, said)
    if isinstance(said, tuple) and len(said) == 2 and isinstance(said[0], str) and isinstance(said[1], Mapping):
        return said
    raise UsageError(
        f"{type(said).__name__} is no {kind.removesuffix('s')}",
        where=where,
        hint="say its name, with options after a colon: integrated_gradients:steps=20",
    )


def _count(feeds: Feeds) -> int:
    return next(iter(feeds.values())).shape[0]


def _copies(value: Tensor, count: int, axis: int) -> Tensor:
    return value.repeat(*(count if a == axis else 1 for a in range(value.ndim)))
