"""What the gradients of operators are tried on: one file an operator family, each a set of functions that draw nodes.

    @slopes("LeakyRelu")
    def leaky(draw: Draw, op: Operator) -> Case:
        return Case([numbers(draw, shape(draw))], options(draw, op, alpha=st.floats(0.1, 2)))

A function declared with `slopes` serves the operators it names, every version of them; where it draws attributes with
`options`, those that a version does not know are left out. Inputs stay away from kinks by far more than the
differences' step. `excuses` names the operators that cannot be tried, and why.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st

from onnxsal.importer.operator import Operator

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]
Make: TypeAlias = "Callable[[Draw, Operator], Case]"
Key: TypeAlias = tuple[str, str]
"""An operator's domain and name."""


@dataclass
class Case:
    """A node to differentiate: inputs (float64 ones are moved, None is absent), attributes, and how many outputs.

    ``held`` are floating inputs that are constants, ``fed`` other inputs that are not; ``single`` says that the
    operator answers in single precision by its specification, so that differences have to be taken further apart.
    """

    inputs: Sequence[np.ndarray | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    held: Iterable[int] = ()
    fed: Iterable[int] = ()
    single: bool = False


@dataclass(frozen=True)
class Slopes:
    """How nodes of some operators are drawn, and which attributes' values have to be among them."""

    make: Make
    modes: Mapping[str, frozenset[Any]]
    unused: Mapping[str, str]


DRAWN: dict[Key, Slopes] = {}
EXCUSED: dict[Key, str] = {}
STEPS: dict[Key, Make] = {}
FLAT: dict[Key, str] = {}


def slopes(
    *names: str,
    domain: str = "",
    modes: Mapping[str, Iterable[Any]] | None = None,
    unused: Mapping[str, str] | None = None,
) -> Callable[[Make], Make]:
    """Declare that a function draws nodes of the named operators.

    Args:
        names: The operators.
        domain: Their domain.
        modes: Values of attributes that have to occur, where the version knows the attribute.
        unused: Attributes that are never given, and why; every other one is.
    """

    def declare(make: Make) -> Make:
        known = {name: frozenset(values) for name, values in (modes or {}).items()}
        DRAWN.update({(domain, name): Slopes(make, known, unused or {}) for name in names})
        return make

    return declare


def excuses(reason: str, *names: str, domain: str = "") -> None:
    """Say why operators with a gradient cannot be tried."""
    EXCUSED.update({(domain, name): reason for name in names})


def steps(*names: str, domain: str = "") -> Callable[[Make], Make]:
    """Declare that a function draws nodes of operators that are steps: between their jumps nothing moves."""

    def declare(make: Make) -> Make:
        STEPS.update({(domain, name): make for name in names})
        return make

    return declare


def takes_no_floats(reason: str, *names: str, domain: str = "") -> None:
    """Say why there is nothing to move at operators without a gradient."""
    FLAT.update({(domain, name): reason for name in names})


def load_families() -> None:
    """Import every file of this folder."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


# what families draw with


def numbers(
    draw: Draw, sizes: Sequence[int], low: float = -2.0, high: float = 2.0, away: Sequence[float] = (0.0,)
) -> np.ndarray:
    """Draw numbers that are all different, and none near one of those they have to stay away from."""
    random = generator(draw)
    count = int(np.prod(sizes))
    candidates = np.linspace(low, high, 2 * count + 40)
    candidates += (high - low) / len(candidates) * random.uniform(-0.3, 0.3, len(candidates))
    allowed = candidates[np.all([np.abs(candidates - kink) > 0.03 for kink in (*away, np.inf)], 0)]
    return random.choice(allowed, count, replace=False).reshape(sizes)


def generator(draw: Draw) -> np.random.Generator:
    return np.random.default_rng(draw(st.integers(0, 2**16)))


def shape(draw: Draw, rank: tuple[int, int] = (1, 4), size: tuple[int, int] = (1, 4)) -> list[int]:
    """Draw dimensions."""
    return draw(st.lists(st.integers(*size), min_size=rank[0], max_size=rank[1]))


def options(draw: Draw, op: Operator, **choices: Any) -> dict[str, Any]:
    """Draw those attributes that the operator's version knows; optional ones are left out at times."""
    chosen = {}
    for name, choice in choices.items():
        if name not in op.attributes:
            continue
        if op.attributes[name] is inspect.Parameter.empty or draw(st.integers(0, 3)):
            chosen[name] = draw(choice) if isinstance(choice, st.SearchStrategy) else choice
    return chosen


def chance(draw: Draw) -> bool:
    return draw(st.booleans())


def maybe(draw: Draw, make: Callable[[], np.ndarray]) -> np.ndarray | None:
    """Draw an optional input."""
    return make() if chance(draw) else None


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


flag = st.integers(0, 1)
one_of = st.sampled_from
