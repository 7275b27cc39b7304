"""A summary for the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Format
from onnxsal.errors import UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Attribution


def render_text(
    attribution: Attribution,
    *,
    examples: int = 3,
    top: int = 10,
    names: tuple[str, ...] = (),
    width: int = 80,
    colour: bool = False,
) -> bytes:
    """Write what speaks for the explained number and what against it, as text that needs no colour.

    Args:
        examples: How many examples are shown at most.
        top: How many features are listed.
        names: The features' names, in order; those the model carries where not given.
        width: Columns of the terminal.
        colour: Use the terminal's red (for) and blue (against).
    """
    from onnxsal.formats._summary import Style, summary

    if width < 40:
        raise UsageError(f"{width} columns are too few", where="option width", hint="at least 40")
    return summary(
        attribution, Style(max(1, top), names or tuple(attribution.features), width, colour), limit=max(1, examples)
    ).encode()


@hookimpl
def onnxsal_formats() -> Iterable[Format]:
    """Yield the text format."""
    yield Format("text", render_text, ".txt", text=True)
