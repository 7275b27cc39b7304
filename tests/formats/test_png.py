"""Pictures of explanations: what is drawn where, in which colours."""

from __future__ import annotations

import io
import json
import os
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onnxsal
from onnxsal.errors import UsageError
from onnxsal.formats import _figure
from onnxsal.formats._colours import DIVERGING, SEQUENTIAL, overlay, scale_of, smoothed
from onnxsal.formats._views import unit, view
from onnxsal.results import render
from onnxsal.types import Attribution, Target
from tests.attributions import attribution

RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


# --- what can be shown ---


@pytest.mark.parametrize(
    ("shape", "kind", "shown"),
    [
        ((2, 3, 8, 10), "image", (8, 10)),
        ((2, 8, 10, 3), "image", (8, 10)),
        ((2, 1, 8, 10), "map", (8, 10)),
        ((2, 7, 8, 10), "map", (8, 10)),
        ((2, 8, 10), "map", (8, 10)),
        ((2, 1, 400), "signal", (1, 400)),
        ((2, 400, 6), "signal", (6, 400)),
        ((2, 6, 400), "signal", (6, 400)),
        ((2, 80, 400), "map", (80, 400)),
        ((2, 400), "signal", (1, 400)),
        ((2, 30), "features", (30,)),
        ((2,), "features", (1,)),
        ((2, 3, 4, 8, 10), "map", (8, 10)),
        ((2, 1, 1, 30), "features", (30,)),
        ((7, 9), "map", (7, 9)),
        ((30,), "features", (30,)),
    ],
)
def test_kind_follows_the_shape(shape: tuple[int, ...], kind: str, shown: tuple[int, ...]) -> None:
    given = attribution({"x": normal(*shape)}, score=np.ones(2 if shape[0] == 2 else 1))
    found = view(given, "x", 0)
    if shape == (2, 1, 8, 10):
        kind = "image"  # its input is known, so that it can be shown in grey
    assert (found.kind, found.values.shape) == (kind, shown)
    total = given.values["x"][0] if shape[0] == 2 else given.values["x"]
    assert found.values.sum() == pytest.approx(total.sum(dtype=np.float64), abs=1e-9)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 4, 5, 3), (2, 4, 5), (2, 20), (2, 60)])
def test_picture_decides_the_plane(shape: tuple[int, ...]) -> None:
    values = normal(*shape)
    picture = RANDOM.integers(0, 256, (2, 4, 5, 3), np.uint8)
    shown = view(attribution({"x": values}, pictures={"x": picture}), "x", 1)
    assert shown.kind == "image"
    np.testing.assert_array_equal(shown.picture, picture[1])
    channels = {(2, 3, 4, 5): 0, (2, 4, 5, 3): 2}.get(shape)
    plane = values[1].astype(np.float64)
    plane = plane.sum(axis=channels) if channels is not None else plane.reshape(4, 5, -1).sum(axis=2)
    np.testing.assert_allclose(shown.values, plane)


def test_picture_of_another_size_is_left_out() -> None:
    shown = view(attribution({"x": normal(2, 7)}, pictures={"x": np.zeros((2, 4, 5, 3), np.uint8)}), "x", 0)
    assert (shown.kind, shown.picture) == ("features", None)


def test_normalised_picture_is_shown_over_its_range() -> None:
    inputs = np.linspace(-2, 2, 2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    shown = view(attribution({"x": normal(2, 3, 4, 5)}, inputs={"x": inputs}), "x", 0)
    assert shown.picture is not None
    assert (shown.picture.min(), shown.picture.max()) == (0, 255)
    assert shown.picture.shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("values", "stretched"),
    [([2, 4, 3], [0, 1, 0.5]), ([5, 5], [0, 0]), ([np.nan, 1, np.inf, 2], [0, 0, 0, 1]), ([np.nan], [0]), ([], [])],
)
def test_unit(values: list[float], stretched: list[float]) -> None:
    assert unit(np.array(values)).tolist() == stretched


# --- colours ---


def test_unsigned_scale_begins_at_zero() -> None:
    scale = scale_of(np.array([0.0, 1, 4]), 100)
    assert (scale.norm.vmin, scale.norm.vmax, scale.colours, scale.extend) == (0, 4, SEQUENTIAL, "neither")


def test_signed_scale_is_symmetric() -> None:
    scale = scale_of(np.array([-1.0, 4, 2]), 100)
    assert (scale.norm.vmin, scale.norm.vmax, scale.colours) == (-4, 4, DIVERGING)


def test_outlier_does_not_drown_the_rest() -> None:
    values = np.append(np.linspace(0, 1, 1000), 1e6)
    scale = scale_of(values, 99.5)
    assert 0.99 < scale.limit < 1
    assert scale.extend == "max"


@pytest.mark.parametrize("values", [np.zeros(5), np.array([np.nan, np.inf]), np.array([])])
def test_scale_of_nothing(values: np.ndarray) -> None:
    assert scale_of(values, 99.5).limit == 1


def test_scale_of_a_single_spot() -> None:
    values = np.zeros(10_000)
    values[7] = 3
    assert scale_of(values, 99.5).limit == 3


def test_diverging_colours() -> None:
    low, middle, high = (np.array(DIVERGING(x)[:3]) for x in (0.0, 0.5, 1.0))
    assert middle.min() > 0.95
    assert low[2] > low[0] + 0.3
    assert high[0] > high[2] + 0.3
    luminance = np.array([DIVERGING(x)[:3] for x in np.linspace(0, 1, 101)]) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance[:51]) > 0).all()
    assert (np.diff(luminance[50:]) < 0).all()


def test_overlay_shows_the_picture_where_nothing_speaks() -> None:
    picture = np.full((1, 3, 3), 200, np.uint8)
    values = np.array([[0.0, -1.0, 1.0]])
    nothing, against, speaks = overlay(values, picture, scale_of(values, 100))[0]
    assert np.ptp(nothing) < 1e-9
    assert against[2] > against[0] + 0.3
    assert speaks[0] > speaks[2] + 0.3


def test_smoothing_keeps_the_sum() -> None:
    values = np.zeros((31, 31))
    values[15, 15] = 1
    soft = smoothed(values, 2)
    assert soft.shape == values.shape
    assert soft.sum() == pytest.approx(1)
    assert soft.max() == pytest.approx(1 / (2 * np.pi * 4), rel=0.02)
    assert smoothed(values, 0) is values


# --- the figure ---


def panels(given: Attribution, **options: Any) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return opened(render(given, "png", **options))


@pytest.mark.parametrize(
    "shape",
    [(1, 3, 8, 8), (1, 300), (1, 5, 300), (1, 80, 300), (1, 5), (1,), (), (1, 0), (1, 3, 2, 500), (1, 3, 500, 2)],
)
@pytest.mark.parametrize("sign", ["signed", "unsigned", "zero", "nan"])
def test_every_shape_is_drawn(shape: tuple[int, ...], sign: str) -> None:
    values = np.asarray(normal(*shape))
    change = {"signed": lambda v: v, "unsigned": np.abs, "zero": np.zeros_like, "nan": lambda v: v * np.nan}
    given = attribution({"x": change[sign](values)}, score=np.ones(1), target=[Target("y", (0,))])
    image = panels(given, dpi=40)
    assert 100 < image.width < 700
    assert 20 < image.height < 250


def test_red_speaks_for_and_lies_where_it_should() -> None:
    values = np.zeros((1, 3, 10, 10), np.float32)
    values[:, :, :5, :5], values[:, :, 5:, 5:] = 1, -1
    image = np.array(panels(attribution({"x": values}, pictures={"x": np.full((1, 10, 10, 3), 128, np.uint8)})))[
        ..., :3
    ]
    reds = np.argwhere((image[..., 0] > 150) & (image[..., 2] < 60))
    blues = np.argwhere((image[..., 2] > 150) & (image[..., 0] < 60))
    assert len(reds) > 1000 < len(blues)
    assert np.median(reds[:, 0]) < np.median(blues[:, 0])
    assert np.median(reds[:, 1]) < np.median(blues[:, 1])


def test_examples_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []
    monkeypatch.setattr(_figure.Figure, "supxlabel", lambda _, text, **__: captions.append(text))
    many = attribution({"x": normal(9, 3)})
    assert panels(many, dpi=40).height > panels(many, dpi=40, examples=2).height
    assert "4 of 9 examples" in captions[0]
    assert "2 of 9 examples" in captions[1]


def test_inputs_are_bounded() -> None:
    wide = panels(attribution({f"x{i}": normal(1, 3) for i in range(40)}), dpi=40)
    assert wide.width < 1200


def test_features_have_names_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_yticks", lambda _, __, texts: labels.extend(texts))
    values, inputs = np.array([[0.1, -3, 2]], np.float32), np.array([[5, 6.5, 7]], np.float32)
    panels(attribution({"x": values}, inputs={"x": inputs}), names="age,dose$", top="2")
    assert labels == [r"dose\$ = 6.5", "x[2] = 7", "the other 1, summed"]


def test_other_targets_stand_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    second = attribution(target=[Target("logits", (4,), None, "lynx")] * 2)
    alone, both = panels(attribution(), dpi=40), panels(attribution(others=[second]), dpi=40)
    assert both.width > 1.4 * alone.width


def test_awkward_names() -> None:
    name = "$x^{$_" + "long/" * 40
    label = "猫 $\\frac{1}$ " + "word " * 40
    given = attribution({name: normal(1, 4), "y": normal(1, 3, 4, 4)}, target=[Target("a$b", (0,), None, label)])
    panels(given, dpi=40)


def test_facts_travel_in_the_picture() -> None:
    given = attribution({"x": normal(1, 4)})
    assert json.loads(opened(render(given, "png", dpi=40)).text["onnxsal"]) == given.meta  # type: ignore[attr-defined]


def test_bytes_are_the_same_every_time() -> None:
    given = attribution({"x": normal(1, 4)})
    assert render(given, "png", dpi=40) == render(given, "png", dpi=40)


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_figure, "MAX_PIXELS", 1e5)
    image = panels(attribution({"x": normal(9, 3)}), dpi=600, examples=9)
    assert image.width * image.height < 1.1e5


@pytest.mark.parametrize("options", [{"percentile": 10.0}, {"dpi": 5}, {"dpi": 10_000}, {"smooth": -1.0}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="out of range"):
        render(attribution(), "png", **options)


def test_no_display_and_no_global_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    before = matplotlib.get_backend() if "matplotlib.pyplot" in __import__("sys").modules else None
    monkeypatch.setitem(os.environ, "DISPLAY", "")
    panels(attribution({"x": normal(1, 4)}), dpi=40)
    pyplot = __import__("sys").modules.get("matplotlib.pyplot")
    assert pyplot is None or (pyplot.get_fignums() == [] and matplotlib.get_backend() == before)


def test_plot_gives_a_pillow_image() -> None:
    given = attribution({"x": normal(1, 4)})
    image = onnxsal.plot(given, dpi=40)
    assert isinstance(image, Image.Image)
    assert given.plot(dpi=40).size == image.size
    assert given._repr_png_().startswith(b"\x89PNG")
