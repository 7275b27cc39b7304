from __future__ import annotations

import numpy as np
import pytest

from onnxsal.compiler.agreement import ACROSS_A_KINK, Agreement
from onnxsal.compiler.check import _excused

EXPECTED = np.array([[1.0, -2.0], [0.5, 1.0], [2.0, 0.0]])


def compared(*gaps: float) -> Agreement:
    """Return the agreement of examples that are so far off, as parts of the scale."""
    agreement = Agreement(1e-4)
    got = EXPECTED.copy()
    got[:, 0] += np.abs(EXPECTED).max() * np.array(gaps)
    agreement.compare(got, EXPECTED, stacked=True)
    return agreement


def test_what_agrees_is_clear() -> None:
    agreement = compared(0, 5e-5, -5e-5)
    assert agreement.is_clear
    assert agreement.holds
    assert agreement.worst == pytest.approx(5e-5)


def test_some_examples_across_a_kink_are_excused_and_counted() -> None:
    agreement = compared(0, 0.1, 0.05)
    assert not agreement.is_clear
    assert agreement.holds
    assert _excused(agreement) == {"examples": 2, "of": 3, "largest": pytest.approx(0.1)}


@pytest.mark.parametrize(
    "gaps", [(0.1, 0.1, 0.1), (0, 0, ACROSS_A_KINK * 1.01), (0, 0, float("nan"))], ids=["all", "far", "nan"]
)
def test_a_wrong_formula_is_not_excused(gaps: tuple[float, ...]) -> None:
    agreement = compared(*gaps)
    assert not agreement.is_clear
    assert not agreement.holds


def test_another_shape_is_no_kink() -> None:
    agreement = Agreement(1e-4)
    agreement.compare(EXPECTED[:2], EXPECTED, stacked=True)
    assert not agreement.holds


@pytest.mark.parametrize(("slip", "holds"), [(1e-6, True), (1e-3, False)])
def test_on_the_same_side_of_all_kinks_everything_agrees(slip: float, holds: bool) -> None:
    agreement = Agreement(1e-4)
    expected = np.ones((3, 4))
    agreement.compare(expected + 0.01, expected, stacked=True)
    assert not agreement.holds
    agreement.compare_on_the_same_side(expected + slip, expected)
    assert agreement.holds is holds


def test_what_is_far_off_is_wrong_on_any_side() -> None:
    agreement = Agreement(1e-4)
    agreement.compare(np.full((1, 4), 1.5), np.ones((1, 4)), stacked=True)
    agreement.compare_on_the_same_side(np.ones((1, 4)), np.ones((1, 4)))
    assert not agreement.holds


def test_most_that_is_off_by_more_than_a_few_units_is_wrong_on_any_side() -> None:
    agreement = compared(0.1, 0.1, 0)
    agreement.compare_on_the_same_side(EXPECTED, EXPECTED)
    assert not agreement.holds
    agreement = compared(0.1, 0.01, 0.01)
    agreement.compare_on_the_same_side(EXPECTED, EXPECTED)
    assert agreement.holds
