"""Attention whose scores and probabilities a model changes by sub-graphs of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from onnxsal.importer.dtypes import torch_dtype
from onnxsal.importer.operator import op
from onnxsal.importer.values import as_tensor

Body = Callable[[Tensor], tuple[Any, ...]]


@op("FlexAttention", domain="ai.onnx.preview")
def flex_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    prob_mod: Body | None = None,
    scale: float | None = None,
    score_mod: Body | None = None,
    softmax_precision: int | None = None,
) -> Tensor:
    """Attend by scaled products; sub-graphs change the scores and the probabilities."""
    precise = (
        torch.promote_types(q.dtype, torch.float32) if softmax_precision is None else torch_dtype(softmax_precision)
    )
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = torch.matmul(q.to(precise), k.to(precise).transpose(-1, -2))
    scores = _changed(scores * (1 / math.sqrt(q.shape[-1]) if scale is None else scale), score_mod)
    chances = _changed(torch.softmax(scores, -1), prob_mod)
    return torch.matmul(chances, v.to(precise)).to(q.dtype)


def _changed(values: Tensor, by: Body | None) -> Tensor:
    return values if by is None else as_tensor(by(values)[0])
