"""Where a port keeps a picture's height, width and channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxsal.errors import InputError, UsageError
from onnxsal.types import Dim, Port

if TYPE_CHECKING:
    import numpy as np

CHANNELS = (1, 3, 4)
"""Grey, colour, colour with opacity."""


@dataclass(frozen=True)
class Layout:
    """The axes of a port as letters (``nchw``), and the sizes it fixes; None where it leaves them free."""

    axes: str
    channels: int
    height: int | None
    width: int | None

    def arrange(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels of shape [height, width, channels] with the port's axes."""
        if self.axes == "flat":
            return pixels.reshape(1, -1)
        if "c" in self.axes:
            pixels = pixels.transpose(2, 0, 1) if self.axes.index("c") < self.axes.index("h") else pixels
        else:
            pixels = pixels[:, :, 0]
        return pixels[None] if self.axes[0] == "n" else pixels


def layout_of(port: Port, asked: str, flatten: bool) -> Layout:
    """Return the layout that the user asks for, or the one that the port's shape shows.

    Raises:
        InputError: the port cannot hold a picture, or does not say where.
        UsageError: the layout asked for has another number of axes.
    """
    if flatten:
        return Layout("flat", 1, None, None)
    axes = _guess(port) if asked == "auto" else asked
    if port.shape is not None and len(axes) != len(port.shape):
        raise UsageError(f"layout {axes} has {len(axes)} axes, {port} has {len(port.shape)}", hint="leave layout out")
    dims: dict[str, Dim] = dict(zip(axes, port.shape or [None] * len(axes), strict=True))
    channels = dims.get("c", 1)
    if isinstance(channels, int) and channels not in CHANNELS:
        raise InputError(f"{channels} channels are no picture's", hint="prepare the input yourself and give an .npy")
    return Layout(axes, channels if isinstance(channels, int) else 3, _fixed(dims["h"]), _fixed(dims["w"]))


def _fixed(dim: Dim) -> int | None:
    return dim if isinstance(dim, int) else None


def _guess(port: Port) -> str:
    """Tell the axes by the one that can only count channels."""
    shape = port.shape or ()
    if len(shape) == 4:
        first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
        if first != last:
            return "nchw" if first else "nhwc"
        raise _unclear(port, "nchw or layout=nhwc")
    if len(shape) == 3:
        first, last = shape[0] in {3, 4}, shape[2] in {3, 4}
        if first and last:
            raise _unclear(port, "chw or layout=hwc")
        return "chw" if first else "hwc" if last else "nhw"
    if len(shape) == 2 and all(isinstance(dim, int) and dim > 1 for dim in shape):
        return "hw"
    if port.shape is None:
        raise _unclear(port, "nchw or layout=nhwc")
    hint = "a picture as one row of numbers: flatten=yes size=HEIGHT,WIDTH" if len(shape) == 2 else "give an .npy"
    raise InputError(f"a picture does not fit {port}", hint=hint)


def _unclear(port: Port, choices: str) -> InputError:
    return InputError(f"{port} does not say which axis counts the channels", hint=f"set layout={choices}")
