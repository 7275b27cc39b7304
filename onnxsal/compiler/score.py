"""The score a method meets while it is traced: every row at once, the target resolved in the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing

from onnxsal.compiler.draws import Counted, Source, require_input
from onnxsal.compiler.target import GraphTarget
from onnxsal.errors import CompileFault
from onnxsal.score import BoundScore, Result, Runner
from onnxsal.target import resolve
from onnxsal.types import Feeds, Target


class GraphScore(BoundScore):
    """The explained number as a graph computes it: no tries, no halving, nothing that depends on values.

    Args:
        engine: Runs the model.
        feeds: All inputs.
        explained: The inputs that are explained.
        target: Which number.
        places: Where each example's number lies, for each part of the target.
        stacked: Whether dim 0 of inputs and outputs counts the examples.
        batched: Names of the fixed inputs that have one row per example.
        together: Whether the model takes any number of rows at a time; it is given the examples one call after the
            other where not.
        seed: Where random numbers start.
        source: Where they come from, if they are not settled by the seed.
    """

    def __init__(
        self,
        engine: Runner,
        feeds: Feeds,
        explained: Sequence[str],
        target: GraphTarget,
        places: Sequence[Tensor | None],
        *,
        stacked: bool,
        batched: frozenset[str],
        together: bool,
        seed: int,
        source: Source | None = None,
    ) -> None:
        outputs = [Target(name) for name in target.outputs]
        super().__init__(engine, feeds, explained, outputs, stacked=stacked, batched=batched, seed=seed)
        self.target = target
        self.places = places
        self.together = together
        self.source = source
        self.examples = feeds[explained[0]].shape[0] if stacked else 1
        self._bare = {id(row): feeds[name] for name, row in self._feeds.items()}

    def with_feeds(self, feeds: Feeds) -> GraphScore:
        """Return the score of other examples, k rows for each of this score's."""
        changes: dict[str, Any] = {"_feeds": feeds}
        if self.together:  # else each call still has as many rows as there are examples
            copies = _count(feeds) // self.examples
            changes |= {
                "examples": self.examples * copies,
                "places": [place if place is None else place.repeat(copies) for place in self.places],
                "fixed": {n: self._copied(v, copies) if n in self.batched else v for n, v in self.fixed.items()},
            }
        found = self._varied(**changes)
        assert isinstance(found, GraphScore)
        return found

    def _resolved(self, said: str, values: Feeds) -> list[list[Target]]:
        """Return the targets of one example: the file is for any number of them."""
        one = {name: value[:1] for name, value in values.items()} if self.stacked else values
        return resolve(said, one, 1, stacked=self.stacked)

    def _of(self, targets: Sequence[Target]) -> GraphScore:
        (target,) = targets
        found = self._varied(target=GraphTarget(target), places=[None], targets=[Target(target.output)])
        assert isinstance(found, GraphScore)
        return found

    def normal(self, feeds: Feeds, draw: int = 0) -> Feeds:
        """Return standard normal noise; settled, it is alike for every example."""
        if self.source is not None:
            for name in feeds:
                require_input(name, list(self._feeds))
            return {name: self.source.normal(name, value) for name, value in feeds.items()}
        generator = self.generator(draw)
        return {name: self._normal(value, generator).unsqueeze(0).expand_as(value) for name, value in feeds.items()}

    def uniform(self, feeds: Feeds, count: int, draw: int = 0) -> Tensor:
        """Return numbers from 0 up to 1 for each row; settled, they are alike for every example."""
        if self.source is not None:
            return self.source.uniform(_count(feeds), count)
        numbers = torch.rand(count, generator=self.generator(draw), dtype=torch.float64)
        return numbers.expand(_count(feeds), count)

    def _normal(self, value: Tensor, generator: torch.Generator) -> Tensor:
        shape = value.shape[1:]
        if not all(isinstance(size, int) for size in shape):
            raise CompileFault(
                f"the method draws noise for a feed of open sizes {list(shape)}",
                hint="a file of open sizes cannot hold noise; it can take or draw some: --draws input, --draws fresh",
            )
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(value.dtype)

    def once(self, work: Callable[[], Result]) -> Result:
        """Return what the work gives, done outside of the trace."""
        with disable_proxy_modes_tracing(), unset_fake_temporarily():
            return work()

    def generators(self, feeds: Feeds, draw: int = 0) -> list[torch.Generator]:  # noqa: ARG002
        """Return one source of random numbers for all rows: what is drawn stands in the file."""
        return [self.generator(draw)]

    def generator(self, draw: int = 0) -> torch.Generator:
        """Return a source of random numbers that are settled."""
        if isinstance(self.source, Counted):
            self.source.settles = True
        return super().generator(draw)

    def rows_allowed(self) -> int | None:
        """Return what was found out before the trace: None for any number of rows."""
        return None if self.together else self.examples

    def _chunked(self, kind: str, feeds: Feeds, work: Callable[[Feeds, int], Result]) -> Iterator[Result]:  # noqa: ARG002
        if self.together or (isinstance(self.examples, int) and _count(feeds) == self.examples):
            yield work(feeds, 0)
            return
        for call in range(_count(feeds) // self.examples):
            start = call * self.examples
            yield work({name: value[start : start + self.examples] for name, value in feeds.items()}, start)

    def _call(self, feeds: Feeds, start: int) -> tuple[Feeds, list[Any]]:  # noqa: ARG002
        copies = _count(feeds) // self.examples
        fixed = {n: self._copied(v, copies) if n in self.batched else v for n, v in self.fixed.items()}
        call = {n: self._of_type(v, self._feeds[n].dtype) for n, v in feeds.items()} | fixed
        if not self.stacked:
            fixed = {n: v for n, v in call.items() if n in self.fixed and n not in self.batched}
            call = {n: v if n in fixed else self._without_rows(v) for n, v in call.items()}
        return call, list(self.targets)

    @staticmethod
    def _of_type(value: Tensor, dtype: torch.dtype) -> Tensor:
        return value if value.dtype is dtype else value.to(dtype)

    def _without_rows(self, value: Tensor) -> Tensor:
        """Return the one row there is; of an input the input itself, so that it is seen that nothing was changed."""
        bare = self._bare.get(id(value))
        return value[0] if bare is None else bare

    def _at_rest(self, gradients: Feeds, start: int, count: int) -> Feeds:  # noqa: ARG002
        copies = count // self.examples
        held = {n: self._copied(v, copies) if self.stacked else v[0] for n, v in self._held.items()}
        return {name: gradients[name].masked_fill(where, 0) for name, where in held.items() if name in gradients}

    def _copied(self, value: Tensor, copies: int) -> Tensor:
        return value if copies == 1 else value.repeat(copies, *[1] * (value.ndim - 1))

    def _numbers(self, outputs: Feeds, targets: Sequence[Any]) -> Tensor:  # noqa: ARG002
        return self.target.value(outputs, self.places, stacked=self.stacked)


def _count(feeds: Feeds) -> int:
    return next(iter(feeds.values())).shape[0]
