"""Random baselines: each example has a source of its own, so that it is the same in any company."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from onnxsal.errors import UsageError
from onnxsal.types import Feeds

if TYPE_CHECKING:
    from torch import Generator, Tensor


def drawn(feeds: Feeds, generators: Sequence[Generator], draws: int, draw: Callable[..., Tensor], where: str) -> Feeds:
    """Return numbers shaped like the feeds behind a leading axis that counts the draws.

    Args:
        feeds: What the numbers are shaped like.
        generators: One for each example.
        draws: How many there are of each.
        draw: ``torch.rand`` or ``torch.randn``.
        where: Who asks, for the fault's message.

    Raises:
        UsageError: no draws.
    """
    import torch

    if draws < 1:
        raise UsageError(f"draws={draws} leaves no baseline", where=where, hint="1 or more")
    found: dict[str, list[Tensor]] = {name: [] for name in feeds}
    for generator in generators:
        for name, value in feeds.items():
            numbers = draw(draws, *value.shape[1:], generator=generator, dtype=torch.float64)
            found[name].append(numbers.to(value.device, value.dtype))
    return {name: torch.stack(examples, 1) for name, examples in found.items()}


def bounds(value: Tensor) -> tuple[Tensor, Tensor]:
    """Return each example's least and greatest value, shaped to stand beside the examples."""
    axes = tuple(range(1, value.ndim))
    return (value.amin(axes, keepdim=True), value.amax(axes, keepdim=True)) if axes else (value, value)
