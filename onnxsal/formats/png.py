"""A picture for people."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Format
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Attribution


def render_png(
    attribution: Attribution,
    *,
    examples: int = 4,
    top: int = 15,
    names: tuple[str, ...] = (),
    percentile: float = 99.5,
    smooth: float = 0.0,
    dpi: int = 150,
) -> bytes:
    """Draw the attributions: over the picture, along the signal, or as bars for a table's features.

    Args:
        examples: How many examples are drawn at most.
        top: How many features get a bar.
        names: The features' names, in order; those the model carries where not given.
        percentile: Where the colours end; the few larger attributions share the last one.
        smooth: Blur the attributions of a picture by so many of its pixels, for the eye only.
        dpi: Dots per inch.
    """
    from onnxsal.formats._figure import draw
    from onnxsal.formats._panels import Style

    _check("percentile", percentile, 50, 100)
    _check("dpi", dpi, 20, 600)
    _check("smooth", smooth, 0, 100)
    return draw(
        attribution,
        Style(max(1, top), names or tuple(attribution.features), percentile, smooth),
        limit=examples,
        dpi=dpi,
    )


def _check(option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{value} is out of range", where=f"option {option}", hint=f"from {low} to {high}")


@hookimpl
def onnxsal_formats() -> Iterable[Format]:
    """Yield the PNG format."""
    yield Format("png", render_png, ".png")
