"""Colours for attributions: even steps of value look like even steps of colour, and zero is where it should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Colormap, ListedColormap, Normalize

PAPER, INK, FAINT = "#ffffff", "#1f2328", "#6e7781"


@dataclass(frozen=True)
class Scale:
    """How numbers become colours: symmetric about zero where there are negative ones."""

    limit: float
    signed: bool
    clipped: bool

    @property
    def colours(self) -> Colormap:
        """The colour map."""
        return DIVERGING if self.signed else SEQUENTIAL

    @property
    def norm(self) -> Normalize:
        """The range of numbers it spans."""
        return Normalize(-self.limit if self.signed else 0, self.limit)

    @property
    def extend(self) -> str:
        """At which ends of the colour bar numbers go on."""
        return ("both" if self.signed else "max") if self.clipped else "neither"


def scale_of(values: np.ndarray, percentile: float) -> Scale:
    """Return the scale for some attributions; the few numbers above the percentile share the last colour."""
    sizes = np.abs(values[np.isfinite(values)])
    largest = float(sizes.max(initial=0))
    limit = float(np.percentile(sizes, percentile)) if sizes.size else 0.0
    if limit == 0:  # a few pixels hold it all
        limit = largest
    return Scale(limit or 1.0, bool((values < 0).any()), largest > limit * (1 + 1e-9))


def overlay(values: np.ndarray, picture: np.ndarray, scale: Scale) -> np.ndarray:
    """Return the picture in grey under its attributions, which are the more opaque the larger they are."""
    grey = picture @ np.array([0.299, 0.587, 0.114]) / 255
    ground = 0.45 + 0.55 * grey if scale.signed else 0.6 * grey
    colour = scale.colours(scale.norm(np.nan_to_num(values)))[..., :3]
    opacity = np.clip(np.abs(np.nan_to_num(values)) / scale.limit, 0, 1)[..., None] ** 0.6
    return np.asarray(ground[..., None] * (1 - opacity) + colour * opacity)


def smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """Return [height, width] under a Gaussian blur; 0 leaves it as it is."""
    if sigma <= 0:
        return values
    reach = np.arange(-int(4 * sigma + 1), int(4 * sigma + 1) + 1)
    weights = np.exp(-0.5 * (reach / sigma) ** 2)
    for axis in (0, 1):
        padding = [(len(reach) // 2,) * 2 if a == axis else (0, 0) for a in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, padding, "edge"), len(reach), axis)
        values = windows @ (weights / weights.sum())
    return values


def _from_oklab(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return sRGB for colours given in OKLab, a space in which distances are what the eye sees."""
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    mix = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(mix @ cones**3, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).T


def _diverging() -> ListedColormap:
    """Blue against, red for; white at zero, lightness falling evenly to both ends."""
    way = np.linspace(-1, 1, 511)
    hue = np.radians(np.where(way < 0, 258, 27))
    chroma = 0.19 * np.abs(way) ** 0.8
    return ListedColormap(_from_oklab(0.98 - 0.5 * np.abs(way), chroma * np.cos(hue), chroma * np.sin(hue)), "onnxsal")


def _sequential() -> Colormap:
    import matplotlib

    return matplotlib.colormaps["inferno"]


DIVERGING, SEQUENTIAL = _diverging(), _sequential()
