"""How the built-in masks cut inputs into features."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

from onnxsal.errors import UsageError
from onnxsal.features import make_features
from onnxsal.types import Feeds


def cut(said: Any, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Return the features of random inputs of some shapes."""
    generator = torch.Generator().manual_seed(0)
    feeds: Feeds = {f"x{i}": torch.rand(shape, generator=generator) for i, shape in enumerate(shapes)}
    return [labels.expand(feeds[name].shape).numpy() for name, labels in make_features(said, feeds).items()]


def test_a_grid_keeps_channels_together_and_cuts_the_rest_at_the_edge() -> None:
    (found,) = cut("grid:2", (2, 3, 4, 5))
    expected = [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5], [3, 3, 4, 4, 5]]
    np.testing.assert_array_equal(found, np.broadcast_to(expected, (2, 3, 4, 5)))


def test_a_grid_may_have_other_sizes_on_other_axes() -> None:
    (found,) = cut("grid:cell=4,5", (1, 8, 10, 3))
    np.testing.assert_array_equal(found[0, :, :, 0], np.kron([[0, 1], [2, 3]], np.ones((4, 5))))
    np.testing.assert_array_equal(found[..., 2], found[..., 0])


def test_a_grid_along_a_signal_is_one_of_stretches() -> None:
    np.testing.assert_array_equal(cut("grid:3", (1, 2, 7))[0], [[[0, 0, 0, 1, 1, 1, 2]] * 2])


@pytest.mark.parametrize("cell", ["0", "2,2,2", "-1"])
def test_cells_that_cut_nothing_are_refused(cell: str) -> None:
    with pytest.raises(UsageError, match=f"cell={cell} does not cut"):
        cut(f"grid:{cell}", (1, 3, 4, 4))


def test_segments_are_equal_stretches_of_the_longest_axis() -> None:
    np.testing.assert_array_equal(cut("segments:3", (1, 2, 6))[0], [[[0, 0, 1, 1, 2, 2]] * 2])
    np.testing.assert_array_equal(cut("segments:2", (1, 5, 2))[0][0, :, 1], [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(cut("segments:9", (1, 4))[0], [[0, 1, 2, 3]])
    with pytest.raises(UsageError, match="too few"):
        cut("segments:0", (1, 4))


def test_columns_are_a_tables_columns_and_a_pictures_channels() -> None:
    np.testing.assert_array_equal(cut("columns", (2, 3))[0], [[0, 1, 2]] * 2)
    np.testing.assert_array_equal(cut("columns", (1, 3, 4, 4))[0][0, :, 1, 2], [0, 1, 2])
    np.testing.assert_array_equal(cut("columns", (1, 5, 4, 3))[0][0, 1, 2], [0, 1, 2])
    np.testing.assert_array_equal(cut("columns", (1, 9, 2))[0][0, 3], [0, 1])


def test_inputs_have_features_of_their_own_but_share_their_tokens() -> None:
    first, second = cut("columns", (1, 3), (1, 2))
    assert (first.tolist(), second.tolist()) == ([[0, 1, 2]], [[3, 4]])
    ids, marks = cut("tokens", (1, 3), (1, 3, 2))
    assert (ids.tolist(), marks[..., 1].tolist()) == ([[0, 1, 2]], [[0, 1, 2]])


def test_elements_are_all_apart() -> None:
    first, second = cut("elements", (2, 2, 3), (2, 2))
    np.testing.assert_array_equal(first, [np.arange(6).reshape(2, 3)] * 2)
    np.testing.assert_array_equal(second, [[6, 7]] * 2)


@pytest.mark.parametrize(
    ("said", "shape", "count"),
    [
        ("auto", (2, 30), 30),
        ("auto:9", (2, 30), 30),
        ("auto", (2, 576), 64),
        ("auto", (2, 3, 224, 224), 64),
        ("auto:9", (2, 3, 224, 224), 9),
        ("auto:10", (2, 8, 12, 3), 9),
        ("auto", (2, 3, 100), 64),
        ("auto:5", (2, 100, 3), 5),
        ("auto", (1, 1, 16, 16, 16), 64),
        ("auto:1", (2, 3, 8, 8), 1),
        ("auto", (2,), 1),
    ],
)
def test_auto_follows_the_rank(said: str, shape: tuple[int, ...], count: int) -> None:
    assert len(np.unique(cut(said, shape)[0])) == count


def test_superpixels_follow_the_colours_of_each_example() -> None:
    halves = torch.zeros(2, 3, 20, 20)
    halves[0, :, :, 7:], halves[1, :, 13:] = 1, 1
    found = make_features("superpixels:9", {"x": halves})["x"].expand(halves.shape)
    for labels, picture in zip(found, halves, strict=True):
        patches = labels.unique()
        assert 4 <= len(patches) <= 9
        assert all(len(picture[labels == patch].unique()) == 1 for patch in patches)
    last = make_features("superpixels:9", {"x": halves.movedim(1, -1)})["x"]
    torch.testing.assert_close(last.movedim(-1, 1), found[:, :1])


def test_superpixels_do_not_depend_on_the_company() -> None:
    pictures = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    whole = make_features("superpixels:9,compactness=1", {"x": pictures})["x"]
    alone = make_features("superpixels:9,compactness=1", {"x": pictures[1:2]})["x"]
    torch.testing.assert_close(alone, whole[1:2])


def test_superpixels_of_a_table_are_refused() -> None:
    with pytest.raises(UsageError, match="no picture"):
        cut("superpixels", (2, 5))


def test_superpixels_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(UsageError, match=r"onnxsal\[images\]"):
        cut("superpixels", (1, 3, 8, 8))
