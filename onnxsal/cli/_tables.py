"""Tables for people and for grep: aligned columns, wrapped to fit a terminal and whole in a pipe."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

import click

GAP = "  "
NARROWEST = 20
"""No column is made narrower than this for the terminal's sake."""


def show(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a header."""
    cells = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    widths = _fitted([max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))])
    put(click.style(_line([name.upper() for name in header], widths), bold=True))
    for row in cells:
        for line in _lines(row, widths):
            put(line)


def _fitted(widths: list[int]) -> list[int]:
    """Take from the widest columns until the terminal holds the table, or no column can give any more."""
    room = terminal_width() - len(GAP) * (len(widths) - 1)
    widths = list(widths)
    while sum(widths) > room and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return a row as one line, or as several where cells had to be wrapped."""
    wrapped = [_wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
    return [_line(cells, widths) for cells in itertools.zip_longest(*wrapped, fillvalue="")]


def _wrap(text: str, width: int) -> list[str]:
    """Break between words only: a name or a hash in two pieces could not be copied."""
    return textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False) or [""]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def facts(pairs: Sequence[tuple[str, object]]) -> None:
    """Print names and values below one another."""
    widths = _fitted([max(len(name) for name, _ in pairs), max(len(str(value)) for _, value in pairs)])
    for name, value in pairs:
        first, *rest = _lines([name, str(value)], widths)
        put(click.style(first[: widths[0]], bold=True) + first[widths[0] :])
        for line in rest:
            put(line)


def heading(text: str) -> None:
    """Print a heading, with an empty line before it."""
    put("")
    put(click.style(text, bold=True))


def put(text: str) -> None:
    """Print a line on stdout; colours only on a terminal."""
    click.echo(text, color=False if os.environ.get("NO_COLOR") else None)


def terminal_width() -> int:
    """Return the terminal's width; a pipe has no end."""
    return shutil.get_terminal_size().columns if is_terminal() else 1 << 30


def is_terminal() -> bool:
    """Say whether a person reads what goes to stdout."""
    return sys.stdout.isatty()
