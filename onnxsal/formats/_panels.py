"""The panels of a figure: a picture under its attributions, a map, a signal, or bars."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from onnxsal.formats._colours import FAINT, INK, PAPER, Scale, overlay, scale_of, smoothed
from onnxsal.formats._views import View, feature_label, strongest, unit

SIDE = 3.4
"""The height of a square panel, in inches."""


@dataclass(frozen=True)
class Panel:
    """One place in the figure: its title, its size in inches, and what it draws there."""

    title: str
    size: tuple[float, float]
    draw: Callable[[Axes], Any]
    scale: Scale | None = None
    """What its colours mean, where it has a colour bar."""


@dataclass(frozen=True)
class Style:
    """What the user may set."""

    top: int
    names: tuple[str, ...]
    percentile: float
    smooth: float


def picture_panel(shown: View, title: str) -> Panel:
    """Return the panel of what a person would see of the input."""
    return Panel(title, _size(shown.values), lambda axes: _draw_picture(axes, shown.picture))


def panel(shown: View, title: str, style: Style) -> Panel:
    """Return the panel of the attributions."""
    if shown.kind == "features":
        bars = min(style.top, len(shown.values)) + (len(shown.values) > style.top)
        return Panel(title, (1.5 * SIDE, 0.23 * bars + 0.6), lambda axes: _draw_features(axes, shown, style))
    if shown.kind == "signal":
        scale = scale_of(shown.values, style.percentile)
        height = min(1.2 + 0.35 * len(shown.values), SIDE)
        return Panel(title, (2.4 * SIDE, height), lambda axes: _draw_signal(axes, shown, scale), scale)
    values = smoothed(shown.values, style.smooth)
    scale = scale_of(values, style.percentile)
    if shown.kind == "map" or shown.picture is None:
        return Panel(title, _size(values), lambda axes: _draw_map(axes, values, scale), scale)
    painted = overlay(values, shown.picture, scale)
    return Panel(title, _size(values), lambda axes: _draw_picture(axes, painted), scale)


def _size(values: np.ndarray) -> tuple[float, float]:
    """Return the size of a panel of these proportions; long ones grow in one direction and shrink in the other."""
    ratio = _proportion(values)
    return (SIDE * min(ratio, 2), SIDE * min(ratio, 2) / ratio) if ratio > 1 else (SIDE * ratio, SIDE)


def _proportion(values: np.ndarray) -> float:
    return float(np.clip(values.shape[1] / values.shape[0], 0.4, 8))


def _draw_picture(axes: Axes, picture: Any) -> None:
    axes.imshow(picture)
    axes.set_axis_off()


def _draw_map(axes: Axes, values: np.ndarray, scale: Scale) -> None:
    square = _proportion(values) == values.shape[1] / values.shape[0]
    aspect: Literal["equal", "auto"] = "equal" if square else "auto"
    axes.imshow(values, scale.colours, scale.norm, aspect=aspect, interpolation="nearest")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _quiet(axes)


def _draw_signal(axes: Axes, shown: View, scale: Scale) -> None:
    """Bands of attribution, one per channel, with the signal drawn over them."""
    channels, length = shown.values.shape
    extent = (-0.5, length - 0.5, channels - 0.5, -0.5)
    faint = scale.colours(scale.norm(_binned(shown.values)))
    axes.imshow(faint, extent=extent, aspect="auto", interpolation="nearest")
    if shown.inputs is not None and shown.inputs.dtype.kind == "f":
        dark = not scale.signed
        for channel, signal in enumerate(shown.inputs):
            axes.plot(np.arange(length), channel + _in_band(signal), color=PAPER if dark else INK, linewidth=0.7)
    axes.set_yticks(range(channels))
    axes.yaxis.set_visible(channels > 1)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _quiet(axes)


def _binned(values: np.ndarray, columns: int = 1500) -> np.ndarray:
    """Of each run of samples that falls on one pixel, keep the largest: thinning would lose narrow peaks."""
    length = values.shape[1]
    if length <= columns:
        return values
    edges = np.linspace(0, length, columns + 1).astype(int)
    parts = [values[:, low:high] for low, high in itertools.pairwise(edges)]
    return np.stack([part[np.arange(len(part)), np.abs(part).argmax(axis=1)] for part in parts], axis=1)


def _in_band(signal: np.ndarray) -> np.ndarray:
    """Return the signal scaled into its band, upwards as on paper."""
    return 0.42 - 0.84 * unit(signal)


def _draw_features(axes: Axes, shown: View, style: Style) -> None:
    order = strongest(shown.values, style.top)
    values = shown.values[order]
    labels = [feature_label(shown, index, style.names) for index in order]
    rest = len(shown.values) - len(order)
    if rest:
        values = np.append(values, shown.values.sum() - values.sum())
        labels.append(f"the other {rest}, summed")
    ends = scale_of(np.array([-1.0, 1.0]), 100).colours
    axes.barh(range(len(values)), values, color=[ends(0.06) if value < 0 else ends(0.94) for value in values])
    axes.set_yticks(range(len(values)), [plain(label) for label in labels])
    axes.invert_yaxis()
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("attribution", color=FAINT, fontsize=8)
    axes.grid(axis="x", color="#d0d7de", linewidth=0.6)
    axes.set_axisbelow(True)
    _quiet(axes)


def _quiet(axes: Axes) -> None:
    axes.tick_params(labelsize=8, labelcolor=INK, color=FAINT, length=2)
    for spine in axes.spines.values():
        spine.set_visible(False)


def plain(text: str) -> str:
    """Names may hold dollar signs, which matplotlib would set as mathematics."""
    return text.replace("$", r"\$")
