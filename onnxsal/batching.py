"""What dim 0 counts, examples or something else; and how many rows a call of the model may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from onnxsal.types import Feeds, Port

HOST_BYTES = 4 << 30
"""How many bytes of values a call may compute on a processor; not all of them live at once."""

DEVICE_SHARE = 4
"""A call on a GPU may compute as many bytes as a quarter of its memory holds."""

FIRST_ROWS, MOST_ROWS = 16, 4096
"""How many rows the first call has at most, before anything is known, and how many any call has."""

EXPANSION, GREATEST_EXPANSION = 256, 1 << 14
"""How many times an input's bytes a network is taken to compute before that is measured, and how many surely not."""


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


def in_parts(run: Callable[[Feeds], Feeds], feeds: Feeds, stacked: Iterable[str], size: int) -> Feeds | None:
    """Run a call a few rows at a time; None where an answer does not have the rows that were asked for.

    Args:
        run: Runs the model.
        feeds: The whole call.
        stacked: The inputs that have one row per example.
        size: How many rows to run at a time.
    """
    stacked = list(stacked)
    answers: list[Feeds] = []
    for start in range(0, len(feeds[stacked[0]]), size):
        part = {name: feeds[name][start : start + size] for name in stacked}
        answer = run(feeds | part)
        rows = len(part[stacked[0]])
        if any(not isinstance(v, Tensor) or v.ndim == 0 or len(v) != rows for v in answer.values()):
            return None
        answers.append(answer)
    return {name: torch.cat([answer[name] for answer in answers]) for name in answers[0]}


class Meter(TorchDispatchMode):
    """Counts the bytes of all values that torch computes while it is on, views of others left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        returns = zip(_listed(answer), func._schema.returns, strict=False)
        self.bytes += sum(_bytes(value) for value, about in returns if about.alias_info is None)
        return answer


def _listed(answer: Any) -> tuple[Any, ...]:
    return tuple(answer) if isinstance(answer, (tuple, list)) else (answer,)


def _bytes(value: Any) -> int:
    return value.element_size() * value.numel() if isinstance(value, Tensor) else 0


def first_rows(feeds: Feeds, device: str) -> int:
    """Return how many rows to compute at first, judged by the bytes of a row of the feeds."""
    size = row_bytes(feeds)
    guess = _within(device, EXPANSION * size, FIRST_ROWS)
    return max(guess, _within(device, GREATEST_EXPANSION * size, MOST_ROWS))


def more_rows(feeds: Feeds, device: str, measured: int) -> int:
    """Return how many rows to compute at a time, now that it was measured what a row computes, in bytes."""
    return _within(device, max(measured, FIRST_ROWS * row_bytes(feeds)), MOST_ROWS)


def row_bytes(feeds: Feeds) -> int:
    """Return how many bytes one row of the feeds has."""
    return sum((value[:1] if value.ndim else value).numel() * value.element_size() for value in feeds.values())


def _within(device: str, bytes_per_row: int, most: int) -> int:
    return max(1, min(most, _budget(device) // max(1, bytes_per_row)))


def _budget(device: str) -> int:
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory) // DEVICE_SHARE
    return HOST_BYTES
