"""In which type an operator computes."""

from __future__ import annotations

from typing import Any

import torch

from onnxsal.compiler.emit import Builder, Value


def operand(g: Builder, x: Any, dtype: torch.dtype) -> Value:
    """Return an operand, a tensor, an open size or a number, in the type the operator computes in."""
    return g.cast(x, dtype) if isinstance(x, Value) else g.scalar(x, dtype)


def common_type(*operands: Any) -> torch.dtype:
    """Return the type in which torch compares these operands."""
    found: Any = _sample(operands[0])
    for x in operands[1:]:
        sample = _sample(x)
        rank = max(getattr(found, "ndim", 0), getattr(sample, "ndim", 0))
        found = torch.empty([1] * rank, dtype=torch.result_type(found, sample), device="meta")
    return found.dtype  # type: ignore[no-any-return]


def _sample(x: Any) -> Any:
    return torch.empty([1] * x.rank, dtype=x.dtype, device="meta") if isinstance(x, Value) else x
