"""Which axes hold places."""

from __future__ import annotations

import pytest

from onnxsal.places import is_table, places


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2,), ()),
        ((2, 7), (1,)),
        ((2, 3, 100), (2,)),
        ((2, 100, 3), (1,)),
        ((2, 8, 8), (2,)),
        ((2, 3, 32, 40), (2, 3)),
        ((2, 1, 28, 28), (2, 3)),
        ((2, 32, 40, 3), (1, 2)),
        ((2, 1, 16, 16, 16), (2, 3, 4)),
        ((2, 2, 4, 16, 16), (2, 3, 4)),
        ((1, 1, 3, 32, 40), (3, 4)),
        ((1, 1, 32, 40, 3), (2, 3)),
        ((1, 1, 576), (2,)),
    ],
)
def test_places_are_found_by_rank_and_size(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    assert places(shape) == axes


def test_few_columns_are_a_table_and_many_a_signal() -> None:
    assert [is_table(shape) for shape in ((3, 30), (3, 576), (3, 30, 1))] == [True, False, False]
