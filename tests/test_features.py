"""From what a user says of features to a number for each element."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onnxsal.entries import MaskMaker
from onnxsal.errors import InputError, PluginError, UsageError
from onnxsal.features import check_features, make_features
from onnxsal.plugins import Provider, registry

X = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
LABELS = np.array([[7, 7, 7, 3, 3], [7, 7, 7, 3, 3], [0, 0, 0, 3, 3], [0, 0, 0, 3, 3]], np.uint8)
NUMBERS = np.array([[2, 2, 2, 1, 1], [2, 2, 2, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]])


def features(spec: Any, x: torch.Tensor = X) -> np.ndarray:
    return make_features(spec, {"x": x})["x"].expand(x.shape).numpy()


@pytest.mark.parametrize("spec", [LABELS, {"x": LABELS}, torch.from_numpy(LABELS), LABELS.astype(float), LABELS[None]])
def test_labels_are_counted_from_zero_and_shaped_like_the_feeds(spec: Any) -> None:
    np.testing.assert_array_equal(features(spec), np.broadcast_to(NUMBERS, X.shape))


def test_labels_of_a_picture_whose_colours_come_last() -> None:
    x = torch.zeros(1, 4, 5, 3)
    np.testing.assert_array_equal(features(LABELS, x)[0, :, :, 2], NUMBERS)


def test_each_example_is_counted_by_itself() -> None:
    found = features(np.array([[[[5]]], [[[9]]]]))
    assert not found.any()


def test_a_feature_may_span_inputs() -> None:
    feeds = {"a": torch.zeros(2, 2), "b": torch.zeros(2, 3)}
    found = make_features({"a": [4, 8], "b": [8, 8, 6]}, feeds)
    assert found["a"].tolist() == [[0, 2]]  # one row for all examples
    assert found["b"].tolist() == [[2, 2, 1]]


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png"])
def test_labels_come_from_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    match suffix:
        case ".npy":
            np.save(path, LABELS)
        case ".npz":
            np.savez(path, x=LABELS)
        case _:
            Image.fromarray(LABELS).save(path)
    for spec in (str(path), path):
        np.testing.assert_array_equal(features(spec), np.broadcast_to(NUMBERS, X.shape))


def test_each_colour_of_a_picture_is_a_feature(tmp_path: Path) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    Image.fromarray(colours[NUMBERS]).save(tmp_path / "labels.png")
    found = features(str(tmp_path / "labels.png"))[0, 0]
    pairs = {(int(a), int(b)) for a, b in zip(found.flat, NUMBERS.flat, strict=True)}
    assert len(pairs) == 3


@pytest.mark.parametrize(
    ("spec", "fault", "says"),
    [
        (np.zeros((4, 4)), InputError, r"labels of shape \[4, 4\] do not fit input 'x' of shape \[2, 3, 4, 5\]"),
        (np.zeros((3, 3, 4, 5)), InputError, "do not fit"),
        (np.full((4, 5), 0.5), InputError, "no whole numbers"),
        ({"y": LABELS}, InputError, "nothing of input 'x'"),
        ("gird", UsageError, "did you mean 'grid'"),
        ("grid:sell=3", UsageError, "did you mean 'cell'"),
        ("grid:wide", UsageError, "not a value"),
        ("tokens:3", UsageError, "takes no options"),
        ("no/such.png", InputError, "no such file"),
        ("no/such.npy", InputError, "no such file"),
    ],
)
def test_masks_that_do_not_fit_are_refused(spec: Any, fault: type[Exception], says: str) -> None:
    with pytest.raises(fault, match=says):
        features(spec)


@pytest.mark.parametrize("said", ["gird", "grid:sell=3", "grid:wide"])
def test_wrong_names_are_refused_before_anything_runs(said: str) -> None:
    with pytest.raises(UsageError):
        check_features(said)


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.png").write_bytes(b"no")
    with pytest.raises(InputError, match="no picture"):
        features(str(tmp_path / "labels.png"))


def test_one_mask_for_two_inputs_is_refused() -> None:
    with pytest.raises(UsageError, match="one mask for 2 inputs: a, b"):
        make_features(LABELS, {"a": X, "b": X})


@pytest.fixture
def plugin() -> Iterator[Any]:
    yield lambda name, make: registry().add("masks", MaskMaker(name, make), Provider("acme", "1", "acme"))
    registry.cache_clear()


def test_a_plugin_cuts_as_it_likes_and_is_named_where_it_fails(plugin: Any) -> None:
    plugin("halves", lambda feeds: {n: torch.arange(v.shape[-1]) >= 2 for n, v in feeds.items()})
    np.testing.assert_array_equal(features("halves")[0, 0, 0], [0, 0, 1, 1, 1])
    plugin("broken", lambda _: {})
    with pytest.raises(PluginError, match="'broken' of acme 1"):
        features("broken")
