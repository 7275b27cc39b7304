"""A call of more examples than the file was exported for: made as several calls, whose answers are put together.

Where a file fixes the first axis of its inputs, that axis may count examples, nodes of a graph or frames. Nothing in
the file says which; so several times as many rows are taken as examples, and refused where an answer has no row for
each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxsal.errors import InputError
from onnxsal.feeds import fits
from onnxsal.types import Feeds, Port


@dataclass(frozen=True)
class Calls:
    """The calls of the model that a call of the user's is.

    Args:
        ports: The inputs as the whole call has to fit them.
        size: How many rows each call has; None where the whole call is one.
        count: How many calls there are.
        inputs: The inputs that are divided between the calls; the others are the same in each.
    """

    ports: tuple[Port, ...]
    size: int | None = None
    count: int = 1
    inputs: frozenset[str] = frozenset()

    def of(self, feeds: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what each call is fed."""
        return [dict(feeds) | self._rows(feeds, call) for call in range(self.count)]

    def _rows(self, feeds: Mapping[str, Any], call: int) -> dict[str, Any]:
        start, size = call * (self.size or 0), self.size or 0
        return {name: feeds[name][start : start + size] for name in self.inputs}

    def answers(self, run: Callable[[Feeds], Feeds], feeds: Feeds) -> Feeds:
        """Return the model's answers to the whole call.

        Args:
            run: Runs the model.
            feeds: The whole call.
        """
        if self.size is None:
            return run(feeds)
        each = [run(part) for part in self.of(feeds)]
        return {name: _together([answers[name] for answers in each]) for name in each[0]}

    def require_examples(self, explained: Sequence[str], stacked: bool, output: str) -> None:
        """Refuse to divide a call along an axis that does not count examples.

        Args:
            explained: The inputs that are explained.
            stacked: Whether these and the explained output have as many rows as there are examples.
            output: The explained output.

        Raises:
            InputError: an explained input is the same in every call, or the output has no row for each example.
        """
        apart = [name for name in explained if name not in self.inputs]
        if self.size is None or (stacked and not apart):
            return
        names = sorted(self.inputs)
        what = f"input {apart[0]!r}" if apart else f"output {output!r}"
        only = f"; or explain only {' '.join(f'--explain-input {name}' for name in names)}" if apart else ""
        raise InputError(
            f"{self.size * self.count} rows, the model takes {self.size}, and the first axis of {what} does not count "
            "examples",
            where=f"input {names[0]!r}",
            hint=f"the model was exported for batches of exactly {self.size}: explain as many at a time{only}",
        )


def calls_of(ports: Sequence[Port], feeds: Mapping[str, Any]) -> Calls:
    """Return the calls that feeds are: one, or several where fixed first axes are given several times their rows.

    All inputs of one fixed first axis have to be given as many times; what is given otherwise is left to
    `onnxsal.feeds.check_feeds` to refuse.

    Args:
        ports: The model's inputs.
        feeds: Arrays, tensors or lists by input name.
    """
    given = {port.name: port for port in ports if port.name in feeds and port.shape}
    shapes = {name: np.shape(feeds[name]) for name in given}
    times = {name: _times(port, shapes[name]) for name, port in given.items()}
    divided = frozenset(name for name in given if times[name] > 1)
    kinds = {(shapes[name][0] // times[name], times[name]) for name in divided}
    if len(kinds) != 1:
        return Calls(tuple(ports))
    ((size, count),) = kinds
    if any(_might_count(given[name], shapes[name], size, count) for name in given if name not in divided):
        return Calls(tuple(ports))
    return Calls(tuple(_opened(port) if port.name in divided else port for port in ports), size, count, divided)


def _times(port: Port, shape: tuple[int, ...]) -> int:
    """Return how many times its rows an input with a fixed first axis is given; 1 where it does not fit so."""
    first, *rest = port.shape or (None,)
    if not isinstance(first, int) or first < 1 or not shape or not fits(shape[1:], rest) or shape[0] % first:
        return 1
    return shape[0] // first


def _might_count(port: Port, shape: tuple[int, ...], size: int, count: int) -> bool:
    """Say whether an input that is not divided might have rows for each example: nobody can say, so nothing is."""
    first = port.shape[0] if port.shape else None
    return first == size or (not isinstance(first, int) and shape[:1] == (size * count,))


def _opened(port: Port) -> Port:
    return replace(port, shape=(None, *(port.shape or ())[1:]))


def _together(values: Sequence[Any]) -> Any:
    """Return the answers of all calls below one another.

    Answers that have no rows are the first call's; of answers of different shapes no row is taken, since nobody could
    say which are whose.
    """
    import torch

    first = values[0]
    if not isinstance(first, torch.Tensor) or first.ndim == 0:
        return first
    return torch.cat(list(values)) if len({value.shape for value in values}) == 1 else first[:0]
