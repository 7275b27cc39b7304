"""The gradient of every operator, in every version and mode, is what small differences of its answer say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from onnxsal.importer.lookup import default_lookup
from onnxsal.importer.operator import Operator
from tests.oracle.gradients import DRAWN, EXCUSED, FLAT, STEPS, Slopes, load_families
from tests.oracle.slopes import check, check_layer, compare, values_of

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

EXAMPLES = 20
"""How many nodes are drawn for an operator in a round."""
ROUNDS = 12
"""How many rounds there are at most until every attribute and every mode has occurred."""

load_families()
DIFFERENTIABLE = [operator for operator, _ in default_lookup() if operator.differentiable]
TRIED = [operator for operator in DIFFERENTIABLE if (operator.domain, operator.name) in DRAWN]


def label(operator: Operator) -> str:
    return f"{operator.domain}{'.' * bool(operator.domain)}{operator.name}-{operator.since}"


@pytest.mark.parametrize("operator", TRIED, ids=label)
def test_the_gradient_is_the_difference(operator: Operator) -> None:
    slopes = DRAWN[operator.domain, operator.name]
    seen: dict[str, set[Any]] = {}
    lengths: list[float] = []

    def run(data: st.DataObject) -> None:
        case = slopes.make(data.draw, operator)
        for name, value in values_of(case).items():
            seen.setdefault(name, set()).add(value)
        lengths.append(check(case, operator, seed=1))
        check_layer(case, operator, seed=2)

    for round_ in range(ROUNDS):
        drawn(run, round_)
        if not missing(operator, slopes, seen):
            break
    assert missing(operator, slopes, seen) == {}, "attributes, or modes of them, that no node gave"
    assert max(lengths) > 0, "declared to have a gradient, and has none"


def drawn(run: Callable[[st.DataObject], None], number: int) -> None:
    """Run on examples, the same ones for the same number."""
    chosen = settings(max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    seed(number)(chosen(given(st.data())(run)))()


def missing(operator: Operator, slopes: Slopes, seen: dict[str, set[Any]]) -> dict[str, Any]:
    """Return the attributes of which no value was tried, and the modes that were not."""
    wanted = {n: slopes.modes.get(n, frozenset()) for n in operator.attributes if n not in slopes.unused}
    return {n: modes - seen.get(n, set()) for n, modes in wanted.items() if n not in seen or modes - seen[n]}


def test_every_operator_with_a_gradient_is_tried_or_excused() -> None:
    named = {(operator.domain, operator.name) for operator in DIFFERENTIABLE}
    assert sorted(named - set(DRAWN) - set(EXCUSED)) == []
    assert sorted((set(DRAWN) | set(EXCUSED)) - named) == []
    assert sorted(set(DRAWN) & set(EXCUSED)) == []


@pytest.mark.parametrize("factor", [1.001, -1.0, 0.0, float("nan")])
def test_the_checker_notices_a_wrong_factor(factor: float) -> None:
    class Wrong(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (x.sin().detach() + factor * (x.sin() - x.sin().detach()),)

    with pytest.raises(AssertionError):
        compare(Wrong(), [torch.linspace(0.1, 1, 5, dtype=torch.float64)], seed=0)


STEPPING = [operator for operator, _ in default_lookup() if not operator.differentiable]


@pytest.mark.parametrize("operator", [o for o in STEPPING if (o.domain, o.name) in STEPS], ids=label)
def test_nothing_moves_between_jumps(operator: Operator) -> None:
    def run(data: st.DataObject) -> None:
        assert check(STEPS[operator.domain, operator.name](data.draw, operator), operator, seed=1) == 0

    drawn(run, 0)


def test_every_operator_without_a_gradient_is_tried_or_takes_no_floats() -> None:
    named = {(operator.domain, operator.name) for operator in STEPPING}
    assert sorted(named ^ (set(STEPS) | set(FLAT))) == []
    assert sorted(set(STEPS) & set(FLAT)) == []
