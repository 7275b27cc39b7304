from __future__ import annotations

import math

import numpy as np
import pytest

from onnxsal.measurements import Measurement, deviation_of, mean_of, ranks_of

NAN = float("nan")


def test_the_greatest_is_first_and_equals_share() -> None:
    values = np.array([[3.0, 1.0], [5.0, 1.0], [3.0, 2.0], [0.0, NAN]])
    np.testing.assert_array_equal(ranks_of(values), [[2.5, 2.5], [1, 2.5], [2.5, 1], [4, 4]])


def test_ranks_of_a_column_always_sum_to_the_same() -> None:
    values = np.random.default_rng(0).integers(0, 4, (6, 50)).astype(float)
    values[values == 3] = NAN
    np.testing.assert_array_equal(ranks_of(values).sum(0), 21)


def test_what_has_no_number_does_not_count() -> None:
    values = np.array([1.0, NAN, 3.0])
    assert (mean_of(values), deviation_of(values)) == (2, pytest.approx(math.sqrt(2)))
    assert math.isnan(deviation_of(values[:2]))
    assert math.isnan(mean_of(values[1:2]))


def test_a_number_that_is_none_becomes_text_in_json() -> None:
    meta = Measurement("deletion", {"steps": 5}, False, np.array([NAN]), 0.5).meta
    assert (meta["mean"], meta["deviation"], meta["values"]) == ("nan", "nan", ["nan"])
