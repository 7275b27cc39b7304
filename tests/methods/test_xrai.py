"""XRAI: which region comes first, and what a picture of it shows."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from onnx import helper

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.methods import xrai
from tests import models_for_tests as tiny
from tests.methods.models import inputs_of, model


def one_by_one(pixels: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The paper's algorithm: of the regions that still bring enough, take the one of the highest mean, again."""
    strengths, taken = np.full(pixels.shape, np.nan), np.zeros(pixels.shape, bool)
    while True:
        news = [mask & ~taken for mask in masks]
        means = [pixels[new].mean() if new.sum() > xrai.FEWEST else -np.inf for new in news]
        if max(means) == -np.inf:
            strengths[~taken] = pixels[~taken].mean() if not taken.all() else 0
            return strengths
        new = news[int(np.argmax(means))]
        strengths[new], taken = max(means), taken | new


def test_regions_are_taken_as_the_papers_loop_takes_them() -> None:
    random = np.random.default_rng(0)
    pixels = random.normal(size=(40, 30))
    corners = random.integers(0, [30, 20], size=(25, 2))
    masks = np.zeros((25, 40, 30), bool)
    for mask, (row, column) in zip(masks, corners, strict=True):
        mask[row : row + random.integers(8, 20), column : column + random.integers(8, 20)] = True
    assert masks.any(0).mean() < 1  # some pixels are in no region
    found = xrai.regions(pixels, masks)
    np.testing.assert_allclose(found, one_by_one(pixels, masks), rtol=1e-9, atol=1e-12)
    assert len(np.unique(found)) > 5


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_the_patch_that_speaks_stands_out(last: bool) -> None:
    """The score is the mean of one white patch; each of the other three has a colour of its own."""
    picture = np.zeros((1, 3, 48, 48), np.float32)
    picture[:, :, 24:, :24] = 1
    for row, column, channel in ((0, 0, 0), (0, 24, 1), (24, 24, 2)):
        picture[:, channel, row : row + 24, column : column + 24] = 1
    weight = np.zeros((1, 3, 48, 48), np.float32)
    weight[:, :, 24:, :24] = 1 / 24**2
    if last:
        picture, weight = (np.ascontiguousarray(np.moveaxis(value, 1, -1)) for value in (picture, weight))
    nodes = [
        helper.make_node("Mul", ["x", "weight"], ["product"]),
        helper.make_node("ReduceSum", ["product", "axes"], ["sum"], keepdims=0),
        helper.make_node("Unsqueeze", ["sum", "one"], ["y"]),
    ]
    constants = {"weight": weight, "axes": np.array([1, 2, 3]), "one": np.array([1])}
    shape = ["N", *picture.shape[1:]]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, shape)], [("y", tiny.FLOAT, ["N", 1])], constants)
    values = onnxsal.explain(proto, {"x": picture}, method="xrai", target=0, steps=4).values["x"]
    shown = values[0, ..., 0] if last else values[0, 0]
    assert (np.ptp(values, axis=-1 if last else 1) == 0).all()
    assert shown[30:44, 4:18].min() > 10 * np.abs(shown[4:18, 4:44]).max()


def test_what_is_no_picture_is_refused() -> None:
    for kind in ("mlp", "two_inputs"):
        with pytest.raises(UsageError, match="one picture"):
            onnxsal.explain(model(kind), inputs_of(kind), method="xrai", verify=False)


def test_without_scikit_image_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def lacking(name: str, *arguments: object, **options: object) -> object:
        if name.startswith("skimage"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(UsageError) as refusal:
        onnxsal.explain(model("cnn"), inputs_of("cnn"), method="xrai", verify=False)
    assert "onnxsal[images]" in str(refusal.value.hint)
