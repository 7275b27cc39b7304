"""How figures of explanations are told."""

from __future__ import annotations

import math
from collections.abc import Mapping

from onnxsal.cli import _tables


def number(value: float) -> str:
    """Return a figure in few digits; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.4g}"


def direction(higher_is_better: bool) -> str:
    """Say which way is better."""
    return "higher" if higher_is_better else "lower"


def count(number: int, noun: str) -> str:
    """Return how many there are, in words that agree."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def show_skipped(skipped: Mapping[str, str]) -> None:
    """Tell which metrics were not measured, and why."""
    for name, why in skipped.items():
        _tables.put(f"not measured: {name}: {why}")
