"""The figure that the png format writes: a row per example, a panel per input and target."""

from __future__ import annotations

import io
import itertools
import json
import textwrap
import warnings
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from onnxsal.formats._colours import FAINT, INK, PAPER, Scale
from onnxsal.formats._panels import SIDE, Panel, Style, panel, picture_panel, plain
from onnxsal.formats._views import headline, origin, short, view
from onnxsal.types import Attribution

MAX_INPUTS, MAX_TARGETS = 4, 3
BAR, TITLE, CAPTION = 0.75, 0.4, 0.25
"""The room for a colour bar with its numbers, for a title, for the last line, in inches."""
MAX_SIDE = 60.0
"""No figure is wider or higher, in inches."""
MAX_PIXELS = 80e6
"""No figure takes more memory than this many pixels do; browsers and Pillow refuse more."""


def draw(attribution: Attribution, style: Style, *, limit: int, dpi: int) -> bytes:
    """Return the figure as PNG bytes."""
    shown = range(min(max(1, limit), len(attribution.score)))
    rows = [_panels(attribution, example, style) for example in shown]
    figure = _figure(rows)
    _caption(figure, attribution, len(shown))
    return _bytes(figure, attribution, dpi)


def _panels(attribution: Attribution, example: int, style: Style) -> list[Panel]:
    panels: list[Panel] = []
    for name in list(attribution.values)[:MAX_INPUTS]:
        several = len(attribution.values) > 1 or bool(attribution.layer)
        for rank, ranked in enumerate(attribution.ranked[:MAX_TARGETS]):
            shown = view(ranked, name, example)
            if shown.picture is not None and rank == 0:
                panels.append(picture_panel(shown, short(name, 40) if several else "input"))
            title = headline(ranked, example) + (f"\n{short(name, 40)}" if several else "")
            panels.append(panel(shown, title, style))
    return panels


def _colour_bar(axes: Axes, scale: Scale, width: float) -> None:
    """Draw the bar beside the panel, so that a picture and its attributions keep one size."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    place = axes.inset_axes((1 + 0.08 / width, 0.02, 0.11 / width, 0.96))
    mappable = ScalarMappable(scale.norm, scale.colours)
    bar = figure.colorbar(mappable, place, extend=scale.extend, ticks=MaxNLocator(4), format="{x:.3g}")
    bar.outline.set_visible(False)
    place.tick_params(labelsize=7, labelcolor=FAINT, color=FAINT, length=2)
    if scale.signed:
        bar.set_label("against  ←     →  for", size=7, color=FAINT)


def _figure(rows: Sequence[Sequence[Panel]]) -> Figure:
    columns = [[p for p in column if p] for column in itertools.zip_longest(*rows)]
    widths = [max(p.size[0] for p in column) for column in columns] or [SIDE]
    heights = [max((p.size[1] for p in row), default=SIDE) for row in rows] or [SIDE]
    bars = BAR * sum(any(p.scale for p in column) for column in columns)
    size = sum(widths) + bars + 0.2, sum(heights) + TITLE * len(heights) + CAPTION
    figure = Figure(figsize=(min(max(size[0], SIDE), MAX_SIDE), min(size[1], MAX_SIDE)), facecolor=PAPER)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(heights), len(widths), width_ratios=widths, height_ratios=heights)
    for row, panels in enumerate(rows):
        for column, place in enumerate(panels):
            axes = figure.add_subplot(grid[row, column])
            place.draw(axes)
            if place.scale:
                _colour_bar(axes, place.scale, place.size[0])
            _title(axes, place)
    return figure


def _title(axes: Axes, place: Panel) -> None:
    columns = max(20, int(place.size[0] * 11))
    lines = [line for part in place.title.split("\n") for line in textwrap.wrap(part, columns)[:2]]
    axes.set_title(plain("\n".join(lines)), fontsize=9, color=INK, loc="left")


def _caption(figure: Figure, attribution: Attribution, shown: int) -> None:
    parts = [origin(attribution)]
    if shown < len(attribution.score):
        parts.append(f"{shown} of {len(attribution.score)} examples")
    if len(attribution.values) > MAX_INPUTS:
        parts.append(f"{MAX_INPUTS} of {len(attribution.values)} inputs")
    columns = max(40, int(figure.get_figwidth() * 15))
    figure.supxlabel(plain(textwrap.fill(" · ".join(parts), columns)), fontsize=7, color=FAINT, x=0.01, ha="left")


def _bytes(figure: Figure, attribution: Attribution, dpi: int) -> bytes:
    stream = io.BytesIO()
    facts = json.dumps(attribution.meta, ensure_ascii=False)
    bearable = (MAX_PIXELS / (figure.get_figwidth() * figure.get_figheight())) ** 0.5
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a label in a script the font lacks is still a result
        figure.savefig(stream, format="png", dpi=min(dpi, bearable), metadata={"Software": "onnxsal", "onnxsal": facts})
    return stream.getvalue()
