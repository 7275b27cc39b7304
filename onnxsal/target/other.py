"""Another class than the one that is explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from onnxsal.errors import UsageError
from onnxsal.types import Target

if TYPE_CHECKING:
    from torch import Generator


def other_class(target: Target, outputs: Mapping[str, Any], generator: Generator, *, stacked: bool) -> Target:
    """Return the target with another index, each as likely, on the last axis for which it has a whole number.

    Args:
        target: What is explained.
        outputs: The values that targets speak of.
        generator: Decides which other index.
        stacked: Whether dim 0 of an output counts the examples.

    Raises:
        UsageError: there is no such axis, or it is one long.
    """
    import torch

    shape = outputs[target.output].shape[1 if stacked else 0 :]
    axes = [axis for axis, part in enumerate(target.index) if isinstance(part, int) and shape[axis] > 1]
    if not axes:
        raise UsageError(f"{target} has no other class beside it", where="target", hint="explain one class of several")
    axis = axes[-1]
    here = target.index[axis] % shape[axis]  # type: ignore[operator]
    step = int(torch.randint(1, shape[axis], (1,), generator=generator))
    index = (*target.index[:axis], (here + step) % shape[axis], *target.index[axis + 1 :])
    return replace(target, index=index, label=None)
