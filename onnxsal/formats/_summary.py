"""The summary that the text format writes: the answer first, then where it comes from."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from onnxsal.formats._views import View, feature_label, headline, origin, printable, strongest, view
from onnxsal.types import Attribution

MAX_INPUTS, MAX_CHANNELS, MAX_ROWS = 4, 8, 14
FOR, AGAINST = "red", "blue"
FOR_SHADES, AGAINST_SHADES = " ░▒▓█", " ·-=≡"
SPARKS = "▁▂▃▄▅▆▇█"
SHARE_COLUMNS: tuple[Literal["left", "right"], ...] = ("left", "right", "right")
PARTS = 10
"""How many pieces a signal is cut into to say where the attribution lies."""
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


@dataclass(frozen=True)
class Style:
    """What the user may set."""

    top: int
    names: tuple[str, ...]
    width: int
    colour: bool


def summary(attribution: Attribution, style: Style, *, limit: int) -> str:
    """Return the summary as text."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=style.width,
        force_terminal=style.colour,
        color_system="standard" if style.colour else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    for part in _parts(attribution, style, limit):
        console.print(part)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _parts(attribution: Attribution, style: Style, limit: int) -> Iterator[RenderableType]:
    count = len(attribution.score)
    for example in range(min(limit, count)):
        place = f"   (example {example + 1} of {count})" if count > 1 else ""
        yield Text(headline(attribution, example), style="bold").append(place, style="not bold dim")
        for name in list(attribution.values)[:MAX_INPUTS]:
            yield Padding(_title(attribution, name, example), (1, 0, 0, 2))
            for block in _blocks(view(attribution, name, example), style):
                yield Padding(block, (0, 0, 0, 4))
        yield ""
    if count > limit:
        yield Text(f"… and {count - limit} more {'example' if count - limit == 1 else 'examples'}")
    if len(attribution.values) > MAX_INPUTS:
        yield Text(f"… and {len(attribution.values) - MAX_INPUTS} more inputs")
    yield from (Text(line, style="dim") for line in _facts(attribution))


def _title(attribution: Attribution, name: str, example: int) -> Text:
    value = np.asarray(attribution.values[name])
    row = value[example] if value.ndim and len(value) == len(attribution.score) else value
    total = float(np.sum(row, dtype=np.float64))
    return Text.assemble((printable(name), "bold"), f" {list(value.shape)}  sum {total:+.4g}")


def _blocks(shown: View, style: Style) -> Iterator[RenderableType]:
    if not shown.values.any():
        yield Text("all zero")
    elif shown.kind == "features":
        yield _features(shown, style)
    elif shown.kind == "signal":
        yield from _signal(shown, style)
    else:
        yield from _plane(shown, style)


# --- features ---------------------------------------------------------------------------------------------------------


def _features(shown: View, style: Style) -> Table:
    order = strongest(shown.values, style.top)
    largest = _largest(shown.values)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1, no_wrap=True)
    room = max(8, style.width // 3)
    for index in order:
        value = float(shown.values[index])
        table.add_row(feature_label(shown, index, style.names), f"{value:+.4g}", _bar(value, largest, room))
    rest = len(shown.values) - len(order)
    if rest:
        value = float(shown.values.sum() - shown.values[order].sum())
        table.add_row(f"the other {rest}, summed", f"{value:+.4g}", _bar(value, largest, room))
    return table


def _bar(value: float, largest: float, room: int) -> Text:
    length = min(room, round(abs(value) / largest * room)) if largest and math.isfinite(value) else 0
    return Text(("█" if value > 0 else "≡") * length, style=FOR if value > 0 else AGAINST)


# --- signals ----------------------------------------------------------------------------------------------------------


def _signal(shown: View, style: Style) -> Iterator[RenderableType]:
    columns = min(style.width - 14, shown.values.shape[1])
    means = _pooled(np.abs(shown.values), len(shown.values), columns)[:MAX_CHANNELS]
    largest = _largest(means)
    for channel, row in enumerate(means):
        label = f"{channel:>3} " if len(shown.values) > 1 else ""
        yield Text(label + "".join(_level(value, largest, SPARKS) for value in row))
    if len(shown.values) > MAX_CHANNELS:
        yield Text(f"… and {len(shown.values) - MAX_CHANNELS} more channels")
    length = shown.values.shape[1]
    edges = np.linspace(0, length, min(PARTS, length) + 1).astype(int)
    spans = list(itertools.pairwise(edges))
    yield _shares([f"{low} to {high - 1}" for low, high in spans], [shown.values[:, low:high] for low, high in spans])


# --- planes -----------------------------------------------------------------------------------------------------------


def _plane(shown: View, style: Style) -> Iterator[RenderableType]:
    height, width = shown.values.shape
    rows = max(1, min(MAX_ROWS, height))
    # a character is about twice as high as it is wide
    columns = max(1, min(style.width - 8, 2 * width, round(2 * rows * width / height)))
    rows = max(1, min(rows, round(columns * height / width / 2)))
    means = _pooled(shown.values, rows, columns)
    largest = _largest(means)
    for row in means:
        yield Text.assemble(*(_shade(value, largest) for value in row))
    if (shown.values < 0).any():
        yield Text.assemble((FOR_SHADES[-1], FOR), " for   ", (AGAINST_SHADES[-1], AGAINST), " against")
    yield _shares(*_ninths(shown.values))


def _shade(value: float, largest: float) -> tuple[str, str]:
    shades, colour = (FOR_SHADES, FOR) if value >= 0 else (AGAINST_SHADES, AGAINST)
    return _level(abs(value), largest, shades), colour


def _level(value: float, largest: float, steps: str) -> str:
    if not largest or not math.isfinite(value):
        return steps[0]
    return steps[min(len(steps) - 1, int(value / largest * len(steps)))]


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0))


def _pooled(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the means over a grid of cells; a cell smaller than a pixel takes that pixel."""
    for axis, cells in enumerate((rows, columns)):
        size = values.shape[axis]
        low = np.minimum(np.arange(cells) * size // cells, size - 1)
        high = np.maximum((np.arange(cells) + 1) * size // cells, low + 1)
        parts = [values.take(range(a, b), axis=axis).mean(axis=axis) for a, b in zip(low, high, strict=True)]
        values = np.stack(parts, axis=axis)
    return values


def _ninths(values: np.ndarray) -> tuple[list[str], list[np.ndarray]]:
    names, parts = [], []
    for row, high in zip(ROWS, np.array_split(values, 3, axis=0), strict=True):
        for column, part in zip(COLUMNS, np.array_split(high, 3, axis=1), strict=True):
            names.append(f"{row} {column}" if (row, column) != ("middle", "centre") else "centre")
            parts.append(part)
    return names, parts


def _shares(names: list[str], parts: list[np.ndarray], limit: int = 3) -> Table:
    """Return where most of the attribution lies, whatever its sign, and what it sums to there."""
    sizes = np.array([np.abs(part[np.isfinite(part)]).sum() for part in parts])
    table = Table.grid(padding=(0, 2))
    for justify in SHARE_COLUMNS:
        table.add_column(justify=justify)
    for index in strongest(sizes, limit):
        if sizes[index] > 0:
            share = f"{sizes[index] / sizes.sum():.0%} of it"
            table.add_row(names[index], share, f"sum {np.nansum(parts[index]):+.4g}")
    return table


# --- facts ------------------------------------------------------------------------------------------------------------


def _facts(attribution: Attribution) -> Iterator[str]:
    yield origin(attribution)
    yield f"engine {attribution.provenance.engine} on {attribution.provenance.device}"
    outputs = (attribution.parity or {}).get("outputs", ())
    if outputs:
        worst = max(float(output["max_rel"]) for output in outputs)
        yield f"the import differs from ONNX Runtime by {worst:.2g} of the output's scale"
    if attribution.completeness is not None and len(attribution.completeness):
        worst = float(np.abs(attribution.completeness).max())
        yield f"the attributions miss the score's difference by {worst:.2g}"
    yield from (f"note: {printable(note)}" for note in attribution.provenance.notes)
