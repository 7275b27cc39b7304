"""Which axes of an input hold places (pixels, moments, columns), and which channels; the file does not say."""

from __future__ import annotations

COLOURS = 4
"""No picture has more channels than this on its last axis."""

TABLE = 64
"""An input of rank two with more columns than this is a signal."""


def is_table(shape: tuple[int, ...]) -> bool:
    """Tell whether an input is a table, each of whose columns means something of its own."""
    return len(shape) == 2 and shape[1] <= TABLE


def channels_last(shape: tuple[int, ...]) -> bool:
    """Tell whether a picture's last axis holds the colours; the file does not say, the sizes do."""
    return len(shape) == 4 and shape[-1] <= COLOURS < shape[1]


def places(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes that hold places; axis 0 counts the examples and never does.

    Of a table these are the columns, of a signal the longer one of its two axes, of a picture height and width, of a
    volume its last three. A picture or signal may stand behind an axis of one.
    """
    if len(shape) < 3:
        return tuple(range(1, len(shape)))
    if len(shape) == 3:
        return (1,) if shape[1] > shape[2] else (2,)
    lone = shape[1] == 1 and len(shape) > 4 and (shape[2] <= COLOURS or channels_last(shape[1:]))
    if lone:
        return tuple(axis + 1 for axis in places(shape[1:]))
    return (1, 2) if channels_last(shape) else tuple(range(2, len(shape)))
