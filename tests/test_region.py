from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxsal.errors import InputError
from onnxsal.region import check_region

FEEDS = {"image": np.zeros((2, 3, 4, 5), np.float32), "table": np.zeros((2, 3), np.float32)}
MARKED = np.zeros((2, 4, 5), bool)
MARKED[0, 1, 2] = MARKED[1, 3, 4] = True


@pytest.mark.parametrize(
    "region",
    [
        np.broadcast_to(MARKED[:, None], (2, 3, 4, 5)),
        MARKED[:, None],
        MARKED,
        MARKED.astype(np.float32) * 255 - 1,
        MARKED.astype(np.uint8).tolist(),
    ],
)
def test_axes_may_be_left_out(region: Any) -> None:
    found = check_region({"image": region}, FEEDS)["image"]
    assert found.dtype == bool
    np.testing.assert_array_equal(found, np.broadcast_to(MARKED[:, None], (2, 3, 4, 5)))


def test_one_region_may_be_for_all_examples() -> None:
    found = check_region({"image": MARKED[0]}, FEEDS)["image"]
    np.testing.assert_array_equal(found[1, 2], MARKED[0])
    np.testing.assert_array_equal(check_region({"table": [1, 0, 1]}, FEEDS)["table"], [[1, 0, 1]] * 2)


def test_colours_may_come_last() -> None:
    found = check_region({"x": MARKED}, {"x": np.zeros((2, 4, 5, 3))})["x"]
    np.testing.assert_array_equal(found, np.broadcast_to(MARKED[..., None], (2, 4, 5, 3)))


@pytest.mark.parametrize(
    ("region", "told"),
    [
        ({"picture": MARKED}, "no input 'picture'"),
        ({"image": MARKED[:, :3]}, r"shape \[2, 3, 5\] does not fit shape \[2, 3, 4, 5\]"),
        ({"image": 1}, "does not fit"),
        ({"image": [["a"]]}, "marks nothing"),
    ],
)
def test_what_does_not_fit_is_refused(region: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_region(region, FEEDS)
