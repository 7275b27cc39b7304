"""What dim 0 counts: examples that can be stacked and taken apart, or something else."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from onnxsal.types import Feeds, Port


def counts_examples(feeds: Feeds, explained: Sequence[str], output: object) -> bool:
    """Say whether dim 0 of the explained inputs and of the explained output counts the examples."""
    sizes = {feeds[name].shape[0] if feeds[name].ndim else None for name in explained}
    return len(sizes) == 1 and isinstance(output, Tensor) and output.ndim > 0 and output.shape[0] in sizes


def batched_inputs(ports: Sequence[Port], feeds: Feeds, explained: Sequence[str]) -> frozenset[str]:
    """Return the other inputs that have one row per example, as far as shapes and declarations tell."""
    declared = {port.name: port.shape[0] if port.shape else None for port in ports}
    count = feeds[explained[0]].shape[0]
    is_open = any(not isinstance(declared[name], int) for name in explained)
    return frozenset(
        name
        for name, value in feeds.items()
        if name not in explained
        and getattr(value, "ndim", 0) > 0
        and value.shape[0] == count
        # beside an open batch axis, a fixed first axis counts something else
        and not (is_open and isinstance(declared[name], int))
    )
